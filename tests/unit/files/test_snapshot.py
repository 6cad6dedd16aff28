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
