"""``python -m tests.contention --seeds 100 --turns 120``: many runs; what fails is kept and told."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from tests.contention.run import run
from tests.contention.work import RETAINING


def main() -> int:
    """Run from the command line; the exit status is 0 when every run agreed with the model."""
    parser = argparse.ArgumentParser(prog="tests.contention", description="Many runs against the model.")
    parser.add_argument("--first", type=int, default=0, help="the first seed [0]")
    parser.add_argument("--seeds", type=int, default=20, help="how many [20]")
    parser.add_argument("--turns", type=int, default=100, help="of each session [100]")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        path = Path(tempfile.mkdtemp(prefix="contention-"))
        try:
            run(path, f"s{seed}{RETAINING if seed % 2 else ''}", options.turns)
            shutil.rmtree(path)
        except Exception:
            failed += 1
            (path / "failure").write_text(traceback.format_exc())
            print(f"seed {seed} failed: see {path}/failure", flush=True)
    print(f"{options.seeds} runs, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
