"""The index: the columns of a mailbox as a table, its totals and its keywords; applies records of the
journal.

A record is applied in one place whether this process or another wrote it. Expunged rows stay as tombstones,
so rows never move while a mailbox is open and a session not yet told can still read the message. What was
applied lately is remembered (``changes_since``), so telling one change costs the same in a mailbox of ten and
of a million. A table is one user's: its \\Seen bits are the owner's, or those of its ``reader``. One that is
to be written as an index is the owner's and keeps the sets of all readers. ``checkpoint`` writes and reads
the file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mstore.base.errors import Corrupt
from mstore.base.flags import (
    DELETED,
    FIRST_KEYWORD_BIT,
    MOST_KEYWORDS,
    SEEN,
    TOMBSTONE,
)
from mstore.files.column import DTYPES, Columns, capacity_for, rows_in_ranges
from mstore.files.expunges import Expunges
from mstore.files.layout import (
    APPENDED,
    DERIVED_AT,
    EXPUNGE_GUARD,
    EXPUNGED,
    FLAGGED,
    FRAME,
    JOURNALED,
    KEYWORD,
    MAY_SKIP,
    MOVED,
    RECENT,
    RELOCATED,
    SEEN_BY,
    SWEPT,
    TAIL_MOVED,
    TYPE_APPENDED,
    TYPE_DERIVED_AT,
    TYPE_EXPUNGED,
    TYPE_FLAGGED,
    TYPE_KEYWORD,
    TYPE_RECENT,
    TYPE_RELOCATED,
    TYPE_SEEN_BY,
    TYPE_SWEPT,
    TYPE_TAIL_MOVED,
    TYPE_UID_NEXT,
    UID_NEXT,
)
from mstore.files.readers import ReaderSets
from mstore.files.retained import Days, Retained
from mstore.files.segment import PACKED
from mstore.files.snapshot import Snapshot

_ALL = 0xFFFFFFFFFFFFFFFF
_LOG_MOST = 512
_LOG_MOST_ROWS = 1 << 20
_SCALARS = (
    "generation",
    "uid_next",
    "highest_modseq",
    "first_recent",
    "unseen",
    "deleted",
    "size_bytes",
    "dead_bytes",
    "tail_segment",
    "tail_offset",
    "packed_next",
)
_PAIR = struct.Struct("<II")
_ARRIVAL = np.dtype([("count", "<u8"), *((column.name, DTYPES[column.name]) for column in JOURNALED)])
ARRIVAL_BYTES = _ARRIVAL.itemsize
"""The payload of a record of one message added."""
_FEW = 8
_TOMB, _SEEN, _DELETED = np.uint64(TOMBSTONE), np.uint64(SEEN), np.uint64(DELETED)

RowSet = int | npt.NDArray[Any]
"""One row, or an ascending array of rows."""


class Change(NamedTuple):
    """What one record did, for those who have to tell it: kind ``F`` flags, ``M`` the MODSEQ alone, ``X``
    expunge, ``A`` append, ``K`` keyword."""

    kind: str
    modseq: int
    rows: RowSet


class Index:
    """The table of one mailbox in this process."""

    __slots__ = (
        "_log",
        "_log_rows",
        "_log_start",
        "columns",
        "dead_bytes",
        "deleted",
        "expunges",
        "first_recent",
        "generation",
        "highest_modseq",
        "kept",
        "keywords",
        "messages",
        "moves",
        "packed_next",
        "reader",
        "retained",
        "retained_days",
        "size_bytes",
        "snapshot",
        "tail_offset",
        "tail_segment",
        "uid_next",
        "uid_validity",
        "unseen",
        "version",
    )

    def __init__(self, uid_validity: int, columns: Columns | None = None) -> None:
        self.uid_validity = uid_validity
        self.columns = columns or Columns()
        self.generation = 1
        self.uid_next = 1
        self.highest_modseq = 1
        self.first_recent = 1
        self.keywords: list[bytes] = []
        self.messages = self.columns.count
        self.unseen = self.deleted = self.size_bytes = self.dead_bytes = 0
        self.tail_segment, self.tail_offset = 0, 0
        self.packed_next = PACKED
        self.expunges = Expunges()
        """What was expunged lately."""
        self.retained_days = Days()
        """How much of what is dead was expunged when; what was moved elsewhere does not count."""
        self.retained: Retained | None = None
        """The messages behind that, in a table that is to be written."""
        self.moves = 0
        """How often messages were moved to other segments, or segments removed, while this table lived."""
        self.snapshot = Snapshot(self.columns, None, self.columns.count)
        self.version = 0
        self.reader: int | None = None
        """Whose \\Seen it has; None for the owner's."""
        self.kept: ReaderSets | None = None
        """The sets of all readers, in a table that is to be written: no snapshot and no log is kept then."""
        self._log: list[Change] = []
        self._log_rows = 0
        self._log_start = 0

    def keep_all(self, readers: ReaderSets, retained: Retained) -> None:
        """Become a table that is to be written: with the sets of all readers, and what is retained."""
        self.kept, self.retained = readers, retained

    # -- what happened lately

    def _note(self, kind: str, modseq: int, rows: RowSet) -> None:
        if self.kept is not None:
            return
        self._log.append(Change(kind, modseq, rows))
        self.version += 1
        if not isinstance(rows, int):
            self._log_rows += len(rows)
        if len(self._log) > _LOG_MOST or self._log_rows > max(_LOG_MOST_ROWS, 4 * self.columns.count):
            del self._log[: -(-len(self._log) // 2)]
            self._log_rows = sum(len(change.rows) for change in self._log if not isinstance(change.rows, int))
            self._log_start = self.version - len(self._log)

    def changes_since(self, version: int) -> list[Change] | None:
        """What happened since a version, oldest first; None when that is too long ago to be known."""
        if version < self._log_start:
            return None
        return self._log[version - self._log_start :]

    # -- memory

    @property
    def tombstones(self) -> int:
        """Rows in memory that stand for expunged messages."""
        return self.columns.count - self.messages

    def without_tombstones(self) -> Index:
        """The same table with new row numbers, for when nobody has a view of it."""
        live = self.live_rows()
        new = Index(self.uid_validity, Columns(capacity_for(len(live))))
        new.columns.take(self.columns, live)
        new.snapshot = Snapshot(new.columns, None, new.columns.count)
        new.keywords, new.reader, new.expunges = self.keywords, self.reader, self.expunges
        new.retained_days = self.retained_days
        for name in (*_SCALARS, "messages"):
            setattr(new, name, getattr(self, name))
        new.version = new._log_start = self.version + 1
        return new

    # -- whose \\Seen it has

    def see_as(self, reader: int, bits: npt.NDArray[np.bool_] | None) -> None:
        """Become the table of a reader who has seen these rows; of the owner's, just read from an index."""
        flags = self.columns.full.flags[: self.columns.count]
        flags &= ~_SEEN
        self.reader, self.unseen = reader, self.messages
        if bits is not None:
            flags |= bits.astype(np.uint64) * _SEEN
            self.unseen -= int(np.count_nonzero(bits))

    # -- finding rows

    def row_of(self, uid: int) -> int:
        """The row of a UID, -1 when there is none (a tombstone counts as a row)."""
        columns = self.columns
        uids = columns.full.uid[: columns.count]
        row = int(uids.searchsorted(np.uint32(uid)))
        return row if row < columns.count and uids.item(row) == uid else -1

    def _rows_of(self, payload: bytes, at: int, count: int) -> npt.NDArray[np.int64]:
        pairs = np.frombuffer(payload, "<u4", count * 2, at)
        uids = self.columns.uid
        rows = rows_in_ranges(uids.searchsorted(pairs[::2]), uids.searchsorted(pairs[1::2], "right"))
        live: npt.NDArray[np.int64] = rows[self.columns.full.flags[rows] & _TOMB == 0]
        return live

    def live_rows(self) -> npt.NDArray[np.int32]:
        """The rows that are not expunged."""
        if self.kept is not None:
            return np.flatnonzero(self.columns.flags & _TOMB == 0).astype(np.int32)
        return self.snapshot.rows(self.snapshot.count)

    # -- applying records

    def apply(self, kind: int, flags: int, payload: bytes, modseq: int, time_ms: int = 0) -> None:
        """Apply one record of a group whose checksum was right, and which has this time.

        Raises: Corrupt when it cannot have been written by us.
        """
        try:
            if kind == TYPE_FLAGGED:
                self._apply_flagged(payload, modseq)
            elif kind == TYPE_APPENDED:
                self._apply_appended(payload, modseq)
            elif kind == TYPE_SEEN_BY:
                self._apply_seen_by(payload, modseq)
            elif kind == TYPE_EXPUNGED:
                self._apply_expunged(payload, modseq, None if flags & MOVED else time_ms)
            elif kind == TYPE_KEYWORD:
                self._apply_keyword(payload, modseq)
            elif kind == TYPE_RECENT:
                self.first_recent = max(self.first_recent, RECENT.unpack_from(payload)[0])
            elif kind == TYPE_DERIVED_AT:
                self._apply_derived(payload)
            elif kind == TYPE_UID_NEXT:
                self.uid_next = max(self.uid_next, UID_NEXT.unpack_from(payload)[0])
            elif kind == TYPE_RELOCATED:
                self._apply_relocated(payload)
            elif kind == TYPE_TAIL_MOVED:
                tail = TAIL_MOVED.unpack_from(payload)
                if tail > (self.tail_segment, self.tail_offset):
                    self.tail_segment, self.tail_offset = tail
            elif kind == TYPE_SWEPT:
                (self.dead_bytes,) = SWEPT.unpack_from(payload)
                self.moves += 1
            elif not flags & MAY_SKIP:
                raise Corrupt(f"a journal record of the unknown type {kind}")
        except (struct.error, ValueError, IndexError) as error:
            raise Corrupt(f"a journal record of type {kind} is malformed") from error

    def apply_arrivals(self, payloads: Sequence[bytes], modseqs: Sequence[int]) -> None:
        """Apply records of one message added each (payloads of ``ARRIVAL_BYTES``), which follow each other.

        Raises: Corrupt, as ``apply`` does.
        """
        rows = np.frombuffer(b"".join(payloads), _ARRIVAL)
        uids = rows["uid"]
        if len(rows) < _FEW or (rows["count"] != 1).any() or (uids[1:] <= uids[:-1]).any():
            for payload, modseq in zip(payloads, modseqs, strict=True):
                self.apply(TYPE_APPENDED, 0, payload, modseq)
            return
        joined = b"".join([rows[column.name].tobytes() for column in JOURNALED])
        first = self._add_rows(len(rows), joined, 0, np.array(modseqs, np.uint64))
        for row, modseq in enumerate(modseqs, first):
            self._note("A", modseq, row)

    def _apply_appended(self, payload: bytes, modseq: int) -> None:
        (count,) = APPENDED.unpack_from(payload)
        first = self._add_rows(count, payload, APPENDED.size, modseq)
        self._note("A", modseq, first if count == 1 else np.arange(first, first + count))

    def _add_rows(self, count: int, payload: bytes, at: int, modseq: int | npt.NDArray[np.uint64]) -> int:
        """Add rows as ``Columns.append`` takes them; gives the first."""
        columns = self.columns
        first = columns.count
        columns.append(count, payload, at, modseq)
        full, last = columns.full, columns.count - 1
        if first and full.uid.item(first) <= full.uid.item(first - 1):
            columns.count = first
            raise Corrupt("a journal record appends a UID that is in use")
        if self.reader is not None:
            full.flags[first : last + 1] &= ~_SEEN
        if count == 1:
            flags = full.flags.item(first)
            self.unseen += not flags & SEEN
            self.deleted += bool(flags & DELETED)
            self.size_bytes += full.size.item(first)
        else:
            flags = full.flags[first : last + 1]
            self.unseen += count - int(np.count_nonzero(flags & _SEEN))
            self.deleted += int(np.count_nonzero(flags & _DELETED))
            self.size_bytes += int(full.size[first : last + 1].sum(dtype=np.uint64))
        self.messages += count
        self.uid_next = full.uid.item(last) + 1
        if full.segment.item(last) >= PACKED:  # a recovery's: the tail is none of these
            plain = np.flatnonzero(full.segment[first : last + 1] < PACKED)
            place = first + int(plain[-1]) if len(plain) else -1
        else:
            place = last
        if place >= 0:
            self.tail_segment = full.segment.item(place)
            self.tail_offset = full.offset.item(place) + full.size.item(place)
        self.snapshot.grow(count)
        return first

    def _apply_flagged(self, payload: bytes, modseq: int) -> None:
        set_bits, clear_bits, count = FLAGGED.unpack_from(payload)
        if self.reader is not None:
            set_bits, clear_bits = set_bits & ~SEEN, clear_bits & ~SEEN
        self._change_flags(payload, FLAGGED.size, count, set_bits, clear_bits, modseq)

    def _apply_seen_by(self, payload: bytes, modseq: int) -> None:
        """A change that one reader alone sees; its rows have the MODSEQ in all tables, so that they agree."""
        reader, seen, count = SEEN_BY.unpack_from(payload)
        bits = SEEN if reader == self.reader else 0
        self._change_flags(payload, SEEN_BY.size, count, bits if seen else 0, 0 if seen else bits, modseq)
        if self.kept is not None:
            self.kept.note(reader, payload)

    def _change_flags(
        self, payload: bytes, at: int, count: int, set_bits: int, clear_bits: int, modseq: int
    ) -> None:
        """Change the flags of the rows in UID ranges; without any bits, their MODSEQ alone, without any range
        that of the mailbox."""
        full = self.columns.full
        if count == 1:
            first, last = _PAIR.unpack_from(payload, at)
            if first == last:
                row = self.row_of(first)
                before = full.flags.item(row) if row >= 0 else TOMBSTONE
                if not before & TOMBSTONE:
                    self._change_one(row, before, before & ~clear_bits | set_bits, modseq)
                    self._note("F" if set_bits | clear_bits else "M", modseq, row)
                return
        rows = self._rows_of(payload, at, count)
        if not len(rows):
            if not count:
                self._note("M", modseq, rows)  # nothing to tell, but what views were told moves on
            return
        full.modseq[rows] = modseq
        if not set_bits | clear_bits:
            self._note("M", modseq, rows)
            return
        old = full.flags[rows]
        new = old & np.uint64(~clear_bits & _ALL) | np.uint64(set_bits)
        if (set_bits | clear_bits) & SEEN:
            self.unseen += int(np.count_nonzero(old & _SEEN)) - int(np.count_nonzero(new & _SEEN))
        if (set_bits | clear_bits) & DELETED:
            self.deleted += int(np.count_nonzero(new & _DELETED)) - int(np.count_nonzero(old & _DELETED))
        full.flags[rows] = new
        self._note("F", modseq, rows)

    def _change_one(self, row: int, before: int, after: int, modseq: int) -> None:
        full = self.columns.full
        full.flags[row] = after
        full.modseq[row] = modseq
        changed = before ^ after
        if changed & SEEN:
            self.unseen += 1 if before & SEEN else -1
        if changed & DELETED:
            self.deleted += -1 if before & DELETED else 1

    def _apply_expunged(self, payload: bytes, modseq: int, time_ms: int | None) -> None:
        guard, count = EXPUNGED.unpack_from(payload)
        if guard != EXPUNGE_GUARD:
            raise Corrupt("an expunge in the journal lacks its guard")
        self._expunge(self._rows_of(payload, EXPUNGED.size, count), modseq, time_ms)
        self.expunges.note(np.frombuffer(payload, "<u4", count * 2, EXPUNGED.size), modseq)

    def _expunge(self, rows: npt.NDArray[Any], modseq: int, time_ms: int | None = None) -> None:
        """Make rows tombstones; with a time, what they refer to is to be retained."""
        if not len(rows):
            return
        full = self.columns.full
        flags = full.flags[rows]
        sizes = int(full.size[rows].sum(dtype=np.uint64))
        self.messages -= len(rows)
        self.unseen -= len(rows) - int(np.count_nonzero(flags & _SEEN))
        self.deleted -= int(np.count_nonzero(flags & _DELETED))
        self.size_bytes -= sizes
        dead = sizes + FRAME.size * len(rows)
        self.dead_bytes += dead
        if time_ms is not None:
            self.retained_days.note(time_ms, dead)
            if self.retained is not None:
                self.retained.note(self.columns, rows, modseq, time_ms)
        full.flags[rows] = flags | _TOMB
        full.modseq[rows] = modseq
        if self.kept is not None:
            return
        before = self.snapshot
        positions = rows if before.identity else before.rows(before.count).searchsorted(rows)
        self.snapshot = before.without(positions)
        self._note("X", modseq, int(rows[0]) if len(rows) == 1 else rows)

    def _apply_keyword(self, payload: bytes, modseq: int) -> None:
        (bit,) = KEYWORD.unpack_from(payload)
        place, name = bit - FIRST_KEYWORD_BIT, payload[KEYWORD.size :]
        if place == len(self.keywords) and place < MOST_KEYWORDS:
            self.keywords.append(name)
            self._note("K", modseq, 0)
        elif not (0 <= place < len(self.keywords) and self.keywords[place] == name):
            raise Corrupt(f"a journal record gives flag bit {bit} to a second keyword")

    def _apply_derived(self, payload: bytes) -> None:
        (count,) = DERIVED_AT.unpack_from(payload)
        rows, offsets = self._places(payload, DERIVED_AT.size, count)
        self.columns.full.derived[rows] = offsets

    def _apply_relocated(self, payload: bytes) -> None:
        segment, count, dead_bytes = RELOCATED.unpack_from(payload)
        rows, offsets = self._places(payload, RELOCATED.size, count)
        self.columns.full.segment[rows] = segment
        self.columns.full.offset[rows] = offsets
        if self.retained is not None:
            uids, places = _placed(payload, RELOCATED.size, count)
            self.retained.relocate(uids, segment, places)
        self.dead_bytes = dead_bytes
        self.packed_next = max(self.packed_next, segment + 1)
        self.moves += 1

    def _places(self, payload: bytes, at: int, count: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The rows of the UIDs in a record that are known here, and the places given for them."""
        uids, offsets = _placed(payload, at, count)
        rows = self.rows_of_uids(uids)
        known = rows >= 0
        return rows[known], offsets[known]

    def rows_of_uids(self, uids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The row of each UID, -1 where there is none (a tombstone counts as a row)."""
        mine = self.columns.uid
        rows: npt.NDArray[np.int64] = mine.searchsorted(uids.astype(mine.dtype, copy=False))
        known = rows < len(mine)
        known[known] = mine[rows[known]] == uids[known]
        rows[~known] = -1
        return rows

    # -- catching up with a generation whose journal was missed

    def lacks(self, newer: Index) -> bool:
        """Whether messages that are gone here, or never were here, are back in ``newer``: no difference could
        tell that to a session."""
        theirs = newer.columns.uid[newer.live_rows()]
        last = self.columns.uid.item(self.columns.count - 1) if self.columns.count else 0
        rows = self.rows_of_uids(theirs[: int(theirs.searchsorted(np.uint32(last), "right"))])
        return bool((rows < 0).any() or (self.columns.flags[rows] & _TOMB != 0).any())

    def catch_up(self, newer: Index) -> None:
        """Become what ``newer`` (read from disk) says, as a difference: rows keep their numbers."""
        mine, theirs = self.columns.full, newer.columns.full
        rows, other = self.live_rows().astype(np.int64), newer.live_rows()
        uids = theirs.uid[other]
        place = uids.searchsorted(mine.uid[rows])
        found = place < len(uids)
        found[found] = uids[place[found]] == mine.uid[rows[found]]
        kept, source = rows[found], other[place[found]]
        moved = (mine.modseq[kept] != theirs.modseq[source]) | (mine.flags[kept] != theirs.flags[source])
        for name in ("flags", "modseq", "segment", "offset", "derived", "thread_id"):
            getattr(mine, name)[kept] = getattr(theirs, name)[source]
        self.keywords[:] = newer.keywords
        self.expunges, self.retained_days = newer.expunges, newer.retained_days
        if moved.any():
            self._note("F", newer.highest_modseq, kept[moved])
        self._expunge(rows[~found], newer.highest_modseq)
        last = mine.uid.item(self.columns.count - 1) if self.columns.count else 0
        self._take_new(newer, other[int(uids.searchsorted(np.uint32(last), "right")) :])
        for name in (*_SCALARS, "messages"):
            setattr(self, name, getattr(newer, name))
        self.moves += 1
        self._note("K", newer.highest_modseq, 0)

    def _take_new(self, newer: Index, rows: npt.NDArray[Any]) -> None:
        if not len(rows):
            return
        first = self.columns.count
        self.columns.take(newer.columns, rows)
        self.snapshot.extend()
        self._note("A", newer.highest_modseq, np.arange(first, self.columns.count))


def _placed(payload: bytes, at: int, count: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """UIDs and offsets as a record has them."""
    uids = np.frombuffer(payload, "<u4", count, at)
    return uids, np.frombuffer(payload, "<u8", count, at + 4 * (count + count % 2))
