"""Bringing expunged messages back, and deleted mailboxes, as long as they are retained (``retain-expunged``).

What is there a table of its own tells, as in a compaction; while a mailbox is looked at, its upkeep lock is
held, so that nothing of it moves or goes. Messages come back as copies: with new UIDs, their flags but for
\\Deleted, their internal dates and EMAILIDs, appended to a mailbox like any copy, which sessions see at once.
Readers who are not the owner have seen what they had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mstore.base.errors import MStoreError, NotFound
from mstore.base.flags import DELETED, USER_BITS
from mstore.base.ids import Uid
from mstore.files import raw
from mstore.files.blob import DerivedFile
from mstore.files.column import Columns, capacity_for
from mstore.files.index import Index
from mstore.files.retained import Entries
from mstore.files.segment import HEADER_BYTES, Segments, parse_frame
from mstore.store import copy as copying
from mstore.store import generation, reader
from mstore.store.directory import DeletedMailbox, gone, needed
from mstore.store.mailbox import Mailbox

if TYPE_CHECKING:
    from mstore.store.transaction import Transaction

Array = npt.NDArray[Any]
_STEP = 500
"""So many messages come back at a time, all or none of them."""
_HEADER_BYTES = 64 << 10
_OVER = "the time of a deleted mailbox is over just now"


class Recoverable:
    """The messages of one mailbox that can be brought back, as rows of a table."""

    def __init__(self, path: Path, deleted_s: float | None = None) -> None:
        """Find those that were expunged, and all of a mailbox that was deleted at that time.

        Raises: NotFound, Corrupt, StorageFailed.
        """
        table, journal = generation.load(path, patient=True)
        journal.close()
        assert table.retained is not None
        if deleted_s is not None:
            table.retained.note(table.columns, table.live_rows(), table.highest_modseq, int(deleted_s * 1000))
        self.path = path
        self.uid_next = table.uid_next
        self.segments = Segments(path)
        self.derived_file = DerivedFile(path)
        entries = table.retained.entries()
        try:
            there = [self._is_there(entry) for entry in entries]
        except BaseException:
            self.close()
            raise
        self.entries: Entries = entries[there]
        """As an index has them, in the order of UIDs; a row is a place among them."""
        columns = Columns(capacity_for(len(self.entries)))
        columns.count = len(self.entries)
        for name in self.entries.dtype.names:
            if hasattr(columns.full, name):
                getattr(columns.full, name)[: columns.count] = self.entries[name]
        self.index = Index(table.uid_validity, columns)
        self.index.keywords = table.keywords
        self.seen = dict(seen_by_readers(table, self.entries["uid"]))
        """UIDs of what each reader who is not the owner had seen."""

    def _see_again(self, tx: Transaction, pairs: copying.Pairs) -> None:
        """Say of copies who had seen the message, apart from the owner, whose it is in its flags."""
        for reader_id, seen in self.seen.items():
            tx.see_new(pairs.here[np.isin(pairs.there, seen)], reader_id)

    def _is_there(self, entry: Any) -> bool:
        number, begin = int(entry["segment"]), int(entry["offset"]) - HEADER_BYTES
        if not self.segments.exists(number):
            return False
        frame = parse_frame(raw.pread(self.segments.fd(number), HEADER_BYTES, begin), number, begin)
        wanted = (entry["uid"], entry["size"], entry["email_id"])
        return frame is not None and (frame.uid, frame.length, frame.email_id) == wanted

    def header(self, row: int) -> bytes:
        """The header of a message, or the beginning of a very long one."""
        entry = self.entries[row]
        count = min(int(entry["header_length"]), _HEADER_BYTES)
        return raw.pread(self.segments.fd(int(entry["segment"])), count, int(entry["offset"]))

    def read(self, row: int) -> bytes:
        """A message. Raises: Corrupt, StorageFailed, NotFound."""
        return reader.read(cast(Mailbox, self), row)

    def chunks(self, row: int) -> Iterator[bytes]:
        """A message in pieces. Raises: Corrupt, StorageFailed, NotFound."""
        return reader.chunks(cast(Mailbox, self), row)

    def refresh(self) -> None:
        """Nothing changes while it is looked at; what is removed all the same is gone."""

    def gone(self) -> MStoreError:
        """What to raise when the directory is not there any more."""
        return gone(self.path.parent, _OVER)

    def bring_back(
        self, rows: Sequence[int], target: Mailbox, tell: Callable[[list[tuple[Uid, Uid]]], object]
    ) -> None:
        """Append messages to a mailbox, which may be the one they were in; ``tell`` is told their UIDs, old
        and new, of some at a time.

        Locks: takes the target's. Durable: the messages of whose UIDs it was told.
        Raises: OverQuota, StorageFailed, Busy, NotFound, LimitReached, Corrupt.
        """
        source = cast(Mailbox, self)  # all that a copy asks of its source is here
        chosen: Array = np.array(rows, np.int64)
        for start in range(0, len(rows), _STEP):
            some = chosen[start : start + _STEP]
            tell(list(copying.copy(some, source, target, USER_BITS & ~DELETED, self._see_again)))

    def close(self) -> None:
        """Close the files."""
        self.segments.close()
        self.derived_file.close()


def seen_by_readers(table: Index, retained: Array) -> Iterator[tuple[int, Array]]:
    """What each reader who is not the owner has seen of a mailbox: UIDs, ascending, of what is there and of
    the messages ``retained`` with these UIDs.

    The table is one that ``generation.load`` gives to a patient caller.
    """
    if table.kept is None:
        return
    uids, live = table.columns.uid, table.live_rows()
    for reader_id in table.kept.readers():
        bits = table.kept.bits(reader_id, uids)
        held = table.kept.of_retained(reader_id, uids, bits, retained)
        yield reader_id, np.union1d(uids[live[bits[live]]], retained[held])


@contextmanager
def open_expunged(mailbox: Mailbox) -> Iterator[Recoverable]:
    """The expunged messages of a mailbox; its upkeep waits meanwhile.

    Locks: takes the upkeep lock. Raises: Busy, NotFound, Corrupt, StorageFailed.
    """
    with mailbox.keeping_up():
        found = Recoverable(mailbox.path)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def open_deleted(mailbox: DeletedMailbox) -> Iterator[Recoverable]:
    """All messages of a deleted mailbox; also those that a crash left for its next writer to adopt.

    Locks: takes the mailbox lock. Raises: Busy, NotFound, Moved, Corrupt, StorageFailed.
    """
    with needed(mailbox.path.parent):
        last = Mailbox(mailbox.path)
        try:
            with last.transaction() as tx:
                tx.frames()
        finally:
            last.close()
        try:
            found = Recoverable(mailbox.path, mailbox.time_s)
        except FileNotFoundError:
            raise NotFound(_OVER) from None
        try:
            yield found
        finally:
            found.close()
