"""A session that gives commands faster than it may is slowed, in each protocol, and loses nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mstore.base import blocking, clock
from mstore.base.log import Log
from mstore.imap.session import Session as ImapSession
from mstore.lmtp.session import Session as LmtpSession
from mstore.net.pace import BURST_S, Pace, pace_of
from mstore.net.service import Service
from mstore.net.stream import Stream
from mstore.pop3.session import Session as Pop3Session
from tests.kit import loglines
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport

PER_SECOND = 10
COMMANDS = 30


class Time:
    """A clock that only waiting moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []
        monkeypatch.setattr(clock, "steady", lambda: self.now_s)
        monkeypatch.setattr(blocking, "sleep", self.sleep)

    def sleep(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now_s += seconds
        return True


class Asking:
    """As much of a session as a pace looks at."""

    id, user = "4711", "joe"

    def __init__(self) -> None:
        self.stream = Stream(ScriptedTransport([]), "192.0.2.1")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    names = ("imapd", "pop3d", "lmtpd")
    made = MailHost(tmp_path, **{f"{name}_commands_per_second": PER_SECOND for name in names})
    made.add("joe")
    yield made
    made.close()


IMAP = b"a LOGIN joe secret\r\n", b"b NOOP\r\n", b"b OK"
POP3 = b"USER joe\r\nPASS secret\r\n", b"NOOP\r\n", b"+OK\r\n"
LMTP = b"LHLO client.example\r\n", b"NOOP\r\n", b"250 2.0.0"


@pytest.mark.parametrize(
    ("make", "script"),
    [(ImapSession, IMAP), (Pop3Session, POP3), (LmtpSession, LMTP)],
    ids=["imap", "pop3", "lmtp"],
)
def test_a_session_above_the_limit_is_slowed_and_told_of_all(
    host: MailHost,
    time: Time,
    tmp_path: Path,
    make: Callable[[Stream, Service], Any],
    script: tuple[bytes, bytes, bytes],
) -> None:
    before, command, answer = script
    given = before.count(b"\n") + COMMANDS
    transport = ScriptedTransport([before + command * COMMANDS])
    fd = os.open(tmp_path / "lines", os.O_CREAT | os.O_WRONLY)
    try:
        make(Stream(transport, "192.0.2.1"), host.service(log=Log(fd))).run()
    finally:
        os.close(fd)
    assert transport.said.count(answer) >= COMMANDS
    assert time.now_s - 1000.0 == pytest.approx((given - PER_SECOND) / PER_SECOND)
    assert max(time.waits) == pytest.approx(1 / PER_SECOND)
    assert host.counters.values["commands_slowed"] == len(time.waits) == given - PER_SECOND
    # What the client waits for is sent before each wait.
    assert len([piece for piece in transport.sent if answer in piece]) >= len(time.waits)
    lines = [line for line in map(loglines.parse, (tmp_path / "lines").read_text().splitlines())
             if line["event"] == "session-slowed"]  # fmt: skip
    assert len(lines) == 1 and lines[0]["peer"] == "192.0.2.1"


def test_lines_that_are_too_long_count_as_well(host: MailHost, time: Time) -> None:
    transport = ScriptedTransport([b"a NOOP".ljust(70_000) + b"\r\n"] * 9 + [b"b NOOP\r\n"] * 3)
    ImapSession(Stream(transport), host.service()).run()
    assert transport.said.count(b"a BAD line too long") == 9 and transport.said.count(b"b OK") == 3
    assert len(time.waits) == 2


def test_changes_of_flags_are_not_taken_ahead_of_their_time(host: MailHost, time: Time) -> None:
    lines = [b"a LOGIN joe secret\r\n"]
    lines += [b"m APPEND INBOX {6+}\r\na: b\r\n\r\n"] * 20
    lines += [b"s SELECT INBOX\r\n"]
    lines += [b"f UID STORE %d +FLAGS.SILENT (\\Seen)\r\n" % uid for uid in range(1, 21)]
    transport = ScriptedTransport([b"".join(lines)])
    ImapSession(Stream(transport), host.service()).run()
    assert transport.said.count(b"f OK") == 20
    assert len(time.waits) == len(lines) - PER_SECOND


def test_without_a_limit_nobody_waits(host: MailHost, time: Time) -> None:
    assert pace_of(0) is None
    for make, (before, command, _) in ((ImapSession, IMAP), (Pop3Session, POP3), (LmtpSession, LMTP)):
        names = ("imapd", "pop3d", "lmtpd")
        off = {f"{name}_commands_per_second": 0 for name in names}
        service = host.service(settings=replace(host.settings, **off))
        make(Stream(ScriptedTransport([before + command * 1000])), service).run()
    assert not time.waits


def test_who_was_quiet_has_a_second_in_hand_and_no_more(host: MailHost, time: Time) -> None:
    pace, session, service = Pace(PER_SECOND), Asking(), host.service()
    time.now_s += 3600
    for _ in range(PER_SECOND):
        pace.keep(service, session)
    assert not time.waits
    pace.keep(service, session)
    assert time.waits == [pytest.approx(1 / PER_SECOND)]
    time.now_s += BURST_S
    for _ in range(PER_SECOND):
        pace.keep(service, session)
    assert len(time.waits) == 1


def test_the_shortest_waits_are_put_together(host: MailHost, time: Time) -> None:
    pace, session, service = Pace(1000), Asking(), host.service()
    for _ in range(3000):
        pace.keep(service, session)
    assert sum(time.waits) == pytest.approx(2.0, abs=0.02)
    assert len(time.waits) <= 200
