"""metricsd that has been taken over: what it tries from within, and how little of it succeeds."""

import os
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tests.unit.workers.running import (
    Running,
    free_port,
    reachable_directory,
    started,
    try_connect,
    wait_for,
)
from tests.unit.workers.test_confine import make_site, with_landlock, with_networks, with_scopes, with_seccomp
from workers import landlock
from workers.scoreboard import Scoreboard

Try = Callable[..., str]


class Metricsd:
    """A running metricsd that obeys."""

    def __init__(self, path: Path, port: int, running: Running) -> None:
        self.path = path
        self.port = port
        self.running = running

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def attempt(self, *words: object) -> str:
        return self.get(f"/try?{quote_plus(' '.join(map(str, words)))}")


@pytest.fixture(scope="module")
def metricsd() -> Iterator[Metricsd]:
    with reachable_directory() as path:
        yield from serve(path, free_port())


def serve(path: Path, port: int) -> Iterator[Metricsd]:
    site = make_site(path, f"metrics-listen 127.0.0.1:{port}")
    with started(site, "tests.unit.workers.confined_metricsd") as running:
        wait_for(lambda: try_connect(port)).close()
        yield Metricsd(path, port, running)
        assert "Traceback" not in running.text() and "level=error" not in running.text()
        assert running.stop() == 0


def test_its_work_goes_on(metricsd: Metricsd) -> None:
    """Also with the scoreboard of a daemon that was started later."""
    assert 'mstore_up{daemon="imapd"} 0.0' in metricsd.get("/metrics")
    board = Scoreboard(1, metricsd.path / "run" / "imapd.scoreboard", "imapd", 1.0)
    board.own.beat()
    board.slots[0].add("connections", 3)
    if os.geteuid() == 0:
        owner = (metricsd.path / "mail").stat()
        os.chown(metricsd.path / "run" / "imapd.scoreboard", owner.st_uid, owner.st_gid)
    page = metricsd.get("/metrics")
    assert 'mstore_up{daemon="imapd"} 1.0' in page
    assert 'mstore_connections_total{daemon="imapd"} 3.0' in page
    assert f'mstore_disk_free_bytes{{of="main",path="{metricsd.path}/mail"}}' in page


@with_landlock
def test_mail_passwords_and_the_rest_of_the_system_are_out_of_reach(metricsd: Metricsd) -> None:
    path = metricsd.path
    (path / "mail" / "message").write_text("secret")
    if os.geteuid() == 0:
        (path / "mail" / "message").chmod(0o666)
    secrets = ("mail/message", "db/accounts.db", "db/passwords/passwords.db", "ms.conf")
    for secret in (*(path / name for name in secrets), "/etc/passwd", "/proc/self/mem"):
        assert metricsd.attempt("read", secret) == "EACCES", secret
        assert metricsd.attempt("write", secret) in ("EACCES", "EROFS"), secret
    for directory in ("/", "/etc", "/tmp", path, path / "mail", path / "run", path / "log"):
        assert metricsd.attempt("list", directory) == "EACCES", directory
    for new in ("run/new", "run/imapd.scoreboard", "log/metricsd.log", "db/new", "spool/new"):
        assert metricsd.attempt("write", path / new) in ("EACCES", "ENOENT"), new


@with_seccomp
def test_no_program_is_started_and_no_socket_made(metricsd: Metricsd) -> None:
    for words in (("exec", "/bin/true"), ("fork",), ("socket",), ("connect-unix", "/nowhere")):
        assert metricsd.attempt(*words) == "EPERM", words
    assert metricsd.attempt("ptrace", os.getpid()) == "EPERM"
    assert metricsd.attempt("memory", os.getpid()) == "EPERM"


@with_scopes
def test_others_are_out_of_reach_of_signals(metricsd: Metricsd) -> None:
    assert metricsd.attempt("signal", os.getpid()) == "EPERM"


@with_networks
def test_it_names_its_confinement(metricsd: Metricsd) -> None:
    [line] = [line for line in metricsd.running.text().splitlines() if "event=confinement" in line]
    assert f"landlock={landlock.version()} " in line


def test_a_client_that_says_nothing_is_left(metricsd: Metricsd) -> None:
    with socket.create_connection(("127.0.0.1", metricsd.port), timeout=60) as silent:
        assert silent.recv(100) == b""
