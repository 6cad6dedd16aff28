"""Several processes with several sessions each on a few mailboxes, against a dict and a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contention.run import run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", ["spring", "autumn", "winter"])
def test_all_sessions_of_all_processes_agree_with_the_model(tmp_path: Path, seed: str) -> None:
    assert run(tmp_path, seed) > 0
