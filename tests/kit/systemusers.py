"""Users of the system, made for one test and removed after it; needs the superuser."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWD = Path("/etc/passwd")
PAM_DIRECTORY = Path("/etc/pam.d")

_numbers = itertools.count(1)


def fresh_name(what: str = "ms") -> str:
    """A name that no user and no PAM service has."""
    return f"{what}{os.getpid()}x{next(_numbers)}"


@contextmanager
def system_user(hashed: str = "", password: str = "", *, name: str | None = None) -> Iterator[str]:
    """A user with shadow passwords, whose password is this one, or has this hash."""
    name = name or fresh_name()
    run("useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name)
    try:
        if hashed:
            run("usermod", "-p", hashed, name)
        if password:
            run("chpasswd", text=f"{name}:{password}\n")
        yield name
    finally:
        run("userdel", name)


@contextmanager
def traditional_user(hashed: str) -> Iterator[str]:
    """A user as on systems without shadow passwords: the hash stands in the password file itself."""
    name = fresh_name("old")
    line = f"{name}:{hashed}:65533:65533::/nonexistent:/usr/sbin/nologin\n"
    with _locked():
        text = PASSWD.read_text()
        _replace(text + ("" if text.endswith("\n") else "\n") + line)
    try:
        yield name
    finally:
        with _locked():
            _replace(PASSWD.read_text().replace(line, ""))


@contextmanager
def pam_service(*lines: str) -> Iterator[str]:
    """A PAM service of these lines."""
    name = fresh_name("mspam")
    path = PAM_DIRECTORY / name
    path.write_text("\n".join(lines) + "\n")
    try:
        yield name
    finally:
        path.unlink()


def run(*command: str, text: str = "") -> str:
    """Run a command of the system's, which must succeed; what it says."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def _locked() -> Iterator[None]:
    """The lock that useradd and its like take, and a file lock among tests."""
    library = ctypes.CDLL(None)
    with open("/run/lock/mstore-tests-passwd", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert library.lckpwdf() == 0, "the password file is locked by somebody"
        try:
            yield
        finally:
            library.ulckpwdf()


def _replace(text: str) -> None:
    made = PASSWD.with_name("passwd.mstore-tests")
    made.write_text(text)
    made.chmod(0o644)
    made.rename(PASSWD)
