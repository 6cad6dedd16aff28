"""Traces of IMAP sessions: from login on, without what logs in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mstore.imap.session import Session
from mstore.imap.tap import ImapTap
from mstore.net.stream import Stream
from tests.kit.dialogue import site
from tests.kit.mailhost import MailHost
from tests.kit.scripted import CUTS, ScriptedTransport, whole
from tests.kit.transport import Client, Served
from tests.kit.watching import Watching

SECRET = b"sesame42"
CODED = base64.b64encode(b"\0joe\0" + SECRET)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with site(tmp_path, {}) as host:
        yield host


def trace(host: MailHost, data: bytes, cut: Callable[[bytes], list[bytes]] = whole) -> list[str]:
    """What a trace shows of a session in which the client has said this."""
    watching = Watching(ImapTap)
    Session(Stream(ScriptedTransport(cut(data))), host.service(follower=watching)).run()
    return watching.lines()


def behind_login(host: MailHost, data: bytes, cut: Callable[[bytes], list[bytes]] = whole) -> list[str]:
    """The same of what is said behind a login, without that."""
    note, answer, *rest = trace(host, b"a LOGIN joe secret\r\n" + data, cut)
    assert note == "-- logged in"
    assert answer.startswith("S: a OK [CAPABILITY ") and answer.endswith("] Logged in")
    return rest


@pytest.mark.parametrize("cut", CUTS)
def test_commands_literals_and_answers(host: MailHost, cut: Callable[[bytes], list[bytes]]) -> None:
    message = b"Subject: x\r\n\r\nHello\r\n"
    script = b"b APPEND INBOX {%d+}\r\n%s\r\nc EXAMINE INBOX\r\nd FETCH 1 (BODY[] UID)\r\ne IDLE\r\nDONE\r\n"
    lines = behind_login(host, script % (len(message), message), cut)
    assert lines[:3] == ["C: b APPEND INBOX {21+}", "C: (21) 'Subject: x'", "C: "]
    assert lines[3].startswith("S: b OK [APPENDUID")
    at = lines.index("C: d FETCH 1 (BODY[] UID)")
    assert lines[at + 1 :] == [
        "S: * 1 FETCH (UID 1 BODY[] {21}",
        "S: (21) 'Subject: x'",
        "S: )",
        "S: d OK FETCH completed",
        "C: e IDLE",
        "S: + idling",
        "C: DONE",
        "S: e OK IDLE completed",
    ]


def test_commands_that_came_together_are_all_shown(host: MailHost) -> None:
    append = b"b APPEND INBOX {9+}\r\na: b\r\n\r\nc\r\n" * 3 + b"c SELECT INBOX\r\n"
    stores = b"".join(b"s%d STORE %d +FLAGS (\\Seen)\r\n" % (number, number) for number in (1, 2, 3))
    lines = behind_login(host, append + stores)
    for number in (1, 2, 3):
        assert f"C: s{number} STORE {number} +FLAGS (\\Seen)" in lines
        assert f"S: s{number} OK STORE completed" in lines


SECRETS = (
    b"b LOGIN joe %b\r\n" % SECRET,
    b"b login {3+}\r\njoe {8+}\r\n%b\r\n" % SECRET,
    b"b LOGIN {3}\r\n",
    b"LOGIN joe %b\r\n" % SECRET,
    b"b  LOGIN joe %b\r\n" % SECRET,
    b"b\tLOGIN joe %b\r\n" % SECRET,
    b"b LOGIN\tjoe %b\r\n" % SECRET,
    b"b LOGON joe %b\r\n" % SECRET,
    b"b AUTHENTICATE PLAIN %b\r\n" % CODED,
    b"b AUTHENTICATE PLAIN\r\n%b\r\n" % CODED,
    b"PASS %b\r\n" % SECRET,
    b"%b\r\n" % SECRET,
    b"b LOGIN joe %b%b\r\n" % (SECRET, b"x" * 70000),
    b"b LOGIN joe {70000+}\r\n%b\r\n" % (SECRET * 8750),
)


@pytest.mark.parametrize("said", SECRETS)
@pytest.mark.parametrize("cut", CUTS[:3])
def test_what_logs_in_is_masked(host: MailHost, said: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    lines = behind_login(host, said + b"z NOOP\r\n", cut if len(said) < 1000 else whole)
    text = "\n".join(lines).casefold()
    assert SECRET.decode() not in text and CODED.decode().casefold() not in text
    assert lines[-2:] == ["C: z NOOP", "S: z OK NOOP completed"]
    assert "***" in text or "too long" in text


def test_a_login_is_not_seen_and_neither_is_what_others_do_behind_unauthenticate(host: MailHost) -> None:
    host.add("ann")
    login = b"a AUTHENTICATE PLAIN %b\r\n" % base64.b64encode(b"\0joe\0wrong")
    login += b"b AUTHENTICATE PLAIN\r\n%b\r\n" % base64.b64encode(b"\0joe\0secret")
    rest = b"c NOOP\r\nd UNAUTHENTICATE\r\ne LOGIN ann secret\r\nf NOOP\r\ng UNAUTHENTICATE\r\n"
    lines = trace(host, login + rest + b"h LOGIN joe secret\r\ni LOGOUT\r\n")
    assert [line for line in lines if not line.startswith(("S: b OK", "S: h OK"))] == [
        "-- logged in",
        "C: c NOOP",
        "S: c OK NOOP completed",
        "C: d UNAUTHENTICATE",
        "-- logged out",
        "-- logged in",
        "C: i LOGOUT",
        "S: * BYE Logging out",
        "S: i OK LOGOUT completed",
    ]


def test_compressed_sessions_are_shown_plain(host: MailHost) -> None:
    watching = Watching(ImapTap)
    client = Client(Served(lambda stream: Session(stream, host.service(follower=watching))))
    client.receive()
    client.command(b"a LOGIN joe secret")
    client.command(b"b COMPRESS DEFLATE")
    client.deflate()
    client.command(b"c NOOP")
    client.close()
    client.served.join()
    assert watching.lines()[-2:] == ["C: c NOOP", "S: c OK NOOP completed"]


def test_a_long_answer_is_whole_where_all_is_wanted(host: MailHost) -> None:
    append = b"b APPEND INBOX {9+}\r\na: b\r\n\r\nc\r\nc SELECT INBOX\r\n"
    fetch = b"d FETCH 1 (%b)\r\n" % b" ".join([b"BODY.PEEK[HEADER.FIELDS (%b)]" % (b"Q" * 500)] * 80)
    watching = Watching(ImapTap, whole=True)
    transport = ScriptedTransport([b"a LOGIN joe secret\r\n" + append + fetch])
    Session(Stream(transport), host.service(follower=watching)).run()
    lines = watching.lines()
    answers = transport.said.partition(b"\r\n")[2]
    assert not any("***" in line for line in lines)
    assert sum(line.count("Q") for line in lines if line.startswith("C:")) == 500 * 80
    assert sum(line.count("Q") for line in lines if line.startswith("S:")) == answers.count(b"Q") > 500


def test_stores_that_are_done_together_are_shown_one_by_one(host: MailHost) -> None:
    message = b"Subject: x\r\n\r\n"
    script = b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message) * 2 + b"c SELECT INBOX\r\n"
    lines = behind_login(host, script + b"d UID STORE 1 FLAGS (\\Seen)\r\ne UID STORE 2 FLAGS (\\Seen)\r\n")
    at = lines.index(r"C: d UID STORE 1 FLAGS (\Seen)")
    assert lines[at + 1 :] == [
        r"C: e UID STORE 2 FLAGS (\Seen)",
        r"S: * 1 FETCH (UID 1 FLAGS (\Seen \Recent))",
        "S: d OK UID STORE completed",
        r"S: * 2 FETCH (UID 2 FLAGS (\Seen \Recent))",
        "S: e OK UID STORE completed",
    ]
