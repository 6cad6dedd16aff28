import os
import subprocess
import sys
from pathlib import Path

import pytest

from mstore.base.errors import Busy
from mstore.files.lockfile import LockFile, holder

HOLD = """
import sys
from pathlib import Path
from mstore.files.lockfile import LockFile
lock = LockFile.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imapd.lock"


def hold(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_nobody_holds_a_file_that_is_not_there(path: Path) -> None:
    assert holder(path) is None


def test_the_holder_is_known_until_it_dies(path: Path) -> None:
    process = hold(path)
    assert holder(path) == process.pid == int(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o644
    process.kill()
    process.wait()
    assert holder(path) is None and path.exists()
    LockFile.take(path).release()


def test_a_second_taker_is_told_who_holds_it(path: Path) -> None:
    process = hold(path)
    with pytest.raises(Busy, match=f"process {process.pid}"):
        LockFile.take(path)
    assert int(path.read_text()) == process.pid
    process.kill()
    process.wait()


def test_release_empties_the_file_and_leaves_it(path: Path) -> None:
    lock = LockFile.take(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
    assert path.read_text() == ""
    process = hold(path)
    process.kill()
    process.wait()


def test_a_forked_child_does_not_hold_it(path: Path) -> None:
    forking = HOLD.replace("print(", "import os\nif os.fork() == 0: sys.stdin.read()\nprint(")
    process = subprocess.Popen(
        [sys.executable, "-c", forking, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    process.kill()
    process.wait()
    assert holder(path) is None
    assert process.stdin is not None
    process.stdin.close()


def test_links_are_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        LockFile.take(path)
    assert (tmp_path / "elsewhere").read_text() == "precious"
