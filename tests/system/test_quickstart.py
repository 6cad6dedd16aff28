"""The two commands of the README: quickstart brings everything up, stop leaves nothing."""

from __future__ import annotations

import imaplib
import json
import os
import poplib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.instance import ROOT, children, title, wait_for


class Quickstart:
    """A quickstart in a directory of its own; `said` is what it printed."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
        self.path.chmod(0o755)
        self.directory = self.path / "quick"
        self.said = self.rc("quickstart", str(self.directory))
        self.config = self.directory / "ms.conf"
        self.ms_path = self.directory / "store"

    def rc(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mstore.cli.rc", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HOME": str(self.path),
                "XDG_DATA_HOME": str(self.path),
            },
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == status, f"rc.m-store {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def address(self, label: str) -> tuple[str, int]:
        found = re.search(rf"^{label} (127\.0\.0\.1):(\d+)$", self.said, re.M)
        assert found, self.said
        return found[1], int(found[2])

    def password(self, user: str) -> str:
        found = re.search(rf"^ *{user} +password (\S+)$", self.said, re.M)
        assert found, self.said
        return found[1]

    def pid(self, daemon: str) -> int:
        return int((self.ms_path / "run" / f"{daemon}.lock").read_text().split()[0])


@pytest.fixture(scope="module")
def quick() -> Iterator[Quickstart]:
    started = Quickstart()
    try:
        yield started
    finally:
        subprocess.run(
            [sys.executable, "-m", "mstore.cli.rc", "-f", str(started.config), "stop"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=100,
        )
        shutil.rmtree(started.path, ignore_errors=True)


def test_the_delivered_message_is_read_over_imap_and_pop3(quick: Quickstart) -> None:
    password = quick.password("alice")
    imap = imaplib.IMAP4(*quick.address("IMAP"))
    imap.login("alice", password)
    assert imap.select() == ("OK", [b"1"])
    over_imap = imap.fetch("1", "(RFC822)")[1][0][1]  # type: ignore[index]
    imap.logout()
    assert b"Subject: " in over_imap
    pop = poplib.POP3(*quick.address("POP3"))
    pop.user("alice")
    pop.pass_(password)
    assert b"\r\n".join(pop.retr(1)[1]) + b"\r\n" == over_imap
    pop.quit()


def test_the_commands_it_prints_work_as_printed(quick: Quickstart) -> None:
    tries = [line.strip() for line in quick.said.split("Try:", 1)[1].splitlines() if line.strip()]
    commands = [line for line in tries if line.startswith(("curl ", "python3 "))]
    assert len(commands) >= 3
    for command in commands:
        if command.startswith("curl ") and shutil.which("curl") is None:
            continue
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=200)
        assert done.returncode == 0, (command, done.stderr)
        assert b"Subject: " in done.stdout, (command, done.stdout)


def test_titles_tell_what_every_process_does(quick: Quickstart) -> None:
    storemgr = quick.pid("storemgr")
    wanted = {quick.pid(name): rf"m-store: {name} \[" for name in ("authproxyd", "imapd", "pop3d", "lmtpd")}
    assert set(children(storemgr)) == set(wanted)
    wanted[storemgr] = r"m-store: storemgr \[4 services up"
    workers = children(quick.pid("imapd"))
    assert workers
    for pid in workers:
        wanted[pid] = r"m-store: imapd worker \d+ \[\d+ sessions, \d+ idle, \d+ commands/s\]"
    wait_for(
        lambda: all(re.match(text, title(pid)) for pid, text in wanted.items()), 30,
        lambda: f"{[title(pid) for pid in wanted]}",
    )  # fmt: skip
    if os.geteuid() == 0:
        for pid in children(quick.pid("imapd")):
            uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
            assert uids and "0" not in uids.groups(), "a worker runs as root"


def test_status_says_what_runs(quick: Quickstart) -> None:
    said = quick.rc("-f", str(quick.config), "status")
    for daemon in ("storemgr", "authproxyd", "imapd", "pop3d", "lmtpd"):
        assert daemon in said
    told = {each["name"]: each for each in json.loads(quick.rc("-f", str(quick.config), "status", "--json"))}
    assert told["storemgr"]["pid"] == quick.pid("storemgr") and told["imapd"]["workers"] > 0


def test_once_more_changes_nothing(quick: Quickstart) -> None:
    pid = quick.pid("storemgr")
    again = quick.rc("quickstart", str(quick.directory))
    assert again == quick.said
    told = json.loads(quick.rc("quickstart", str(quick.directory), "--json"))
    assert told["config"] == str(quick.config)
    assert told["listeners"]["IMAP"] == [":".join(map(str, quick.address("IMAP")))]
    assert {"name": "alice", "password": quick.password("alice")} in told["accounts"]
    assert quick.pid("storemgr") == pid


def test_stop_leaves_no_process_and_no_socket() -> None:
    quick = Quickstart()
    try:
        pids = [quick.pid("storemgr"), *children(quick.pid("storemgr"))]
        for daemon in ("imapd", "pop3d", "lmtpd"):
            pids += children(quick.pid(daemon))
        assert len(pids) >= 8
        quick.rc("-f", str(quick.config), "restart")
        wait_for(lambda: not any(map(_lives, pids)), 30, lambda: "the old processes live on after a restart")
        pids = [quick.pid("storemgr"), *children(quick.pid("storemgr"))]
        quick.rc("-f", str(quick.config), "stop")
        # The last one lets its lock go just before it ends.
        wait_for(lambda: not any(map(_lives, pids)), 30, lambda: "processes live on after a stop")
        assert [path for path in quick.directory.rglob("*") if path.is_socket()] == []
        said = quick.rc("-f", str(quick.config), "status", status=3)
        assert "storemgr" in said
    finally:
        shutil.rmtree(quick.path, ignore_errors=True)


def _lives(pid: int) -> bool:
    return title(pid).startswith("m-store") or Path(f"/proc/{pid}/cwd").exists()
