"""msadm who, kick, trace, talk and top with the daemons."""

from __future__ import annotations

import imaplib
import json
import os
import poplib
import pty
import pwd
import re
import select
import shutil
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bench.clients import Line
from tests.kit.instance import PASSWORD, Instance, wait_for

MESSAGE = b"From: a@example.org\r\nSubject: hello\r\n\r\n" + b"A line of text.\r\n" * 100


def test_who_shows_sessions_and_kick_ends_them_all(store: Instance) -> None:
    imap = imaplib.IMAP4(*store.imap_address)
    pop = poplib.POP3(*store.pop3_address)
    imap.login("joe", PASSWORD)
    pop.user("joe")
    pop.pass_(PASSWORD)
    control = store.ms_path / "ipc" / "control"
    assert stat.S_IMODE(control.stat().st_mode) & 0o777 == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in control.iterdir())

    sessions = json.loads(store.msadm("who", "joe", "--json").stdout)
    found = sorted((each["user"], each["service"]) for each in sessions)
    assert found == [("joe", "imapd"), ("joe", "pop3d")]
    assert store.msadm("who").stdout.count("joe") == 2

    assert "told to end: 0" in store.msadm("kick", "joe", "--session", "none", "--yes").stdout
    assert "told to end: 2" in store.msadm("kick", "joe", "--yes").stdout
    with pytest.raises(imaplib.IMAP4.abort):
        imap.noop()
    with pytest.raises((poplib.error_proto, OSError)):
        pop.noop()
        pop.noop()
    wait_for(lambda: json.loads(store.msadm("who", "--json").stdout) == [], 30, lambda: "sessions are left")
    assert "told to end: 0" in store.msadm("kick", "joe", "--yes").stdout
    pop.close()


def test_who_shows_the_mailbox_and_the_silence_and_chooses(store: Instance) -> None:
    imap = store.imap("joe")
    imap.command(b"CREATE work")
    imap.select("work")
    pop = store.pop3("joe")

    def who(*words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(store.msadm("who", *words, "--json").stdout)
        return found

    wait_for(lambda: all(each["silent_s"] > 1 for each in who()), 20, lambda: str(who()))
    assert [each["mailbox"] for each in who("--service", "imapd")] == ["work"]
    assert [each["mailbox"] for each in who("--service", "pop3d")] == [None]
    imap.command(b"NOOP")
    (session,) = who("--mailbox", "work")
    assert session["silent_s"] < 30
    assert len(who("--address", "127.0.0.1")) == len(who("--address", "127.0.0.0/8")) == 2
    assert who("--address", "192.0.2.1") == []
    table = store.msadm("who", "joe").stdout.splitlines()
    assert "MAILBOX" in table[0] and "IDLE" in table[0]
    assert " work " in "".join(table)
    refused = store.msadm("who", "--address", "nowhere", check=False)
    assert refused.returncode == 1 and "nowhere is neither an address nor a network" in refused.stderr
    imap.close()
    pop.close()


def test_kick_ends_idle_with_bye(store: Instance) -> None:
    imap = imaplib.IMAP4(*store.imap_address)
    imap.login("joe", PASSWORD)
    imap.select()
    imap.send(b"i IDLE\r\n")
    assert imap.readline().startswith(b"+")
    session = json.loads(store.msadm("who", "joe", "--json").stdout)[0]["session"]
    assert "told to end: 1" in store.msadm("kick", "joe", "--session", session, "--yes").stdout
    assert imap.readline() == b"* BYE An administrator has ended this session\r\n"
    assert imap.readline() == b""
    imap.shutdown()


def test_kick_tells_pop3_why_and_removes_no_message(store: Instance) -> None:
    store.deliver("joe", MESSAGE)
    pop = store.pop3("joe")
    assert pop.command(b"DELE 1").startswith(b"+OK")
    assert "told to end: 1" in store.msadm("kick", "joe", "--yes").stdout
    assert pop.line() == b"-ERR an administrator has ended this session\r\n"
    pop.close()
    wait_for(lambda: json.loads(store.msadm("who", "--json").stdout) == [], 30, lambda: "sessions are left")
    pop = store.pop3("joe")
    assert pop.command(b"STAT").startswith(b"+OK 1 ")
    pop.close()


# -- trace -------------------------------------------------------------------------------------------------


class Trace:
    """A running msadm trace."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process = process
        self._path = path

    def text(self) -> str:
        return self._path.read_text()

    def wait(self, *texts: str) -> str:
        """What has been shown, when all of this is in it."""
        wait_for(lambda: all(text in self.text() for text in texts), 60, lambda: f"{texts}:\n{self.text()}")
        return self.text()


@contextmanager
def tracing(store: Instance, *words: str) -> Iterator[Trace]:
    path = store.path / "trace"
    with path.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config), "trace", *words],
            stdout=file, stderr=subprocess.PIPE, text=True, env=store.environment(), cwd=store.path,
        )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "tracing joe in 6 workers\n"
        yield Trace(process, path)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def test_trace_shows_old_and_new_sessions_without_secrets(make_store: Callable[..., Instance]) -> None:
    with make_store(["joe", "ann"]) as store:
        old, other = store.imap("joe"), store.imap("ann")
        with tracing(store, "joe") as trace:
            old.command(b"NOOP")
            shown = trace.wait("C: a2 NOOP", "S: a2 OK NOOP completed")
            assert "-- connected since 20" in shown
            new = store.imap("joe")
            new.append(MESSAGE)
            new.select()
            new.command(b"FETCH 1 BODY[]")
            new.send(b"x LOGIN joe {%d+}\r\n%s\r\n" % (len(PASSWORD), PASSWORD.encode()))
            assert b"BAD" in new.line()
            new.send(b"y AUTHENTICATE PLAIN AGpvZQBzZWNyZXQ=\r\nAGpvZQBzZWNyZXQ=\r\n")
            assert b"BAD" in new.line() and b"BAD" in new.line()
            other.command(b"CREATE elsewhere")
            new.logout()
            shown = trace.wait("-- connection closed")
            assert f"C: a2 APPEND INBOX {{{len(MESSAGE)}+}}" in shown
            assert f'({len(MESSAGE)} bytes) "From: a@example.org\\r\\nSubject: hello' in shown
            assert shown.count("A line of text.") < 50
            assert f"S: * 1 FETCH (FLAGS (\\Seen \\Recent) BODY[] {{{len(MESSAGE)}}}" in shown
            assert shown.count("S: )") == 1
            assert "C: x LOGIN ***" in shown and "S: x BAD ***" in shown
            assert "C: y AUTHENTICATE ***" in shown and "C: ***" in shown
            assert "-- logged in, from 127.0.0.1" in shown
            assert PASSWORD not in shown.replace("--- ", "") and "AGpv" not in shown
            assert "elsewhere" not in shown
        old.close()
        other.close()


def test_trace_of_pop3_and_of_a_delivery(store: Instance) -> None:
    with tracing(store, "joe", "--bytes", "10") as trace:
        store.deliver("joe", MESSAGE)
        shown = trace.wait("S: 250 2.1.5 <joe> delivered", "-- transaction ended")
        assert "-- a message from <" in shown and "S: 250 2.1.5 <joe> recipient OK" in shown
        assert f'C: ({len(MESSAGE) + 3} bytes) "From: a@ex"' in shown
        pop = store.pop3("joe")
        pop.command(b"RETR 1")
        assert pop.until(b".\r\n").endswith(b"\r\n.\r\n")
        pop.send(b"PASS again\r\n")
        assert pop.line().startswith(b"-ERR")
        pop.command(b"STAT")
        shown = trace.wait("C: STAT")
        assert "C: RETR 1" in shown and 'bytes) "Return-Pat"' in shown
        assert "C: PASS ***" in shown and "again" not in shown
        pop.close()


def test_trace_goes_on_in_workers_that_begin_later_and_ends_by_itself(store: Instance) -> None:
    with tracing(store, "joe", "--json", "--whole") as trace:
        before = set(store.worker_pids("imapd"))
        assert store.rc("reload").stdout == "reloaded\n"
        # Not before: one that leaves might still take the next client, and stay for it.
        wait_for(lambda: not before & set(store.worker_pids("imapd")), 30, lambda: "old workers are left")
        client = store.imap("joe")
        client.command(b"COMPRESS DEFLATE")
        again = store.imap("joe")
        # New workers are looked for now and then.
        wait_for(lambda: b"OK" in again.command(b"NOOP") and "NOOP completed" in trace.text(), 30, trace.text)
        again.append(MESSAGE)
        trace.wait("APPEND completed")
        entries = [json.loads(line) for line in trace.text().rpartition("\n")[0].splitlines()]
        assert {"A line of text.\r\n" * 100} <= {entry["text"][-1700:] for entry in entries}
        assert {entry["direction"] for entry in entries} == {"client", "server", "note"}
        assert {entry["service"] for entry in entries} == {"imapd"}
        again.close()
        client.close()
    store.msadm("trace", "joe", "--for", "0.1")


def test_a_slow_reader_of_a_trace_loses_lines_and_delays_nobody(store: Instance) -> None:
    client = store.imap("joe")
    client.append(b"Subject: big\r\n\r\n" + b"x" * 70 * 40000)
    client.select()
    process = subprocess.Popen(
        [sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config), "trace", "joe", "--whole"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=store.environment(), cwd=store.path,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert process.stderr.readline().startswith("tracing")
    for _ in range(4):
        assert len(client.command(b"UID FETCH 1 BODY.PEEK[]")) > 70 * 40000
    client.command(b"NOOP")
    found = 0
    for line in process.stdout:
        found += "lines lost" in line
        if "NOOP completed" in line or found:
            break
    assert found == 1
    process.terminate()
    process.communicate()
    client.close()


def test_trace_of_a_session_under_tls(make_store: Callable[..., Instance]) -> None:
    kit = Path(__file__).parents[1] / "kit" / "tls"
    store = make_store(["joe"])
    for name in ("cert.pem", "key.pem"):
        shutil.copy(kit / name, store.path / name)
    with store.config.open("a") as file:
        file.write(f"tls-certificate {store.path}/cert.pem\ntls-key {store.path}/key.pem\n")
    with store, tracing(store, "joe") as trace:
        client = imaplib.IMAP4("localhost", store.imap_address[1])
        client.starttls(ssl.create_default_context(cafile=str(kit / "cert.pem")))
        client.login("joe", PASSWORD)
        client.noop()
        client.logout()
        shown = trace.wait("-- connection closed")
        assert "-- logged in, from 127.0.0.1 under TLS" in shown
        assert " NOOP\n" in shown and "OK NOOP completed" in shown


# -- talk --------------------------------------------------------------------------------------------------


def test_talk_is_a_session_of_the_user_without_his_password(store: Instance) -> None:
    store.deliver("joe", MESSAGE)
    text = "a SELECT INBOX\r\nb FETCH 1 RFC822.SIZE\nc LOGOUT\r\n"
    said = store.msadm("talk", "imap", "joe", text=text).stdout
    lines = said.splitlines()
    assert lines[0].startswith("* PREAUTH [CAPABILITY ") and lines[0].endswith("logged in as joe")
    assert "* 1 EXISTS" in lines and lines[-1].startswith("c OK")
    assert any(line.startswith("* 1 FETCH (RFC822.SIZE") for line in lines)
    assert "\nb OK" in store.msadm("talk", "imap", "joe", text="b NOOP\n").stdout
    said = store.msadm("talk", "pop3", "joe", text="STAT\nDELE 1\nQUIT\n").stdout
    assert said.startswith("+OK maildrop has 1 message") and said.count("+OK") == 4
    assert store.msadm("talk", "pop3", "joe", text="STAT\n").stdout.count("+OK 0 0") == 1
    said = store.msadm("talk", "lmtp", text="LHLO here\r\nQUIT\r\n").stdout
    assert said.startswith("220 ") and "\n221 " in said
    by = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    assert re.search(rf"event=talk .*user=joe by={by}", store.log_text())
    owners = []
    for path in store.mail_path.rglob("*"):
        with suppress(FileNotFoundError):  # The store may be putting in order what was deleted.
            owners.append(path.lstat().st_uid)
    assert len(owners) > 10 and len(set(owners)) == 1


def test_talk_takes_more_than_fits_and_refuses_whom_there_is_not(store: Instance) -> None:
    message = "Subject: big\r\n\r\n" + "x" * 70 * 10000
    append = f"a APPEND INBOX {{{len(message)}+}}\r\n{message}\r\nb SELECT INBOX\r\n"
    fetches = "".join(f"f{number} FETCH 1 BODY.PEEK[]\r\n" for number in range(5))
    said = store.msadm("talk", "imap", "joe", text=append + fetches + "z LOGOUT\r\n").stdout
    assert said.count("x" * 70 * 10000) == 5 and "z OK" in said
    refused = store.msadm("talk", "imap", "nobody", check=False)
    assert refused.returncode == 1 and "there is no user nobody" in refused.stderr
    assert store.msadm("talk", "imap", check=False).returncode == 2
    assert store.msadm("talk", "lmtp", "joe", check=False).returncode == 2


class Terminal:
    """A verb of msadm that runs on a terminal."""

    def __init__(self, store: Instance, *words: str) -> None:
        self.side, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config), *words],
            stdin=other, stdout=other, stderr=other, cwd=store.path, start_new_session=True,
            env={**store.environment(), "TERM": "xterm"},
        )  # fmt: skip
        os.close(other)
        self.shown = b""

    def wait(self, text: bytes) -> bytes:
        """What has been shown so far, when this is in it."""
        while text not in self.shown:
            waiting = select.poll()  # select(2) takes no descriptor above 1,023
            waiting.register(self.side, select.POLLIN)
            ready = waiting.poll(30_000)
            assert ready, self.shown
            self.shown += os.read(self.side, 65536)
        return self.shown

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(20)
        os.close(self.side)
        return status


def test_talk_at_a_terminal(store: Instance) -> None:
    terminal = Terminal(store, "talk", "imap", "joe")
    terminal.wait(b"* PREAUTH ")
    (session,) = json.loads(store.msadm("who", "joe", "--json").stdout)
    assert session["peer"] == "local" and session["service"] == "imapd"
    os.write(terminal.side, b"a SELECT INBOX\n")
    terminal.wait(b"a OK [READ-WRITE]")
    os.write(terminal.side, b"b IDLE\n")
    terminal.wait(b"+ idling")
    store.deliver("joe", MESSAGE)
    terminal.wait(b"* 1 EXISTS")
    store.msadm("kick", "joe", "--yes")
    terminal.wait(b"* BYE An administrator has ended this session")
    assert terminal.process.wait(20) == 0
    terminal = Terminal(store, "talk", "lmtp")
    os.write(terminal.side, b"LHLO here\nMAIL FROM:<>\nRCPT TO:<joe>\nDATA\n")
    terminal.wait(b"354 ")
    os.write(terminal.side, b"Subject: typed\n\n.\n")
    terminal.wait(b"<joe> delivered")
    assert terminal.end() == 0


def test_talk_needs_the_daemon(make_store: Callable[..., Instance]) -> None:
    refused = make_store().msadm("talk", "imap", "joe", check=False)
    assert refused.returncode == 1 and "no worker of imapd" in refused.stderr


# -- top ---------------------------------------------------------------------------------------------------


def test_top_shows_rates_and_who_is_busy(make_store: Callable[..., Instance]) -> None:
    with make_store(["joe", "ann"]) as store:
        quiet, busy = store.imap("ann"), store.imap("joe")
        busy.append(MESSAGE)
        busy.select()
        process = subprocess.Popen(
            [sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config), "top", "--interval", "3",
             "--once", "--json"],
            stdout=subprocess.PIPE, text=True, env=store.environment(), cwd=store.path,
        )  # fmt: skip
        count = 0
        while process.poll() is None:
            busy.command(b"UID FETCH 1 BODY.PEEK[]")
            passing = Line(store.imap_address)
            passing.send(b"a LOGOUT\r\n")
            passing.until(b"a OK")  # Else those that have gone, and are not noticed yet, would pile up.
            passing.close()
            count += 1
        found = json.loads(process.communicate()[0])
        imapd = found["daemons"]["imapd"]
        assert 2 <= imapd["sessions"] <= 6
        assert 0 < imapd["commands"] * found["interval"] <= 2 * count
        assert imapd["bytes_out"] > 1000
        assert found["daemons"]["lmtpd"]["deliveries"] == 0
        assert found["users"][0]["user"] == "joe" and found["users"][0]["bytes_out"] > 1000
        assert found["users"][1] == {"user": "ann", "sessions": 1, "bytes_in": 0, "bytes_out": 0}
        assert found["sessions"][0]["mailbox"] == "INBOX"
        table = store.msadm("top", "--interval", "0.2", "--once").stdout
        assert "COMMANDS" in table and "pop3d" in table and "joe" in table and "\x1b" not in table
        quiet.close()
        busy.close()


def test_top_is_refreshed_on_a_terminal(store: Instance) -> None:
    terminal = Terminal(store, "top", "--interval", "0.2")
    shown = terminal.wait(b"lmtpd")
    while shown.count(b"lmtpd") < 3:
        terminal.shown += os.read(terminal.side, 65536)
        shown = terminal.shown
    assert shown.count(b"\x1b[2J") >= 2 or shown.count(b"\x1b[H") >= 2, shown
    assert terminal.end() == 0
