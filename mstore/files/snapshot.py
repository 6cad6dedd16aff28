"""Snapshots: which row is message number 1, 2, 3 … for those who were told the same expunges.

A snapshot is a list of rows that only grows at its end; a view is a snapshot and how much of it has been
told, so all sessions with the same view share one array. While nothing is expunged, row n is message n + 1
and no array is needed at all. An expunge begins a new snapshot; those of sessions not yet told live on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.base.flags import TOMBSTONE
from mstore.files.column import Columns, capacity_for

Rows = npt.NDArray[np.int32]
_TOMBSTONE = np.uint64(TOMBSTONE)


class Snapshot:
    """Rows in sequence order; ``count`` of them, made from the first ``top`` rows of the columns."""

    __slots__ = ("_rows", "_uids", "_uids_known", "columns", "count", "identity", "top")

    def __init__(self, columns: Columns, rows: Rows | None = None, top: int = 0) -> None:
        self.columns = columns
        self.identity = rows is None
        self._rows: Rows | None = rows
        self._uids: npt.NDArray[Any] | None = None
        self._uids_known = 0
        self.count = top if rows is None else len(rows)
        self.top = top

    def rows(self, count: int) -> Rows:
        """The rows of messages 1 to ``count``."""
        rows = self._rows
        if rows is None or (self.identity and len(rows) < count):
            rows = self._rows = np.arange(capacity_for(self.count), dtype=np.int32)
        return rows[:count]

    def uids(self, count: int) -> npt.NDArray[Any]:
        """The UIDs of messages 1 to ``count``."""
        if self.identity:
            return self.columns.full.uid[:count]
        uids = self._uids
        rows = self._rows
        assert rows is not None
        if uids is None or len(uids) < self.count:
            uids = self._uids = np.empty(len(rows), np.uint32)
            self._uids_known = 0
        if self._uids_known < count:
            new = slice(self._uids_known, self.count)
            uids[new] = self.columns.full.uid[rows[new]]
            self._uids_known = self.count
        return uids[:count]

    def below(self, uid: int, count: int) -> int:
        """How many of messages 1 to ``count`` have a UID below this one."""
        uids = self.columns.full.uid
        if self.identity:
            if not count or uids.item(count - 1) < uid:
                return count
            return int(uids[:count].searchsorted(np.uint32(min(uid, 0xFFFFFFFF))))
        row = uids[: self.columns.count].searchsorted(np.uint32(min(uid, 0xFFFFFFFF)))
        return int(self.rows(count).searchsorted(np.int32(row)))

    def row(self, place: int) -> int:
        """The row of the message at a place (from 0)."""
        if self.identity or self._rows is None:
            return place
        return int(self._rows.item(place))

    def place(self, row: int, count: int) -> int:
        """The place (from 0) of a row among messages 1 to ``count``, -1 when it is none of them."""
        if self.identity or self._rows is None:
            return row if row < count else -1
        rows = self._rows[:count]
        at = int(rows.searchsorted(np.int32(row)))
        return at if at < count and rows.item(at) == row else -1

    def find(self, uid: int, count: int) -> int:
        """The place (from 0) of a UID among messages 1 to ``count``, -1 when none of them has it."""
        uids = self.uids(count)
        at = int(uids.searchsorted(np.uint32(uid)))
        return at if at < count and uids.item(at) == uid else -1

    def grow(self, count: int) -> None:
        """Take in so many rows that were just added to the columns: a snapshot that follows every change."""
        top, self.top = self.top, self.top + count
        if self.identity:
            self.count = self.top
        elif count == 1 and self._rows is not None and self.count < len(self._rows):
            self._rows[self.count] = top
            self.count += 1
        else:
            self._add(np.arange(top, self.top, dtype=np.int32))

    def extend(self) -> None:
        """Take in the rows that were added to the columns since, but for those expunged meanwhile."""
        columns = self.columns
        top, self.top = self.top, columns.count
        if top == self.top:
            return
        new = np.arange(top, self.top, dtype=np.int32)
        gone = columns.full.flags[top : self.top] & _TOMBSTONE != 0
        if gone.any():
            new = new[~gone]
            if self.identity:
                self._rows, self.identity = self.rows(self.count).copy(), False
        elif self.identity:
            self.count = self.top
            return
        self._add(new)

    def _add(self, new: Rows) -> None:
        rows = self._rows
        assert rows is not None
        if len(rows) < self.count + len(new):
            bigger = np.empty(capacity_for(self.count + len(new)), np.int32)
            bigger[: self.count] = rows[: self.count]
            self._rows = rows = bigger
        rows[self.count : self.count + len(new)] = new
        self.count += len(new)

    def without(self, positions: npt.NDArray[Any]) -> Snapshot:
        """The snapshot that follows when the messages at these positions (from 0) are expunged."""
        return Snapshot(self.columns, np.delete(self.rows(self.count), positions), self.top)
