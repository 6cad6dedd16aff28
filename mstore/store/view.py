"""What one session has been told of a mailbox, and the difference to what is.

A view costs a few hundred bytes: a shared snapshot (which row is message n), how many of its messages were
told, and how far the changes were told. ``pending`` moves it forward and says what to tell; expunges may be
held back while sequence numbers are in use (RFC 3501 §7.4.1), and the messages then stay readable under their
numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mstore.files.index import Change, rows_in_ranges
from mstore.files.snapshot import TOMBSTONE, Rows
from mstore.store.change import Changes

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

_NOTHING = Changes()
_TOMB = np.uint64(TOMBSTONE)
_NONE: Rows = np.empty(0, np.int32)


class NumSet(Protocol):
    """A set of numbers as the client wrote it; ``*`` is resolved by the view."""

    def resolve(self, largest: int) -> list[tuple[int, int]]: ...


class View:
    """One session's view; its messages are numbered from 1 in the order of ``rows``."""

    __slots__ = (
        "_claims",
        "_expunges_told",
        "_silenced",
        "_snapshot",
        "_told",
        "count",
        "mailbox",
        "modseq",
        "recent_ranges",
    )

    def __init__(self, mailbox: Mailbox, claims: bool) -> None:
        index = mailbox.index
        self.mailbox = mailbox
        self._claims = claims
        self._snapshot = index.snapshot
        self.count = index.snapshot.count
        self.modseq = index.highest_modseq
        self._told = self._expunges_told = index.version
        self._silenced: dict[int, npt.NDArray[Any]] | None = None
        self.recent_ranges: tuple[tuple[int, int], ...] = ()
        """UIDs that are \\Recent for this session, as ranges."""
        if self.count:
            self._note_recent()

    def _note_recent(self) -> None:
        """See which of the messages told by now are \\Recent for this session, and claim them."""
        uid_next = self.uids.item(self.count - 1) + 1
        first = self.mailbox.first_recent_uid
        if first >= uid_next:
            return
        ranges = self.recent_ranges
        if self._claims:
            self.mailbox.claim_recent(uid_next)
            self.recent_ranges = (
                (*ranges[:-1], (ranges[-1][0], uid_next - 1))
                if ranges and ranges[-1][1] == first - 1
                else (*ranges, (first, uid_next - 1))
            )
        else:
            start = min(first, ranges[0][0]) if ranges else first
            self.recent_ranges = ((start, uid_next - 1),)

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
        uids = self.uids
        return sum(
            int(uids.searchsorted(last, "right") - uids.searchsorted(first))
            for first, last in self.recent_ranges
        )

    def recent_mask(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which of the rows are \\Recent for this session."""
        uids = self.mailbox.index.columns.full.uid[rows]
        mask = np.zeros(len(rows), np.bool_)
        for first, last in self.recent_ranges:
            mask |= (uids >= first) & (uids <= last)
        return mask

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
        fetch_rows = self._changed_rows(known, before) if "F" in kinds else _NONE
        grew = self.count > before
        self._told, self.modseq, self._silenced = index.version, index.highest_modseq, None
        if grew:
            self._note_recent()
        return Changes(
            gone,
            self.count if grew else None,
            self.recent_count if grew else None,
            fetch_rows,
            self.seqs_of_rows(fetch_rows) if len(fetch_rows) else fetch_rows,
            "K" in kinds,
            gone_uids,
        )

    def _tell_expunges(self) -> tuple[list[int], list[int]]:
        """Sequence numbers, descending, and UIDs of the messages of this view that are expunged."""
        index, rows = self.mailbox.index, self.rows
        known = index.changes_since(self._expunges_told)
        if known is None:
            places = np.flatnonzero(index.columns.full.flags[rows] & _TOMB)
        else:
            dead = _rows_of(known, "X")
            places = rows.searchsorted(dead)
            places = places[places < self.count]
            dead = dead[: len(places)]
            places = places[rows[places] == dead]
        uids = self.uids[places]
        return (places[::-1] + 1).tolist(), uids[::-1].tolist()

    def _changed_rows(self, known: list[Change] | None, before: int) -> Rows:
        """Rows among those told already whose flags changed, but for what the session itself did silently."""
        full, silenced = self.mailbox.index.columns.full, self._silenced or {}
        told = self._snapshot.rows(before)
        if not len(told):
            return _NONE
        if known is None:
            # what the session did silently is told too: somebody else may have changed the same row before
            rows = told[full.modseq[told] > np.uint64(self.modseq)]
            alive: Rows = rows[full.flags[rows] & _TOMB == 0]
            return alive
        changes = []
        for change in known:
            if change.kind == "F":
                quiet = silenced.get(change.modseq, _NONE)
                rows = np.atleast_1d(np.asarray(change.rows))
                if len(quiet) == len(rows) and (quiet == rows).all():
                    continue
                changes.append(rows[~np.isin(rows, quiet)] if len(quiet) else rows)
        if not changes:
            return _NONE
        rows = np.unique(np.concatenate(changes))
        rows = rows[rows <= told[-1]]
        places = told.searchsorted(rows)
        rows = rows[told[places] == rows]
        kept: Rows = rows[full.flags[rows] & _TOMB == 0].astype(np.int32, copy=False)
        return kept


def _rows_of(changes: list[Change], kind: str) -> npt.NDArray[Any]:
    rows = [np.atleast_1d(np.asarray(change.rows)) for change in changes if change.kind == kind]
    return np.sort(np.concatenate(rows)) if rows else _NONE
