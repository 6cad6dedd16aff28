from __future__ import annotations

import numpy as np

from mstore.files.column import Columns
from mstore.files.snapshot import Snapshot


def test_uids_are_right_for_those_who_were_told_less_than_there_is() -> None:
    """Wherever the arrays are outgrown meanwhile."""
    columns = Columns(3000)
    columns.full.uid[:3000] = np.arange(1, 3001)
    snapshot = Snapshot(columns, np.empty(0, np.int32))
    while columns.count < 2500:
        for rows in (5, 4):
            told = snapshot.count
            columns.count += rows
            snapshot.grow(rows)
        assert snapshot.uids(told).tolist() == list(range(1, told + 1))


def test_how_many_messages_are_below_a_uid() -> None:
    columns = Columns(16)
    columns.full.uid[:4] = (2, 3, 7, 9)
    columns.count = 4
    whole, part = Snapshot(columns, None, 4), Snapshot(columns, np.array((0, 1, 2, 3), np.int32), 4)
    for snapshot in (whole, part):
        assert [snapshot.below(uid, 4) for uid in (1, 2, 3, 4, 7, 8, 9)] == [0, 0, 1, 2, 2, 3, 3]
        assert [snapshot.below(uid, 4) for uid in (10, 1 << 32)] == [4, 4]
        assert [snapshot.below(uid, 2) for uid in (1, 3, 4, 9, 1 << 32)] == [0, 1, 2, 2, 2]
        assert snapshot.below(1 << 32, 0) == 0
