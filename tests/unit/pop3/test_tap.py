"""Traces of POP3 sessions: contents as such, no logins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mstore.net.stream import Stream
from mstore.pop3.session import Session
from mstore.pop3.tap import Pop3Tap
from tests.kit.mailhost import MailHost
from tests.kit.scripted import CUTS, ScriptedTransport
from tests.kit.watching import Watching
from tests.unit.pop3.test_session import FIRST, LOGIN, SECOND, THIRD, fill


def trace(host: MailHost, data: bytes, cut: Callable[[bytes], list[bytes]], whole: bool = False) -> list[str]:
    """What a trace shows behind a login."""
    watching = Watching(Pop3Tap, whole=whole)
    Session(Stream(ScriptedTransport(cut(LOGIN + data))), host.service(follower=watching)).run()
    note, answer, *rest = watching.lines()
    assert note == "-- logged in" and answer.startswith("S: +OK maildrop has ")
    return rest


@pytest.mark.parametrize("cut", CUTS)
def test_messages_are_contents_and_lists_are_lines(
    host: MailHost, cut: Callable[[bytes], list[bytes]]
) -> None:
    fill(host, FIRST, SECOND, THIRD)
    lines = trace(host, b"LIST\r\nRETR 1\r\nRETR 9\r\nTOP 2 0\r\nRETR 3\r\nSTAT\r\n", cut)
    sizes = [len(FIRST), len(SECOND), len(THIRD)]
    dots = FIRST.count(b"\r\n.") + 3
    assert lines[2:6] == [*(f"S: {number} {size}" for number, size in enumerate(sizes, 1)), "S: ."]
    at = lines.index("C: RETR 1")
    assert lines[at + 2 : at + 4] == [f"S: ({len(FIRST) + dots}) 'From: a@ex'", "C: RETR 9"]
    assert lines[at + 4].startswith("S: -ERR ")
    assert f"S: ({len(THIRD) + 3}) 'Subject: t'" in lines
    assert lines[-2] == "C: STAT" and lines[-1].startswith("S: +OK 3 ")


def test_a_message_is_shown_whole_where_that_is_wanted(host: MailHost) -> None:
    fill(host, THIRD)
    lines = trace(host, b"RETR 1\r\nNOOP\r\n", CUTS[0], whole=True)
    assert sum(line.count("line of the third") for line in lines) >= 39_900
    assert lines[-2:] == ["C: NOOP", "S: +OK"]


@pytest.mark.parametrize(
    "said",
    (b"PASS sesame42\r\n", b"USER sesame42\r\n", b"APOP joe sesame42\r\n", b"AUTH PLAIN sesame42\r\n",
     b"AUTH PLAIN\r\nsesame42\r\n", b"PAS sesame42\r\n", b"sesame42\r\n",
     b"PASS " + b"sesame42" * 100 + b"\r\n"),
)  # fmt: skip
def test_what_logs_in_is_masked(host: MailHost, said: bytes) -> None:
    lines = trace(host, said + b"STAT\r\n", CUTS[0])
    assert "sesame42" not in "".join(lines)
    assert lines[-2:] == ["C: STAT", "S: +OK 0 0"]
