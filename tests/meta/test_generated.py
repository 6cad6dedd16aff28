import shutil
import subprocess

import pytest

from mstore.base import generate as options
from mstore.base.roff import DIRECTORY
from mstore.cli import generate as commands
from mstore.imap import generate as imap
from mstore.imap.commands import COMMANDS
from workers import generate as daemons


def test_generated_files_are_current() -> None:
    for path, text in options.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m mstore.base.generate"
    for path, text in commands.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m mstore.cli.generate"
    for path, text in daemons.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m workers.generate"
    for path, text in imap.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m mstore.imap.generate"


def test_generated_pages_are_all_there_are() -> None:
    made = {**options.generated(), **commands.generated(), **daemons.generated()}
    assert set(DIRECTORY.iterdir()) == {path for path in made if path.parent == DIRECTORY}


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_manual_pages_have_nothing_that_mandoc_would_mend() -> None:
    pages = [str(path) for path in DIRECTORY.iterdir()]
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "style", *pages], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_manual_pages_are_formatted_without_a_warning() -> None:
    for path in DIRECTORY.iterdir():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-z", str(path)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), path


def test_every_extension_has_its_source_its_module_and_a_test() -> None:
    conditional = {"LITERAL-", "APPENDLIMIT", "STARTTLS", "LOGINDISABLED", "AUTH=PLAIN", "AUTH=ANONYMOUS"}
    assert set(imap.EXTENSIONS) == imap.announced() | conditional
    package = imap.ROOT / "mstore" / "imap"
    assert all((package / extension.module).is_file() for extension in imap.EXTENSIONS.values())
    dialogues = imap.read_dialogues()
    assert not [word for word in imap.EXTENSIONS if not imap.tests_of_extension(word, dialogues)]
    assert not [name for name, row in COMMANDS.items() if not imap.tests_of_command(row, dialogues)]


def test_every_refusal_has_a_code() -> None:
    refusals = list(imap.refusals())
    assert len(refusals) > 20
    assert not [(text, where) for code, text, where in refusals if code == "none"]
