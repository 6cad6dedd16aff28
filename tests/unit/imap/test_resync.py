"""What has changed since a MODSEQ is found the same, whether little of the mailbox has changed or much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mstore.imap.resync import changed_since
from mstore.imap.selected import Selected


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("count", [0, 1, 7, 9, 100, 5000])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 1.0])
def test_what_has_changed_since(dtype: Any, count: int, share: float) -> None:
    random = np.random.default_rng(count)
    modseqs = np.where(random.random(count * 2 + 10) < share, 30, 10).astype(np.uint64)
    rows = np.flatnonzero(random.permutation(count * 2 + 10) < count).astype(dtype)
    selected = SimpleNamespace(
        mailbox=SimpleNamespace(columns=SimpleNamespace(full=SimpleNamespace(modseq=modseqs)))
    )
    found = changed_since(cast(Selected, selected), rows, 20)
    assert found.tolist() == [row for row in rows.tolist() if modseqs[row] > 20]
    assert found.dtype == rows.dtype
