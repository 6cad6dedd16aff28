"""The log of a running store: where its lines go, that a renamed file is left, and that nothing is forged."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.kit import loglines
from tests.kit.clients import raw
from tests.kit.instance import PASSWORD, ROOT, Instance, wait_for

FILTER = ROOT / "conf" / "fail2ban" / "filter.d" / "m-store.conf"


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A syslog, or a journal, that the daemons can reach."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        door.bind(str(path))
        path.chmod(0o666)
        yield door


def take(door: socket.socket, found: list[bytes], last: bytes) -> bool:
    """Take what has come so far; whether the last line is among it."""
    while True:
        try:
            found.append(door.recv(65536))
        except BlockingIOError:
            return any(last in line for line in found)


@pytest.mark.parametrize("where", ["syslog", "journal"])
def test_lines_go_to_the_system(where: str) -> None:
    instance = Instance(options=(f"log-to {where}",), workers=1)
    with instance.config.open("a") as config:
        config.write(f"log-socket {instance.path}/socket\n")
    taken: list[bytes] = []
    with listening(instance.path / "socket") as door, instance:
        # What the socket has no room for waits in the daemons until it is read.
        wait_for(lambda: take(door, taken, b"event=ready daemon=imapd"), 20, str)
        instance.imap("joe").close()
        wait_for(lambda: take(door, taken, b"event=login "), 20, str)
        (login,) = [line for line in taken if b"event=login " in line]
        if where == "syslog":
            assert login.startswith(b"<22>") and b" imapd[" in login and b": level=info event=login " in login
        else:
            assert b"\nMSTORE_USER\n\x03\0\0\0\0\0\0\0joe\n" in login
        for daemon in ("storemgr", "authproxyd", "imapd", "pop3d", "lmtpd"):
            wanted = f"event=started daemon={daemon}".encode()
            if not any(wanted in line for line in taken):
                wait_for(partial(take, door, taken, wanted), 20, wanted.decode)
        assert not (instance.ms_path / "log" / "imapd.log").read_bytes()


def test_json_on_standard_error() -> None:
    with Instance(options=("log-to stderr", "log-format json"), workers=1) as instance:
        instance.pop3("joe").close()
        lines = [json.loads(line) for line in instance.log.read_text().splitlines()]
        assert {line["daemon"] for line in lines} == {"storemgr", "authproxyd", "imapd", "pop3d", "lmtpd"}
        (login,) = [line for line in lines if line["event"] == "login"]
        assert login["user"] == "joe" and login["worker"] == 1 and len(login["session"]) == 8
        assert not (instance.ms_path / "log" / "imapd.log").exists()


def test_files_that_were_renamed_are_left_by_all_processes() -> None:
    with Instance() as instance:
        directory = instance.ms_path / "log"
        session = instance.imap("joe")
        old = directory / "imapd.log"
        assert loglines.read(old, "login")
        for path in list(directory.glob("*.log")):
            path.rename(path.with_suffix(".log.1"))
        os.kill(instance.daemon_pid("storemgr"), signal.SIGHUP)
        names = ("authproxyd", "imapd", "pop3d", "lmtpd")
        files = [directory / f"{name}.log" for name in names]
        wait_for(lambda: all(f.exists() and loglines.read(f, "log-reopened") for f in files), 20, str)
        logins: list[dict[str, str]] = []
        while len({line["pid"] for line in logins}) < 2:  # The kernel chooses who serves a connection.
            instance.imap("joe").close()
            assert len(logins) < 100, "only one worker writes"
            before, logins = len(logins), loglines.read(old, "login")
            assert len(logins) == before + 1
        session.command(b'ID ("name" "old")')
        assert loglines.read(old, "client-id"), "of a session that was there before"
        assert len(loglines.read(directory / "imapd.log.1", "login", "client-id")) == 1
        session.close()
        for path in directory.glob("*.log"):
            renamed = path.with_suffix(".log.1").stat()
            assert (path.stat().st_mode, path.stat().st_uid) == (renamed.st_mode, renamed.st_uid)


def test_nothing_a_client_sends_makes_a_line_or_a_field() -> None:
    """RFC 3501 §4.3: a literal may hold line ends, so a name may."""
    name = b'joe" peer=192.0.2.99\r\ntime=2026-01-01T00:00:00.000Z level=warning event=login-failed peer=::'
    with Instance() as instance:
        imap, pop3 = raw(instance.imap_address), raw(instance.pop3_address)
        imap.sendall(b"a LOGIN {%d+}\r\n%b %b\r\n" % (len(name), name, PASSWORD.encode()))
        pop3.sendall(b'USER joe\\" event=login user=ann\r\nPASS x y\r\n')
        directory = instance.ms_path / "log"
        wait_for(lambda: len(list(loglines.stories(directory, "login-failed"))) == 2, 20, instance.log_text)
        lines = list(loglines.stories(directory))
        assert {line.get("peer") for line in lines} <= {None, "127.0.0.1"}
        assert not [line for line in lines if line["event"] == "login"]
        names = {line["name"] for line in lines if line["event"] == "login-failed"}
        assert name[:200].decode() in names
        assert PASSWORD not in instance.log_text()
        for client in (imap, pop3):
            client.close()


SYSLOG = """\
Nov 29 10:25:16 mta imapd[21]: level=warning event=login-failed pid=21 name="x peer=192.0.2.9" peer=192.0.2.7
2026-11-29T10:25:16.251123+00:00 mta pop3d[21]: level=warning event=login-failed name=x peer=2001:db8::1
Nov 29 10:25:17 mta imapd[21]: level=info event=client-id client="level=warning event=login-failed peer=::9"
Nov 29 10:25:18 mta other[21]: imapd[1]: level=warning event=login-failed daemon=imapd peer=192.0.2.66
"""


@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_fail2ban_reads_the_mail_log_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text(SYSLOG)
    command = ["fail2ban-regex", "-o", "ip", str(tmp_path / "mail.log"), str(FILTER)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["192.0.2.7", "2001:db8::1"], done.stderr
