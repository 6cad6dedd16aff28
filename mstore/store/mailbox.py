"""An open mailbox: one object per process, whatever number of sessions read it.

It follows the journal without a lock (``refresh``), hands out views, reads messages, and is changed through a
``Transaction`` alone. Rows keep their numbers while it is open, also across generations, and expunged
messages stay readable for sessions not yet told. Descriptors are opened when needed and closed by ``rest``.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import Busy, Corrupt, MStoreError, NotFound, StorageFailed
from mstore.base.ids import AccountId, MailboxId
from mstore.files import raw
from mstore.files.blob import DerivedFile
from mstore.files.column import Columns
from mstore.files.index import Index
from mstore.files.journal import Journal
from mstore.files.lock import DEADLINE_S, RANK_MAILBOX, RANK_UPKEEP, UPKEEP_BYTE, Lock
from mstore.files.segment import Segments
from mstore.store import (
    checkpointer,
    compact,
    compactderived,
    derived,
    generation,
    headerfields,
    reader,
    recovery,
)
from mstore.store.append import Arrivals
from mstore.store.change import MailboxStatus
from mstore.store.directory import gone
from mstore.store.diskuse import LEAST_DEAD_BYTES, is_due
from mstore.store.orders import Orders
from mstore.store.transaction import Transaction
from mstore.store.view import View

if TYPE_CHECKING:
    from mstore.store.audit import Auditor
    from mstore.store.notify import Notifier
    from mstore.store.quota import Quota

FLUSH_S = 1.0
CLAIM_S = 0.25
"""So long a session waits to be the only one to which new messages are \\Recent."""
_MOST_TOMBSTONES = 1000
_LEAST_TAIL_BYTES = 24 << 10
_BULK_BYTES = 16 << 10
_BULK_TAIL_BYTES = 512 << 10


class Mailbox:
    """The messages of one mailbox directory."""

    def __init__(
        self,
        path: Path,
        notifier: Notifier | None = None,
        reader: AccountId | None = None,
        quota: Quota | None = None,
        retain_s: int = 0,
    ) -> None:
        """Open a mailbox, recovering it first when the machine was restarted or files are damaged.

        With a ``reader`` all that is read and changed of \\Seen is that account's own; without, its owner's.
        The bytes of messages expunged less than ``retain_s`` ago stay.
        Raises: NotFound, Corrupt, Busy, StorageFailed.
        """
        self.path = Path(path)
        self.id = MailboxId(self.path.name)
        self.reader = reader
        self.quota = quota
        """What its messages count against; None: nothing does."""
        self.retain_s = retain_s
        """So long the bytes of an expunged message are not given back."""
        self.expired_at = -math.inf
        """When it was last looked for messages that are to be expunged by a rule, on the monotonic clock."""
        self.reader_id = None if reader is None else int(reader, 16)
        self.users = 0
        self.on_idle: Callable[[Mailbox], None] | None = None
        """Called when the last user is gone; who sets it calls ``rest`` some day."""
        self.on_claim: Callable[[Mailbox], None] | None = None
        """Called when messages are taken as \\Recent that the journal does not say it of yet."""
        self.auditor: Auditor | None = None
        """Who is told what is done to its messages; None: nobody."""
        self.deleted = False
        lock_path = f"{self.path}/lock"
        self.lock = Lock(lock_path, RANK_MAILBOX, self.path.name)
        self.lock.bind()  # an account may move away and come back: files open here would be others then
        self.upkeep = Lock(lock_path, RANK_UPKEEP, self.path.name, UPKEEP_BYTE)
        """One checkpoint or compaction at a time; held beside writers, and taken before their lock."""
        self.segments = Segments(self.path)
        self.derived_file = DerivedFile(self.path)
        self.arrivals = Arrivals(self)
        self.orders = Orders()
        """What is kept of the order of its messages."""
        self.applying = threading.Lock()
        """Held, without ever waiting inside, by who follows or extends the table."""
        self._notifier = notifier
        self._listeners: list[Callable[[], None]] = []
        self._dirty = self._flushing = self._checkpointing = self._compacting = False
        self._compact_above = 0
        """With no more than this dead, a compaction failed the last time."""
        self._recent_claimed = 0
        try:
            self.index, self.journal = self._open()
        except BaseException:
            self.segments.close()  # a recovery has read them
            raise
        self._moves = self.index.moves
        self.checkpoint_at = self._checkpoint_mark()

    @classmethod
    def create(
        cls, path: Path, uid_validity: int, notifier: Notifier | None = None, least_modseq: int = 0
    ) -> Mailbox:
        """Make the directory of a new, empty mailbox and open it.

        With a ``least_modseq`` it continues one that was lost: HIGHESTMODSEQ begins there, and what was
        expunged before is not known.

        Durable: the mailbox. Raises: FileExistsError, StorageFailed.
        """
        path = Path(path)
        raw.mkdir(path)
        raw.close(raw.open_file(path / "lock", raw.CREATE))
        index = Index(uid_validity)
        if least_modseq:
            index.highest_modseq = least_modseq
            index.expunges.forget(least_modseq)
        generation.begin(path, index, 1)
        raw.sync_directory(path.parent)
        return cls(path, notifier)

    def _open(self) -> tuple[Index, Journal]:
        try:
            index, journal = self._load()
            if journal.info.boot == raw.boot_id():
                return index, journal
            journal.close()
        except Corrupt:
            journal = None
        try:
            with self.lock.hold():
                return self._recover()
        except (FileNotFoundError, StorageFailed) as error:
            self.explain(error)
            if journal is None:
                raise
            journal.reopen()
            return index, journal

    def _load(self) -> tuple[Index, Journal]:
        """The table as it is on disk; made small, as long as nobody knows its rows by their numbers."""
        index, journal = generation.load(self.path, self.reader_id)
        if index.tombstones > max(_MOST_TOMBSTONES, index.messages):
            index = index.without_tombstones()
        return index, journal

    def _recover(self) -> tuple[Index, Journal]:
        try:
            index, journal = self._load()
            if journal.info.boot == raw.boot_id():
                return index, journal
            journal.close()
        except Corrupt:
            pass
        recovery.recover(self.path, self.segments)
        index, journal = self._load()
        self._count(index)
        return index, journal

    def _count(self, index: Index) -> None:
        """After a recovery: it may hold more than before. What is not counted now, its next writer counts."""
        try:
            if self.quota is not None:
                self.quota.note(self.id, index.size_bytes, index.messages)
        except MStoreError:
            pass

    # -- what it is

    @property
    def number(self) -> int:
        """Its id as the number that headers hold."""
        try:
            return int(self.id, 16) & 0xFFFFFFFFFFFFFFFF
        except ValueError:
            return 0

    @property
    def uid_validity(self) -> int:
        return self.index.uid_validity

    @property
    def uid_next(self) -> int:
        return self.index.uid_next

    @property
    def highest_modseq(self) -> int:
        return self.index.highest_modseq

    @property
    def first_recent_uid(self) -> int:
        """Messages from this UID on have been \\Recent to nobody yet."""
        return max(self.index.first_recent, self._recent_claimed)

    @property
    def columns(self) -> Columns:
        return self.index.columns

    @property
    def keywords(self) -> list[bytes]:
        """Keyword n has flag bit 8 + n."""
        return self.index.keywords

    @property
    def version(self) -> int:
        """A number that grows with every change applied."""
        return self.index.version

    def status(self) -> MailboxStatus:
        """The totals, as of the last refresh."""
        index = self.index
        first, snapshot = self.first_recent_uid, index.snapshot
        recent = 0
        if first < index.uid_next:
            recent = snapshot.count - snapshot.below(first, snapshot.count)
        return MailboxStatus(
            index.messages,
            index.unseen,
            recent,
            index.deleted,
            index.size_bytes,
            index.uid_next,
            index.uid_validity,
            index.highest_modseq,
        )

    # -- following the journal

    def refresh(self) -> bool:
        """Apply what other processes have written; True when something changed. Takes no lock."""
        journal = self.journal
        if journal.fd >= 0:
            try:
                status = os.fstat(journal.fd)
                if status.st_size == journal.end and status.st_nlink and not journal.unresolved:
                    return False
            except OSError:
                pass
        elif journal.is_as_closed():
            return False
        return self._follow()

    def _follow(self) -> bool:
        with self.applying:
            before = self.index.version
            try:
                self._follow_journal()
            except NotFound:
                self.deleted = True
        self.forget_moved()
        if self.index.version == before:
            return False
        self.announce()
        return True

    def forget_moved(self) -> None:
        """Keep no descriptors of segments that messages were moved out of."""
        if self._moves != self.index.moves:
            self._moves = self.index.moves
            self.segments.forget()

    def _follow_journal(self) -> None:
        while True:
            journal = self.journal
            try:
                journal.reopen()
            except FileNotFoundError:
                return self._catch_up()
            status = os.fstat(journal.fd)
            if status.st_size < journal.end:
                return self._catch_up()
            following = None
            if status.st_size > journal.end:
                following = generation.apply_groups(self.index, journal.read_new(status.st_size))
            if following is None:
                if status.st_nlink == 0:
                    self._catch_up()
                return None
            try:
                path = generation.journal_path(self.path, following.generation)
                self.continue_with(Journal(path, following.position))
            except FileNotFoundError:
                return self._catch_up()

    def continue_with(self, journal: Journal) -> None:
        """Go on with the journal of the next generation, which begins with the table as it is."""
        before, self.journal = self.journal, journal
        before.close()
        self.index.generation = journal.info.generation
        self.checkpoint_at = self._checkpoint_mark()
        if self._listeners and self._notifier:
            self._notifier.watch(self)

    def _catch_up(self) -> None:
        if not self.lock.is_same():
            raise NotFound("the mailbox has been deleted")
        index, journal = generation.load(self.path, self.reader_id)
        if self.index.lacks(index):
            journal.close()
            raise NotFound("the mailbox was made anew, with messages that had gone")
        self.index.catch_up(index)
        self.continue_with(journal)

    def _checkpoint_mark(self) -> int:
        return max(_LEAST_TAIL_BYTES, self.index.messages * 88 // 8)

    def gone(self) -> MStoreError:
        """What to raise when the mailbox is not there any more, or not here."""
        return gone(self.path.parent, "the mailbox has been deleted")

    def explain(self, error: MStoreError | FileNotFoundError) -> None:
        """Raise what is behind an error that had to do with a file, if there is anything: that the mailbox is
        not there any more, or not here, or that a file of it is missing."""
        if not self.lock.is_same():
            self.deleted = True
            raise self.gone() from error
        if isinstance(error, FileNotFoundError):
            raise StorageFailed(f"{os.path.basename(error.filename or 'a file')} is missing") from error

    # -- what sessions use

    def view(self, recent: bool = False, tells_recent: bool = True) -> View:
        """A session's view of the mailbox as of now; ``recent`` claims \\Recent for it (SELECT, not
        EXAMINE), also where it is not told what is (``tells_recent``)."""
        self.refresh()
        return View(self, recent, tells_recent)

    def transaction(self, deadline_s: float = DEADLINE_S) -> Transaction:
        """The way to change anything: a ``with`` block that holds the lock and commits at its end.

        Raises: Busy, NotFound when the mailbox was deleted, Moved, StorageFailed.
        """
        return Transaction(self, deadline_s)

    def read(self, row: int, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a message; fewer where it ends.

        Raises: StorageFailed, Corrupt when what is there is not that message.
        """
        return reader.read(self, row, offset, length)

    def chunks(self, row: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Bytes of a message in pieces, so that a large one costs little memory."""
        return reader.chunks(self, row, offset, length)

    def views(self, row: int, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
        """Bytes of a message in pieces, each of which holds only until the next one is asked for."""
        return reader.views(self, row, offset, length)

    def read_many(self, rows: npt.NDArray[Any], header_only: bool = False) -> Iterator[list[bytes]]:
        """The messages of ascending rows (or their headers), in windows of bounded size."""
        return reader.read_many(self, rows, header_only)

    def derived(self, rows: npt.NDArray[Any], slots: Sequence[int]) -> list[list[bytes]]:
        """For each slot asked for the bytes of every row, in their order; missing ones are computed and
        kept."""
        return derived.read(self, rows, slots)

    def derived_joined(
        self, rows: npt.NDArray[Any], slot: int, end: bytes
    ) -> list[tuple[npt.NDArray[Any], bytes, npt.NDArray[Any]]]:
        """The bytes of a slot of every row, many behind one another with ``end`` behind each: which rows,
        their slots as one, and where each begins."""
        return derived.read_joined(self, rows, slot, end)

    def header_fields(self, rows: npt.NDArray[Any], marks: bytes) -> headerfields.Picked:
        """Fields of the headers of rows, out of those that are kept of each (``mail.kept.mark_numbers``)."""
        return headerfields.read(self, rows, marks)

    def claim_recent(self) -> tuple[int, int]:
        """Take all messages that have been \\Recent to nobody yet for one session; gives their range of UIDs,
        without the last.

        Of all sessions of all processes one gets a message: that is in the journal before it is told.
        While somebody else has the lock for long, the claim holds at once in this process, and others see
        it with the next change that this process makes, or in a second.
        Locks: takes the mailbox lock.
        """
        try:
            with self.transaction(CLAIM_S) as tx:
                first = self.first_recent_uid
                tx.move_recent(self.uid_next)
            return first, self.uid_next
        except (MStoreError, AssertionError):
            first, self._recent_claimed = self.first_recent_uid, self.uid_next
            if self.on_claim is not None:
                self.on_claim(self)
        if not self._flushing:
            self._flushing = True
            blocking.later(FLUSH_S, self.flush)
        return first, self.uid_next

    @property
    def unwritten_recent(self) -> int:
        """The claim that is not in the journal yet; 0 when there is none."""
        return self._recent_claimed if self._recent_claimed > self.index.first_recent else 0

    def _tell_recent(self) -> None:
        if not self.unwritten_recent:
            return
        try:
            with self.transaction(deadline_s=0.0) as tx:
                tx.move_recent(self.unwritten_recent)
        except (MStoreError, AssertionError):
            pass  # it is only a claim

    # -- listeners

    def listen(self, callback: Callable[[], None]) -> None:
        """Call this after each change applied in this process; it must be short and must not wait."""
        self._listeners.append(callback)
        if len(self._listeners) == 1 and self._notifier:
            self._notifier.watch(self)

    def unlisten(self, callback: Callable[[], None]) -> None:
        """Call it no more."""
        self._listeners.remove(callback)
        if not self._listeners and self._notifier:
            self._notifier.unwatch(self)

    def announce(self) -> None:
        """Tell the listeners that something was applied."""
        for callback in list(self._listeners):
            callback()

    # -- upkeep

    @contextmanager
    def keeping_up(self, deadline_s: float = DEADLINE_S) -> Iterator[None]:
        """Hold the upkeep lock for the length of a ``with`` block.

        Whoever deletes the mailbox, or moves its account, does not wait for that: unless the mailbox lock is
        held as well, all files may be gone at any moment.
        Raises: Busy, StorageFailed; NotFound and Moved, also in the place of what fails because of that.
        """
        try:
            with self.upkeep.hold(deadline_s):
                yield
        except (FileNotFoundError, NotFound, StorageFailed) as error:
            self.explain(error)
            raise

    def excuse(self, group_bytes: int) -> None:
        """A group so long was written: a large one is applied about as fast as an index is read, so by itself
        it is no reason to write one, while the journal is not long altogether."""
        if group_bytes > _BULK_BYTES and self.checkpoint_at < _BULK_TAIL_BYTES:
            self.checkpoint_at = min(self.checkpoint_at + group_bytes, _BULK_TAIL_BYTES)

    def written(self, unsynced: bool) -> None:
        """After a commit: see to the sync within a second, and to a checkpoint when the journal is long."""
        if unsynced:
            self._dirty = True
            if not self._flushing:
                self._flushing = True
                blocking.later(FLUSH_S, self.flush)
        if self.journal.end > self.checkpoint_at and not self._checkpointing:
            self._checkpointing = True
            blocking.spawn(self._checkpoint)
        is_worth_it = is_due(self.index, self.retain_s) and self.index.dead_bytes > self._compact_above
        if is_worth_it and not self._compacting:
            self._compacting = True
            blocking.spawn(self._compact)

    def flush(self) -> None:
        """Sync flag changes that are not on disk yet, and write claims of \\Recent that others do not
        know."""
        self._flushing = False
        if self.deleted:
            return
        self._tell_recent()
        if not self._dirty:
            return
        self._dirty = False
        try:
            fd = raw.open_file(self.journal.path, raw.READ)
        except FileNotFoundError:
            return  # a checkpoint has it
        try:
            raw.sync(fd)
        except BaseException:
            self._dirty = True
            raise
        finally:
            raw.close(fd)

    def checkpoint(self) -> None:
        """Begin a new generation now.

        Locks: takes the upkeep lock, and the mailbox lock for the last step. Durable: all changes so far.
        """
        with self.keeping_up():
            checkpointer.checkpoint(self)

    def _checkpoint(self) -> None:
        """The same when it is due, and nobody else is at it."""
        if not self.upkeep.is_in_order:
            self._checkpointing = False  # several mailboxes are changed at once: whoever commits next does it
            return
        try:
            with self.keeping_up(0):
                self.refresh()
                if self.journal.end > self.checkpoint_at:
                    checkpointer.checkpoint(self)
                    compactderived.rewrite(self)
        except Busy:
            self.checkpoint_at = self.journal.end + _LEAST_TAIL_BYTES
        except MStoreError:
            self.checkpoint_at = self.journal.end * 2
        finally:
            self._checkpointing = False

    def compact(self, thorough: bool = False, retain_s: int | None = None) -> int:
        """Give back the bytes of expunged messages, ``thorough``: all of them; tells how many.

        Those expunged less than ``retain_s`` ago stay; without it, it is as the mailbox is set.
        Locks: takes the upkeep lock, and the mailbox lock for moments. Raises: Busy, NotFound, StorageFailed.
        """
        return compact.compact(self, thorough, retain_s=retain_s)

    def _compact(self) -> None:
        try:
            if self.upkeep.is_in_order:  # else whoever commits next does it
                compact.compact(self, deadline_s=0.0)
                self._compact_above = 0
        except MStoreError:
            self._compact_above = self.index.dead_bytes + LEAST_DEAD_BYTES
        finally:
            self._compacting = False

    @property
    def is_stale(self) -> bool:
        """More tombstones than messages, and nobody here who needs them: better opened anew."""
        index = self.index
        return (
            index.tombstones > _MOST_TOMBSTONES
            and index.tombstones > index.messages
            and not self.users
            and not (self._dirty or self.unwritten_recent or self.lock.is_held or self.upkeep.is_held)
        )

    def retain(self) -> None:
        """Count one more user."""
        self.users += 1

    def release(self) -> None:
        """Count one user less; after the last one all descriptors are closed, unless ``on_idle`` sees to
        it."""
        self.users -= 1
        if self.users > 0:
            return
        if self.on_idle is not None:
            self._unwatch()
            self.on_idle(self)
        else:
            self.close()

    def rest(self) -> None:
        """Close the descriptors, but those in use at this moment; they come back by themselves."""
        if not self.lock.is_held and not self.upkeep.is_held:
            self.segments.close()
            self.derived_file.close()
            self.journal.close()
            self.lock.rest()

    def close(self) -> None:
        """Sync what is not on disk yet and close all descriptors."""
        try:
            self.flush()
        except StorageFailed:
            pass
        self._unwatch()
        self.rest()

    def _unwatch(self) -> None:
        if self._listeners and self._notifier:
            self._notifier.unwatch(self)
        self._listeners.clear()
