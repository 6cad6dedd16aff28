"""A thousand guesses from one address, as authproxyd meets them: with threads, real hashes and real time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.workers.guessing import GUESSES
from tests.unit.workers.running import ROOT

MOST_SLOWER = 1.10
LONGEST_S = 0.5
"""One after the other, the guesses would take half a minute."""


@pytest.mark.timeout(180)
def test_a_thousand_guesses_do_not_slow_down_the_logins_of_others(tmp_path: Path) -> None:
    """The best round counts: other work on the machine comes and goes, an attack would be in all of them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.workers.guessing", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert min(attacked_s / quiet_s for quiet_s, attacked_s, *_ in rounds) <= MOST_SLOWER, rounds
    assert min(slowest_s for _, _, slowest_s, _ in rounds) < LONGEST_S, rounds
    assert all(0 < judged < GUESSES / 10 for *_, judged in rounds), rounds
