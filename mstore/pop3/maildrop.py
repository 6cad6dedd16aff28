"""The maildrop behind a session: the messages of INBOX as they were at login, numbered from 1.

Holding a ``Maildrop`` is holding the account's exclusive POP3 lock; ``close`` gives it back, and so does the
death of the process. Messages that arrive later are seen by the next session. Messages that IMAP has flagged
\\Deleted are there like any other until somebody expunges them; one that was expunged meanwhile keeps its
number and its size in listings, and cannot be read any more.

Marking is in memory alone; ``update`` removes all that is marked in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mstore.base.errors import MStoreError
from mstore.base.flags import TOMBSTONE
from mstore.pop3.multiline import first_lines
from mstore.store.account import Account
from mstore.store.names import INBOX

LISTED_AT_ONCE = 4096


class NoSuchMessage(MStoreError):
    """There is no message of this number, or it is marked as deleted."""


class Maildrop:
    """An account's INBOX, owned by one POP3 session."""

    __slots__ = (
        "_lock",
        "_mailbox",
        "_marked",
        "_marked_bytes",
        "_rows",
        "_sizes",
        "_total_bytes",
        "_uids",
        "count",
    )

    def __init__(self, account: Account) -> None:
        """Take the lock and note what is there.

        Raises: Busy when another POP3 session has the maildrop; whatever opening a mailbox raises.
        """
        self._lock = account.pop3_lock()
        try:
            self._mailbox = account.open(INBOX)
        except BaseException:
            self._lock.release()
            raise
        # Rows keep their numbers while a mailbox is open, so these arrays stay right.
        view = self._mailbox.view()
        self._rows = view.rows
        self._uids = view.uids
        self._sizes = self._mailbox.columns.full.size[self._rows]
        self._marked: set[int] = set()
        self._marked_bytes = 0
        self._total_bytes = int(self._sizes.sum(dtype=np.int64))
        self.count = len(self._rows)

    def close(self) -> None:
        """Give mailbox and lock back; nothing is removed."""
        self._mailbox.release()
        self._lock.release()

    @property
    def remaining(self) -> tuple[int, int]:
        """Number and bytes of the messages that are not marked."""
        return self.count - len(self._marked), self._total_bytes - self._marked_bytes

    @property
    def summary(self) -> str:
        """``2 messages (320 octets)``, for people."""
        count, size_bytes = self.remaining
        return f"{count} message{'' if count == 1 else 's'} ({size_bytes} octets)"

    def size(self, number: int) -> int:
        """The exact size of a message in octets, without byte-stuffing (RFC 1939 §11).

        Raises: NoSuchMessage.
        """
        return int(self._sizes[self._index(number)])

    def unique_id(self, number: int) -> bytes:
        """The unique-id of a message.

        Raises: NoSuchMessage.
        """
        return b"%d.%d" % (self._mailbox.uid_validity, int(self._uids[self._index(number)]))

    def scan_listing(self) -> Iterator[bytes]:
        """``number size`` lines of all messages not marked, in batches."""
        for numbers, indexes in self._batches():
            sizes = self._sizes[indexes].tolist()
            yield b"".join([b"%d %d\r\n" % pair for pair in zip(numbers, sizes, strict=True)])

    def unique_id_listing(self) -> Iterator[bytes]:
        """``number unique-id`` lines of all messages not marked, in batches."""
        line = b"%%d %d.%%d\r\n" % self._mailbox.uid_validity
        for numbers, indexes in self._batches():
            uids = self._uids[indexes].tolist()
            yield b"".join([line % pair for pair in zip(numbers, uids, strict=True)])

    def content(self, number: int) -> Iterator[bytes]:
        """The message in chunks.

        Raises: NoSuchMessage.
        """
        return self._mailbox.chunks(self._row(number), 0, None)

    def top(self, number: int, lines: int) -> Iterator[bytes]:
        """The header with its empty line, and the first lines of the body, in chunks.

        Raises: NoSuchMessage.
        """
        row = self._row(number)
        length = self._mailbox.columns.full.header_length.item(row)
        yield from self._mailbox.chunks(row, 0, length)
        yield from first_lines(self._mailbox.chunks(row, length, None), lines)

    def mark(self, number: int) -> None:
        """Mark a message as deleted.

        Raises: NoSuchMessage.
        """
        index = self._index(number)
        self._marked.add(index)
        self._marked_bytes += int(self._sizes[index])

    def unmark_all(self) -> None:
        """Forget all marks."""
        self._marked.clear()
        self._marked_bytes = 0

    def update(self) -> int:
        """Remove all marked messages, or none, and return how many messages of this maildrop are left.

        Those that IMAP has expunged meanwhile are gone already.
        Locks: takes the mailbox lock.
        Durable: the removal.
        """
        left, _ = self.remaining
        if not self._marked:
            return left
        indexes = np.array(sorted(self._marked), np.int64)
        with self._mailbox.transaction() as tx:
            tx.expunge(self._rows[indexes])
        return left

    def _index(self, number: int) -> int:
        """Where a message stands in the arrays."""
        if not 0 < number <= self.count:
            raise NoSuchMessage(f"no such message, there are {self.count}")
        if number - 1 in self._marked:
            raise NoSuchMessage(f"message {number} is deleted")
        return number - 1

    def _row(self, number: int) -> int:
        """The row of a message that is still there.

        Raises: NoSuchMessage, also when it was expunged by another session.
        """
        index = self._index(number)
        row = self._rows.item(index)
        self._mailbox.refresh()
        if self._mailbox.columns.full.flags.item(row) & TOMBSTONE:
            raise NoSuchMessage(f"message {number} was removed by another session")
        return row

    def _batches(self) -> Iterator[tuple[list[int], npt.NDArray[np.int64]]]:
        """Numbers and indexes of all messages not marked, some thousand at a time."""
        alive = np.ones(self.count, np.bool_)
        alive[list(self._marked)] = False
        indexes = np.flatnonzero(alive)
        for start in range(0, len(indexes), LISTED_AT_ONCE):
            batch = indexes[start : start + LISTED_AT_ONCE]
            yield (batch + 1).tolist(), batch
