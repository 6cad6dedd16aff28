"""The benchmark harness stays alive: a little of every line, against this tree's M-Store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.instance import ROOT

LINES = """
rest delivery delivery20 login idle flags envelope headers structure search text sort thread storeall copy
qresync append store bodies pop3 list mixed
"""
SCALES = "mailbox message sessions"


@pytest.mark.timeout(900)
def test_every_line_of_the_benchmark_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bench/run", "--servers", "m-store", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "MSTORE_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for stem, lines in (("results", LINES), ("scale", SCALES)):
        results = json.loads((tmp_path / f"{stem}.json").read_text())
        assert {row["line"] for row in results["rows"]} == set(lines.split())
        assert all(row["median"]["m-store"] is not None for row in results["rows"])
        assert "| M-Store |" in (tmp_path / f"{stem}.md").read_text()
    assert "| work | Dovecot | M-Store | ratio |" in (tmp_path / "results-short.md").read_text()
