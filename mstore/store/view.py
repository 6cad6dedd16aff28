"""What one session has been told of a mailbox, and the difference to what is.

A view costs a few hundred bytes: a shared snapshot (which row is message n), how many of its messages were
told, and how far the changes were told. ``pending`` moves it forward and says what to tell; expunges may be
held back while sequence numbers are in use (RFC 3501 §7.4.1), and the messages then stay readable under their
numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mstore.base.flags import TOMBSTONE
from mstore.files.column import rows_in_ranges
from mstore.files.index import Change
from mstore.files.snapshot import Rows
from mstore.store.change import Changes

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

_NOTHING = Changes()
_TOMB = np.uint64(TOMBSTONE)
_NONE: Rows = np.empty(0, np.int32)
_FEW = 32


class NumSet(Protocol):
    """A set of numbers as the client wrote it; ``*`` is resolved by the view."""

    def resolve(self, largest: int) -> list[tuple[int, int]]: ...


class View:
    """One session's view; its messages are numbered from 1 in the order of ``rows``."""

    __slots__ = (
        "_expunges_told",
        "_silenced",
        "_snapshot",
        "_tells_recent",
        "_told",
        "claims",
        "count",
        "mailbox",
        "modseq",
        "recent_ranges",
        "tells_modseq",
    )

    def __init__(self, mailbox: Mailbox, claims: bool, tells_recent: bool = True) -> None:
        self.mailbox = mailbox
        self.claims = claims
        """Whether messages that are \\Recent to nobody yet become so for this session."""
        self._tells_recent = tells_recent
        self.recent_ranges: tuple[tuple[int, int], ...] = ()
        """UIDs that are \\Recent for this session, as ranges."""
        if claims and mailbox.first_recent_uid < mailbox.uid_next:
            self.take_recent(*mailbox.claim_recent())
        index = mailbox.index
        self._snapshot = index.snapshot
        self.count = index.snapshot.count
        self.modseq = index.highest_modseq
        self._told = self._expunges_told = index.version
        self._silenced: dict[int, npt.NDArray[Any]] | None = None
        self.tells_modseq = False
        """Whether a change of a MODSEQ alone is told, as one of flags (RFC 7162 §3.2)."""
        if not claims and self.count:
            self._note_recent()

    def take_recent(self, first: int, end: int) -> None:
        """Messages from the UID ``first`` on, below ``end``, are \\Recent for this session and no other."""
        if first < end and self._tells_recent:
            ranges = self.recent_ranges
            self.recent_ranges = (
                (*ranges[:-1], (ranges[-1][0], end - 1))
                if ranges and ranges[-1][1] == first - 1
                else (*ranges, (first, end - 1))
            )

    def _note_recent(self) -> None:
        """See which of the messages told by now are \\Recent for a session that takes them from nobody."""
        uid_next = self._last_uid() + 1
        first = self.mailbox.first_recent_uid
        if first < uid_next and self._tells_recent:
            ranges = self.recent_ranges
            self.recent_ranges = ((min(first, ranges[0][0]) if ranges else first, uid_next - 1),)

    # -- what was told

    @property
    def rows(self) -> Rows:
        """The row of message n at n - 1."""
        return self._snapshot.rows(self.count)

    @property
    def uids(self) -> npt.NDArray[Any]:
        """The UID of message n at n - 1."""
        return self._snapshot.uids(self.count)

    @property
    def recent_from(self) -> int:
        """No message below this UID is \\Recent for this session."""
        return self.recent_ranges[0][0] if self.recent_ranges else self.mailbox.index.uid_next

    @property
    def recent_count(self) -> int:
        """How many of its messages are \\Recent for this session."""
        if not self.recent_ranges:
            return 0
        below, count = self._snapshot.below, self.count
        return sum(below(last + 1, count) - below(first, count) for first, last in self.recent_ranges)

    def _last_uid(self) -> int:
        row = self._snapshot.row(self.count - 1)
        return int(self.mailbox.index.columns.full.uid.item(row))

    def recent_mask(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which of the rows are \\Recent for this session."""
        uids = self.mailbox.index.columns.full.uid[rows]
        mask = np.zeros(len(rows), np.bool_)
        for first, last in self.recent_ranges:
            mask |= (uids >= np.uint32(first)) & (uids <= np.uint32(last))
        return mask

    def is_recent(self, uid: int) -> bool:
        """Whether the message with this UID is \\Recent for this session."""
        return any(first <= uid <= last for first, last in self.recent_ranges)

    def holds(self, numset: NumSet) -> bool:
        """True when every sequence number of the set is one of this view."""
        ranges = numset.resolve(self.count)
        return bool(ranges) and ranges[0][0] >= 1 and ranges[-1][1] <= self.count

    def rows_of_seqs(self, numset: NumSet) -> Rows:
        """The rows of a set of sequence numbers, ascending; numbers beyond the last are left out."""
        rows, count = self.rows, self.count
        parts = [rows[first - 1 : last] for first, last in numset.resolve(count) if first <= count]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else _NONE

    def rows_of_uids(self, numset: NumSet) -> Rows:
        """The rows of a set of UIDs, ascending; UIDs that no message has are left out."""
        uids, rows, count = self.uids, self.rows, self.count
        ranges = numset.resolve(uids.item(count - 1) if count else 0)
        if not ranges or not count:
            return _NONE
        if len(ranges) == 1:
            first, last = ranges[0]
            low = uids.searchsorted(np.uint32(first))
            return rows[low : uids.searchsorted(np.uint32(last), "right")] if first <= last else _NONE
        bounds = np.array(ranges, np.uint32)
        firsts, ends = uids.searchsorted(bounds[:, 0]), uids.searchsorted(bounds[:, 1], "right")
        found: Rows = rows[rows_in_ranges(firsts, ends)]
        return found

    def seqs_of_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sequence numbers of rows of this view."""
        if self._snapshot.identity:
            return rows + 1
        return self.rows.searchsorted(rows) + 1

    def find(self, number: int, uid: bool) -> int:
        """The sequence number of a message named by it, or by its UID; 0 when there is none."""
        if uid:
            return self._snapshot.find(number, self.count) + 1
        return number if number <= self.count else 0

    def row_of_seq(self, seq: int) -> int:
        """The row of a message of this view."""
        return self._snapshot.row(seq - 1)

    @property
    def is_whole(self) -> bool:
        """Whether all its messages are there: none was expunged that is yet to be told."""
        return self._snapshot is self.mailbox.index.snapshot

    def held_back(self) -> int:
        """The lowest MODSEQ of the expunges that were held back; 0 when there is none."""
        if self.is_whole:
            return 0
        full, rows = self.mailbox.index.columns.full, self.rows
        gone = rows[full.flags[rows] & _TOMB != 0]
        return int(full.modseq[gone].min()) if len(gone) else 0

    # -- what is new

    def silence(self, rows: npt.NDArray[Any], modseq: int) -> None:
        """The change of these rows by the group ``modseq`` need not be told: the session made it silently."""
        if self._silenced is None:
            self._silenced = {}
        self._silenced[modseq] = rows

    def pending(self, expunges: bool) -> Changes:
        """What is to be told now; the view then is the new state, but for expunges held back."""
        index = self.mailbox.index
        if index.version == self._told and (not expunges or self._snapshot is index.snapshot):
            return _NOTHING
        if self.claims and self.mailbox.first_recent_uid < index.uid_next:
            self.take_recent(*self.mailbox.claim_recent())
            index = self.mailbox.index
        known = index.changes_since(self._told)
        kinds = {change.kind for change in known} if known is not None else {"F", "X", "A", "K"}
        gone: list[int] = []
        gone_uids: list[int] = []
        if expunges and self._snapshot is not index.snapshot:
            gone, gone_uids = self._tell_expunges()
        told = self.count
        if expunges:
            self._snapshot = index.snapshot
            self._expunges_told = index.version
        elif self._snapshot is not index.snapshot:
            self._snapshot.extend()
        before, self.count = told - len(gone) if expunges else told, self._snapshot.count
        changes = "FM" if self.tells_modseq else "F"
        told_rows = not kinds.isdisjoint(changes)
        fetch_rows, fetch_seqs = self._changed(known, before, changes) if told_rows else (_NONE, _NONE)
        grew = self.count > before
        self._told, self.modseq, self._silenced = index.version, index.highest_modseq, None
        if grew and not self.claims:
            self._note_recent()
        return Changes(
            gone,
            self.count if grew else None,
            self.recent_count if grew else None,
            fetch_rows,
            fetch_seqs,
            "K" in kinds,
            gone_uids,
        )

    def _tell_expunges(self) -> tuple[list[int], list[int]]:
        """Sequence numbers, descending, and UIDs of the messages of this view that are expunged."""
        index, snapshot = self.mailbox.index, self._snapshot
        full = index.columns.full
        known = index.changes_since(self._expunges_told)
        few = _few_rows(known, "X")
        if few is not None:
            pairs = [
                (snapshot.place(row, self.count) + 1, full.uid.item(row)) for row in sorted(few, reverse=True)
            ]
            pairs = [pair for pair in pairs if pair[0]]
            return [seq for seq, _ in pairs], [uid for _, uid in pairs]
        rows = self.rows
        places = np.flatnonzero(full.flags[rows] & _TOMB)
        return (places[::-1] + 1).tolist(), full.uid[rows[places]][::-1].tolist()

    def _changed(self, known: list[Change] | None, before: int, kinds: str) -> tuple[Rows, Rows]:
        """Rows among the first ``before`` that have such changes, but for what the session itself did
        silently, and their sequence numbers."""
        few = _few_rows(known, kinds, self._silenced)
        if few is not None:
            place, flags = self._snapshot.place, self.mailbox.index.columns.full.flags
            pairs = [(row, place(row, before) + 1) for row in sorted(few) if not flags.item(row) & TOMBSTONE]
            pairs = [pair for pair in pairs if pair[1]]
            if not pairs:
                return _NONE, _NONE
            return np.array([row for row, _ in pairs], np.int32), np.array(
                [seq for _, seq in pairs], np.int32
            )
        marked = self._marked(known, kinds)
        marked &= self.mailbox.index.columns.flags & _TOMB == 0
        told = self._snapshot.rows(before)
        places = np.flatnonzero(marked[told])
        return told[places], places.astype(np.int32) + np.int32(1)

    def _marked(self, known: list[Change] | None, kinds: str) -> npt.NDArray[np.bool_]:
        """For every row whether there is such a change to be told.

        Where too much was missed to know who changed what, nothing is silenced: another's change may lie
        under the session's own.
        """
        columns, silenced = self.mailbox.index.columns, self._silenced or {}
        if known is None:
            newer: npt.NDArray[np.bool_] = columns.modseq > np.uint64(self.modseq)
            return newer
        marked = np.zeros(columns.count, np.bool_)
        for change in known:
            if change.kind in kinds:
                own = silenced.get(change.modseq)
                if own is None:
                    marked[change.rows] = True
                else:
                    loud = np.zeros(columns.count, np.bool_)
                    loud[change.rows] = True
                    loud[own] = False
                    marked |= loud
        return marked


def _few_rows(
    changes: list[Change] | None, kinds: str, silenced: dict[int, npt.NDArray[Any]] | None = None
) -> set[int] | None:
    """The rows of the changes of these kinds, those silenced left out; None when they are not few."""
    if changes is None or len(changes) > _FEW:
        return None
    rows: set[int] = set()
    for change in changes:
        if change.kind not in kinds:
            continue
        if isinstance(change.rows, int):
            found = {change.rows}
        elif len(change.rows) <= _FEW:
            found = set(change.rows.tolist())
        else:
            return None
        if silenced and change.modseq in silenced:
            own = silenced[change.modseq]
            if len(own) > _FEW:
                return None
            found.difference_update(own.tolist())
        rows |= found
    return rows
