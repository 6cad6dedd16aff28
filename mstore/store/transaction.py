"""The only writer of mailbox state: a transaction is the proof that the lock is held.

One transaction is one group in the journal and one MODSEQ. Nothing of it is visible before its end: frames
are written and synced first, then the group is written and applied. Whatever goes wrong before that leaves
nothing, and the next writer works. While a sync is awaited other sessions of this process run, read and
refresh."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base.errors import Corrupt, Invalid, LimitReached, MStoreError, NotFound, StorageFailed
from mstore.base.flags import FIRST_KEYWORD_BIT, MOST_KEYWORDS, SEEN, SYSTEM_FLAGS, TOMBSTONE, USER_BITS
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.column import Array
from mstore.files.journal import Journal, Record
from mstore.files.layout import (
    SLOT_MOST,
    TYPE_APPENDED,
    TYPE_EXPUNGED,
    TYPE_FLAGGED,
    TYPE_RELOCATED,
    TYPE_SEEN_BY,
    TYPE_UID_NEXT,
)
from mstore.store import generation, recovery
from mstore.store.acts import Acts
from mstore.store.frames import FrameWriter

if TYPE_CHECKING:
    from mstore.base.ids import Uid
    from mstore.store.acts import Actor
    from mstore.store.append import NewMessage
    from mstore.store.mailbox import Mailbox
    from mstore.store.quota import Quota

_NONE: npt.NDArray[Any] = np.empty(0, np.int32)
_TOMB, _SEEN = np.uint64(TOMBSTONE), np.uint64(SEEN)
_ALL = 0xFFFFFFFFFFFFFFFF
_MOST_KEYWORD_BYTES = 250
_SYSTEM_BITS = {name.upper(): 1 << bit for bit, name in enumerate(SYSTEM_FLAGS)}
Rows = npt.NDArray[Any] | Sequence[int]


class Transaction:
    """A change in the making; ends with its ``with`` block, by an exception without effect."""

    __slots__ = (
        "_acts",
        "_ahead",
        "_deadline_s",
        "_frames",
        "_is_out",
        "_new_bytes",
        "_new_messages",
        "_records",
        "_written",
        "mailbox",
        "modseq",
        "time_ms",
    )

    def __init__(self, mailbox: Mailbox, deadline_s: float) -> None:
        self.mailbox = mailbox
        self._deadline_s = deadline_s
        self._records: list[Record] = []
        self._frames: FrameWriter | None = None
        self._written: set[int] = set()
        self._is_out = False
        self._new_bytes = self._new_messages = 0
        self._ahead: tuple[int, int] | None = None
        """What the account's usage was made to say of the mailbox before the commit."""
        self._acts = None if mailbox.auditor is None else Acts(mailbox)
        """What the log is told of it."""
        self.modseq = 0
        """The MODSEQ that the rows it changes get."""
        self.time_ms: int | None = None
        """When it is to have happened, milliseconds since 1970, as a restore says of an expunge; else now."""

    def __enter__(self) -> Transaction:
        mailbox = self.mailbox
        try:
            mailbox.lock.acquire(self._deadline_s)
        except NotFound:
            mailbox.deleted = True
            raise mailbox.gone() from None
        try:
            mailbox.refresh()
            if mailbox.deleted:
                raise mailbox.gone()
            mailbox.journal.reopen_to_write()
            if mailbox.journal.unresolved:
                self._settle()
            if not mailbox.journal.confirmed:
                self._confirm()
        except BaseException as error:
            mailbox.lock.release(keep_open=True)
            if isinstance(error, FileNotFoundError | StorageFailed):
                mailbox.explain(error)
            raise
        self.modseq = mailbox.index.highest_modseq + 1
        return self

    def _settle(self) -> None:
        mailbox = self.mailbox
        try:
            generation.settle(mailbox)
            mailbox.refresh()
        except Corrupt:
            self.recover()

    def _confirm(self) -> None:
        mailbox = self.mailbox
        if mailbox.journal.info.boot != raw.boot_id():
            self.recover()  # whoever began this generation died before its names were on disk
        generation.confirm(mailbox)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
            else:
                self._undo()
        except (FileNotFoundError, StorageFailed) as failure:
            self.mailbox.explain(failure)
            raise
        finally:
            self._forget()
            self.mailbox.lock.release(keep_open=True)
            if self._acts is not None and self.mailbox.auditor is not None:
                self._acts.tell(self.mailbox.auditor)
        if self._written:
            flags = not self._written.isdisjoint((TYPE_FLAGGED, TYPE_SEEN_BY))
            self.mailbox.written(flags and TYPE_EXPUNGED not in self._written)
        if isinstance(error, FileNotFoundError | StorageFailed):
            self.mailbox.explain(error)

    def commit(self) -> None:
        """Write and apply what was asked for so far; done by the end of the block unless it is called before.

        Durable: appends, expunges and UIDNEXT at once, flag changes within a second.
        """
        if not self._records:
            self._undo()
            return
        if self.mailbox.unwritten_recent:
            self.move_recent(self.mailbox.unwritten_recent)
        try:
            self._commit()
        except BaseException:
            self._undo()
            raise
        self._forget()

    def _forget(self) -> None:
        frames, self._frames = self._frames, None
        self._records = []
        if frames is not None:
            frames.close()
        if self._ahead is not None and self.mailbox.quota is not None:
            self._count_end(self.mailbox.quota, self._ahead)

    # -- changes

    def keyword_bits(self, names: Iterable[bytes], create: bool = True, needed: bool = True) -> int:
        """The flag bits of system flags and keywords; unknown keywords get a bit, or are left out.

        Those that come with a message are not ``needed``: where the mailbox has no bit left for one, the
        message comes without it.
        Durable: the definition of a new keyword, before any message can use it.
        Raises: LimitReached when no bit is left for one needed, Invalid for a name that can be no keyword.
        """
        bits, new = keyword_bits(self.mailbox, names)
        if not new or not create:
            return bits
        keywords = self.mailbox.index.keywords
        room = MOST_KEYWORDS - len(keywords)
        if len(new) > room:
            if needed:
                raise LimitReached(f"a mailbox has at most {MOST_KEYWORDS} keywords")
            new = new[:room]
            if not new:
                return bits
        records = []
        for number, name in enumerate(new, len(keywords)):
            bit = FIRST_KEYWORD_BIT + number
            records.append(journals.keyword_defined(bit, name))
            bits |= 1 << bit
        self._write(records, self.mailbox.index.highest_modseq, sync_first=True)
        return bits

    def flags(
        self,
        rows: Rows,
        op: str,
        bits: int,
        unchanged_since: int | None = None,
        mask: int = USER_BITS,
        apart: bool = False,
    ) -> npt.NDArray[Any]:
        """``set``, ``add`` or ``remove`` flag bits; gives the rows really changed, ascending.

        Bits outside ``mask`` stay as they are, whatever is done: they are not this user's to change.
        Rows with a MODSEQ above ``unchanged_since`` are left alone (RFC 7162 §3.1.3), expunged ones always.
        Rows ``apart`` are none that this transaction changes besides.
        """
        mask &= USER_BITS
        bits &= mask
        set_bits = 0 if op == "remove" else bits
        clear_bits = mask if op == "set" else bits if op == "remove" else 0
        index = self.mailbox.index
        full = index.columns.full
        again = not apart and any(record[0] in (TYPE_FLAGGED, TYPE_SEEN_BY) for record in self._records)
        if len(rows) == 1:
            row = int(rows[0])
            old = full.flags.item(row)
            if old & TOMBSTONE or (unchanged_since is not None and full.modseq.item(row) > unchanged_since):
                return _NONE
            if old & ~clear_bits | set_bits == old and not again:
                return _NONE
            if index.reader is None:
                self._records.append(journals.flagged_one(full.uid.item(row), set_bits, clear_bits))
                single = np.array((row,), np.int32)
                if self._acts is not None:
                    self._acts.flagged(single, op, bits)
                return single
        chosen = ascending(rows)
        flags = full.flags[chosen]
        keep = flags & _TOMB == 0
        if unchanged_since is not None:
            keep &= full.modseq[chosen] <= np.uint64(unchanged_since)
        differs = flags ^ (flags & np.uint64(~clear_bits & _ALL) | np.uint64(set_bits))
        if not again:
            keep &= differs != 0
        changed: npt.NDArray[Any] = chosen[keep]
        if not len(changed):
            return changed
        if index.reader is None:
            self._records.append(journals.flagged(*self._ranges(changed), set_bits, clear_bits))
        else:
            self._change_as(index.reader, changed, None if again else differs[keep], set_bits, clear_bits)
        if self._acts is not None:
            self._acts.flagged(changed, op, bits)
        return changed

    def _change_as(
        self, reader: int, rows: npt.NDArray[Any], differs: Array | None, set_bits: int, clear_bits: int
    ) -> None:
        """Note a change made by a reader: \\Seen, which is that reader's own, apart from the rest.

        ``differs`` are the bits that change, row by row; without it all rows are written.
        """
        if (set_bits | clear_bits) & SEEN:
            own = rows if differs is None else rows[differs & _SEEN != 0]
            if len(own):
                seen = bool(set_bits & SEEN)
                self._records.append(journals.seen_by(reader, *self._ranges(own), seen))
        set_bits, clear_bits = set_bits & ~SEEN, clear_bits & ~SEEN
        if set_bits | clear_bits:
            shared = rows if differs is None else rows[differs & ~_SEEN != 0]
            if len(shared):
                self._records.append(journals.flagged(*self._ranges(shared), set_bits, clear_bits))

    def raise_modseq(self) -> None:
        """Give the mailbox a higher HIGHESTMODSEQ, though none of its messages changes (RFC 7162 §3.2).

        Durable: within a second, as a change of flags.
        """
        self._records.append(journals.flagged(_NONE, _NONE, 0, 0))

    def see_new(self, uids: npt.NDArray[Any], reader: int | None = None) -> None:
        """Of messages added in this transaction, or just before it, these (ascending UIDs) a reader has seen:
        who adds them, if no other is named."""
        if reader is None:
            reader = self.mailbox.index.reader
        if len(uids) and reader is not None:
            breaks = np.flatnonzero(uids[1:] != uids[:-1] + 1)
            firsts, lasts = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(uids) - 1]])
            self._records.append(journals.seen_by(reader, uids[firsts], uids[lasts], True))

    def expunge(self, rows: Rows, moved: bool = False) -> npt.NDArray[Any]:
        """Remove messages for good; gives the UIDs of those that were still there.

        Where expunged messages are retained, these are, unless they were ``moved`` and are durable elsewhere.
        """
        full = self.mailbox.index.columns.full
        chosen = ascending(rows)
        chosen = chosen[full.flags[chosen] & _TOMB == 0]
        if len(chosen):
            self._records.append(journals.expunged(*self._ranges(chosen), moved))
        if self._acts is not None:
            self._acts.expunged(chosen)
        uids: npt.NDArray[Any] = full.uid[chosen]
        return uids

    def append(
        self, messages: Sequence[NewMessage], over_quota: bool = False, actor: Actor | None = None
    ) -> list[Uid]:
        """Add messages, adopted together or not at all should we die; gives their UIDs.

        It is the ``actor`` who does it, if not who acts here.
        Raises: StorageFailed, LimitReached; OverQuota, Uncounted, with nothing written.
        """
        frames = self.frames()
        if self.mailbox.quota is not None:
            self.reserve(sum([message.size for message in messages]), len(messages), over_quota)
        uids = frames.add_messages(messages)
        if self._acts is not None:
            self._acts.added(uids, messages, actor)
        return uids

    def reserve(self, size_bytes: int, messages: int, over_quota: bool = False) -> None:
        """Count what is to be added, before any of it is written; ``over_quota`` lets it pass in any case.

        Called after ``frames``, which may adopt what counts as well.
        Raises: OverQuota, Uncounted, with nothing counted; StorageFailed, Busy.
        """
        quota = self.mailbox.quota
        if quota is None:
            return
        new_bytes, new_messages = self._new_bytes + size_bytes, self._new_messages + messages
        if quota.is_limited and not over_quota:
            index = self.mailbox.index
            wanted = index.size_bytes + new_bytes, index.messages + new_messages
            quota.reserve(self.mailbox.id, wanted, (size_bytes, messages))
            self._ahead = wanted
        self._new_bytes, self._new_messages = new_bytes, new_messages

    def count(self) -> None:
        """Write anew what the mailbox counts for in its account's usage."""
        quota, index = self.mailbox.quota, self.mailbox.index
        if quota is not None:
            quota.note(self.mailbox.id, index.size_bytes, index.messages)

    def announce(self, losing: bool = False) -> None:
        """The commit is near: let the account's usage say the most that the mailbox will hold.

        Nobody is kept from giving back room (``losing``) by what cannot be written.
        Raises: StorageFailed, Busy.
        """
        mailbox = self.mailbox
        quota, index = mailbox.quota, mailbox.index
        most = index.size_bytes + self._new_bytes, index.messages + self._new_messages
        if quota is None or most == self._ahead:
            return
        self._ahead = most
        try:
            if not quota.put(mailbox.id, *most, SLOT_MOST):
                quota.note(mailbox.id, *most, SLOT_MOST)
        except MStoreError:
            if not losing:
                raise

    def _count_end(self, quota: Quota, ahead: tuple[int, int]) -> None:
        """All is done, or undone: let the usage say what the mailbox holds.

        An account without limits is spared this where it is said already, though as the most that it holds.
        What may yet come of a write that failed stays announced, and so it does if this cannot be written.
        """
        self._ahead = None
        self._new_bytes = self._new_messages = 0
        index = self.mailbox.index
        if self._is_out or ((index.size_bytes, index.messages) == ahead and not quota.is_limited):
            return
        try:
            self.count()
        except MStoreError:
            pass

    def frames(self) -> FrameWriter:
        """Where messages are written; for ``append`` and ``copy``."""
        if self._frames is None:
            before = self.mailbox.index.messages
            self._frames = FrameWriter(self)
            if self.mailbox.index.messages != before:
                self.count()
        return self._frames

    def note_copied(self, uids: npt.NDArray[Any], source: Mailbox, rows: npt.NDArray[Any]) -> None:
        """What ``copy`` has added: the UIDs, and the rows of which mailbox they come from."""
        if self._acts is not None:
            self._acts.copied(uids, source, rows)

    def note_moved(self, target: Transaction) -> None:
        """What was expunged last here was copied to that one before, so it was moved."""
        if self._acts is not None and target._acts is not None:
            self._acts.moved_to(target._acts)

    def move_recent(self, first_recent: int) -> None:
        """Messages below this UID are \\Recent to no later session."""
        if first_recent > self.mailbox.index.first_recent:
            self._records.append(journals.recent_moved(first_recent))

    def raise_uid_next(self, uid_next: int) -> None:
        """Let no UID below this be given any more, as after an import or a restore.

        Durable with the commit. Raises: LimitReached, StorageFailed.
        """
        self.frames().raise_uid_next(uid_next)

    def place_derived(self, uids: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> None:
        """Note where the blobs of messages stand."""
        self._records.append(journals.derived_at(uids, offsets))

    def add(self, record: Record) -> None:
        """Add a record made elsewhere: an adoption."""
        self._records.append(record)

    def recover(self) -> None:
        """Make a sound new generation out of what there is, damaged as it may be.

        Durable: all changes so far. Raises: StorageFailed, Corrupt.
        """
        mailbox = self.mailbox
        recovery.recover(mailbox.path, mailbox.segments)
        index, journal = generation.load(mailbox.path, mailbox.reader_id)
        if mailbox.index.lacks(index):
            journal.close()
            mailbox.deleted = True
            raise NotFound("the mailbox was made anew, with messages that had gone")
        with mailbox.applying:
            mailbox.index.catch_up(index)
            mailbox.continue_with(journal)
        mailbox.announce()
        self.count()

    def _ranges(self, rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """First and last UIDs of the runs of neighbouring rows."""
        uids = self.mailbox.index.columns.full.uid
        breaks = np.flatnonzero(rows[1:] != rows[:-1] + 1)
        firsts = rows[np.concatenate([[0], breaks + 1])]
        lasts = rows[np.concatenate([breaks, [len(rows) - 1]])]
        return uids[firsts], uids[lasts]

    # -- the end

    def _commit(self) -> None:
        records = self._records
        kinds = {record[0] for record in records}
        if self.mailbox.quota is not None and (TYPE_APPENDED in kinds or TYPE_EXPUNGED in kinds):
            self.announce(losing=TYPE_APPENDED not in kinds)
        if self._frames is not None:
            self._frames.sync()
        changes = kinds & {TYPE_APPENDED, TYPE_FLAGGED, TYPE_EXPUNGED, TYPE_SEEN_BY}
        modseq = self.mailbox.index.highest_modseq
        if changes:
            self.modseq = modseq = modseq + 1
        self._write(records, modseq, sync_first=bool(kinds & {TYPE_EXPUNGED, TYPE_RELOCATED, TYPE_UID_NEXT}))
        self._written |= kinds
        if self._acts is not None:
            self._acts.commit()

    def _write(self, records: list[Record], modseq: int, sync_first: bool) -> None:
        """Write a group and apply it: at once, or (pending until then) after its sync.

        Between the write of a pending group and its release other sessions of this process may refresh; they
        stop before it. The release and the applying happen in one step, so that it is applied once.
        """
        mailbox = self.mailbox
        journal, index = mailbox.journal, mailbox.index
        position = journal.end
        time_ms = time.time_ns() // 1_000_000 if self.time_ms is None else self.time_ms
        group = journals.format_group(journal.info.generation, position, modseq, records, sync_first, time_ms)
        self._is_out = True  # the frames are needed from here on, unless the group is taken back
        try:
            if sync_first:
                raw.pwrite(journal.fd, group, position)
                raw.sync(journal.fd, len(group))
        except BaseException:
            self._take_back(journal, position)
            raise
        with mailbox.applying:
            try:
                if sync_first:
                    journals.release(journal.fd, position)
                else:
                    raw.pwrite(journal.fd, group, position)
            except MStoreError:
                self._take_back(journal, position)
                raise
            for kind, flags, payload in records:
                index.apply(kind, flags, payload, modseq, time_ms)
            index.highest_modseq = max(index.highest_modseq, modseq)
            journal.end, journal.unresolved = position + len(group), False
        self._is_out = False
        mailbox.excuse(len(group))
        mailbox.announce()

    def _take_back(self, journal: Journal, position: int) -> None:
        raw.truncate(journal.fd, position)
        self._is_out = False

    def _undo(self) -> None:
        if self._frames is not None and not self._is_out:
            try:
                self._frames.undo()
            except MStoreError:
                # the next writer cuts the tail, or adopts what is whole of it
                self._ahead = None


def ascending(rows: Rows) -> npt.NDArray[Any]:
    """The rows as an array in their order, each once."""
    chosen = np.asarray(rows)
    if len(chosen) > 1 and not (chosen[1:] > chosen[:-1]).all():
        chosen = np.unique(chosen)
    return chosen.astype(np.int64, copy=False)


def keyword_bits(mailbox: Mailbox, names: Iterable[bytes]) -> tuple[int, list[bytes]]:
    """The bits of flags and keywords known to a mailbox, and the names that it does not know.

    Raises: Invalid.
    """
    bits, keywords = 0, mailbox.index.keywords
    new: list[bytes] = []
    for name in names:
        folded = name.upper()
        if folded in _SYSTEM_BITS:
            bits |= _SYSTEM_BITS[folded]
            continue
        for number, keyword in enumerate(keywords):
            if keyword.upper() == folded:
                bits |= 1 << FIRST_KEYWORD_BIT + number
                break
        else:
            if not name or name[:1] == b"\\" or len(name) > _MOST_KEYWORD_BYTES:
                raise Invalid("this cannot be a keyword")
            if folded not in (known.upper() for known in new):
                new.append(name)
    return bits, new
