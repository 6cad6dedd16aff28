"""Runs daemons for tests: configurations in a directory of their own, processes that end with the test."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import psutil

from mstore.accounts.database import SCHEMAS, create_database
from tests.kit.instance import free_port

ROOT = Path(__file__).resolve().parents[3]
T = TypeVar("T")

PATIENCE_S = 40.0


def wait_for(find: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What the function gives once it gives something."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {patience_s} s in vain for {find}")


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """A directory that other users reach as well: pytest keeps its own from them, anew with each run."""
    with tempfile.TemporaryDirectory(prefix="m-store-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def may_empty_bounds() -> bool:
    """Whether what is started here may let capabilities go for good (CAP_SETPCAP); not in each container."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"CapEff:\s+(\w+)", status)
    return found is not None and bool(int(found[1], 16) >> 8 & 1)


class Site:
    """A directory with a configuration and what a daemon needs to run."""

    def __init__(self, path: Path, *lines: str, port: int | None = None) -> None:
        self.path = path
        self.port = port or free_port()
        self.config = path / "ms.conf"
        mail = path / "mail"
        mail.mkdir()
        (path / "db").mkdir()
        for schema in SCHEMAS:
            create_database(path / "db", schema, 0o600)
        user = ["runtime-user root"] if os.geteuid() == 0 else []
        base = [f"ms-path {path}", f"mailstore main {mail}", f"imapd-listen 127.0.0.1:{self.port}"]
        self.config.write_text("\n".join([*base, *user, *lines]) + "\n")

    def pid(self, name: str = "imapd") -> int:
        text = (self.path / "run" / f"{name}.lock").read_text()
        return int(text) if text.strip() else 0


class Running:
    """A process with its standard error at hand."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.log = log

    def text(self) -> str:
        return self.log.read_text()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def started(site: Site, module: str, *arguments: str, log: str = "stderr") -> Iterator[Running]:
    """Run a module as a daemon on a site; everything it started is gone afterwards."""
    path = site.path / log
    file: IO[bytes]
    with path.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "-f", str(site.config), *arguments],
            stderr=file, stdout=file, stdin=subprocess.DEVNULL, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
    try:
        yield Running(process, path)
    finally:
        family = [process.pid]
        try:
            family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            pass
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def read_line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = sock.recv(1)
        if not data:
            break
        line += data
    return line


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what nobody has reaped of it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def greet(port: int) -> tuple[socket.socket, int]:
    """A fresh connection to the echo daemon, and the process that serves it."""
    sock = wait_for(lambda: try_connect(port))
    word, _, pid = read_line(sock).partition(b" ")
    assert word == b"hello"
    return sock, int(pid)


def try_connect(port: int) -> socket.socket | None:
    try:
        return connect(port)
    except ConnectionRefusedError:
        return None
