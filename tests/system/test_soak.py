"""The soak in short: processes are killed under a mixed load, and all that was acknowledged is so."""

from __future__ import annotations

from pathlib import Path

from bench.soak.__main__ import main


def test_nothing_acknowledged_is_lost_when_processes_are_killed(tmp_path: Path) -> None:
    arguments = ["--kills", "8", "--minutes", "0.15", "--users", "2", "--seed", "3", "--held", "150"]
    assert main([*arguments, "--ledger", str(tmp_path / "ledger")]) == 0
    kept = (tmp_path / "ledger").read_text().splitlines()
    assert sum(line.startswith("held ") for line in kept) > 100
