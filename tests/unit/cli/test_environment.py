"""rc/environment.sh on machines that lack something, played by small fakes on the search path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *ensurepip*) [ -e "{here}/venv-installed" ] || exit 1; exit 0 ;;
  "-m venv "*) echo "making $3" >&2; exit 1 ;;
  *) exec {python} "$@" ;;
esac
"""


class Machine:
    """A search path with fakes, and a checkout with little in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin = path / "bin"
        self.bin.mkdir()
        self.root = path / "checkout"
        (self.root / "rc").mkdir(parents=True)
        shutil.copy(ROOT / "pyproject.toml", self.root)
        for name in ("environment.sh", "environment.py"):
            shutil.copy(ROOT / "rc" / name, self.root / "rc")
        self.fake("python3", FAKE_PYTHON.format(here=path, python=sys.executable))

    def fake(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script that has sourced environment.sh."""
        return subprocess.run(
            ["sh", "-c", f"set -eu; root={self.root}; . {self.root}/rc/environment.sh; {script}"],
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.path / "home")},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


VENV = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def test_an_ordinary_user_is_told_the_one_command(machine: Machine) -> None:
    machine.fake("id", "#!/bin/sh\necho 1000\n")
    done = machine.run("need_environment")
    assert done.returncode == 1
    assert f"sudo apt-get install {VENV}" in done.stderr


def test_the_superuser_gets_what_is_missing(machine: Machine) -> None:
    machine.fake("id", "#!/bin/sh\necho 0\n")
    here = machine.path
    machine.fake("apt-get", f'#!/bin/sh\necho "$*" >>{here}/apt\ntouch {here}/venv-installed\n')
    done = machine.run("need_environment")
    assert f"-q -y install --no-install-recommends {VENV}\n" == (machine.path / "apt").read_text()
    assert f"making {machine.root}/.venv" in done.stderr
    assert done.returncode == 1 and "Could not make" in done.stderr


def test_package_lists_are_fetched_when_they_are_missing(machine: Machine) -> None:
    machine.fake("id", "#!/bin/sh\necho 0\n")
    machine.fake(
        "apt-get",
        f'#!/bin/sh\necho "$*" >>{machine.path}/apt\n'
        f'case "$*" in *update*) touch {machine.path}/updated ;; *) [ -e {machine.path}/updated ] ;; esac\n',
    )
    done = machine.run("install_packages something && echo done")
    assert done.stdout == "done\n"
    words = [line.split()[1] for line in (machine.path / "apt").read_text().splitlines()]
    assert words == ["-y", "update", "-y"]


def test_an_old_python_is_not_taken(machine: Machine) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        machine.fake(name, "#!/bin/sh\nexit 1\n")
    machine.fake("id", "#!/bin/sh\necho 1000\n")
    done = machine.run("find_python /none && echo $python || echo none")
    assert "none" in done.stdout or "/usr/" in done.stdout
    assert str(machine.bin) not in done.stdout


def make(machine: Machine) -> Path:
    """An environment as it is once made."""
    environment = machine.root / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    done = machine.run('key=$(cksum <"$root/pyproject.toml" | tr " " -); echo "$key"')
    (environment / "made-for-test").write_text(done.stdout)
    return environment


def test_the_code_is_compiled_for_daemons_that_may_not_write(machine: Machine) -> None:
    make(machine)
    for package in ("mstore", "workers"):
        (machine.root / package / "inner").mkdir(parents=True)
        (machine.root / package / "inner" / "module.py").write_text("number = 1\n")
    assert machine.run("umask 077; need_environment").returncode == 0
    for package in ("mstore", "workers"):
        (compiled,) = (machine.root / package / "inner" / "__pycache__").iterdir()
        assert compiled.stat().st_mode & 0o777 == 0o644
        assert compiled.parent.stat().st_mode & 0o777 == 0o755
    (machine.root / "mstore" / "broken.py").write_text("no Python\n")
    assert machine.run("need_environment").stderr == ""


def test_a_made_environment_is_only_looked_at(machine: Machine) -> None:
    environment = make(machine)
    for extra in ("", "test"):
        done = machine.run(f"need_environment {extra}; echo $environment")
        assert (done.returncode, done.stdout) == (0, f"{environment}\n"), done.stderr
    (machine.root / "pyproject.toml").write_text("[project]\n")
    assert machine.run("key=other; environment=$root/.venv; is_made '' && echo made").stdout == ""


def test_a_checkout_of_others_gets_its_environment_elsewhere(machine: Machine) -> None:
    machine.root.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(machine.root, 65534, 65534)  # The superuser could write, but should not.
    machine.fake("id", "#!/bin/sh\necho 1000\n")
    machine.run("need_environment")
    machine.root.chmod(0o755)
    assert list((machine.path / "home" / ".cache" / "m-store").iterdir())
    assert not (machine.root / ".venv").exists()
