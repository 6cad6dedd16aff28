"""The benchmark harness stays alive: a few seconds of every line, against this tree's M-Store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.kit.instance import ROOT


def test_every_line_of_the_benchmark_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bench/run", "--servers", "m-store", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "MSTORE_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=115,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads((tmp_path / "results.json").read_text())
    lines = {row["line"] for row in results["rows"]}
    assert {"delivery", "login", "idle", "flags", "envelope", "append", "store", "bodies", "pop3"} <= lines
    assert all(row["median"]["m-store"] is not None for row in results["rows"])
    assert "| M-Store |" in (tmp_path / "results.md").read_text()
