"""What msadm says when the library's files are out of reach, as they may be for the runtime user."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.workers.running import ROOT

PROGRAM = """
import sys
import click
from mstore.base.preload import COMMAND_LINE, load_all, load_modules
class Nothing:
    def find_spec(self, name, path=None, target=None):
        raise ModuleNotFoundError(f"No module named {name!r}")
@click.group()
def main():
    "Do."
@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def act(yes):
    "Act."
    load_all()
    load_modules(COMMAND_LINE)
    sys.meta_path.insert(0, Nothing())
    if not yes:
        raise click.UsageError("Say --yes.")
    with click.progressbar([1, 2], label="acting", file=sys.stderr) as bar:
        for each in bar:
            pass
    click.confirm("Go on?", abort=True)
main()
"""


@pytest.mark.parametrize(("words", "told"), [(["act"], "Error: Say --yes."), (["act", "--yes"], "Aborted!")])
def test_errors_progress_and_questions_need_no_further_module(words: list[str], told: str) -> None:
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, input="n\n", timeout=60)
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
