"""Sessions as a whole: greeting, shutdown, time-outs, faults, TLS, noise."""

import os
import random
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mstore.base.log import Log
from mstore.imap import session as sessions
from mstore.imap.commands import Command
from mstore.imap.session import Session
from mstore.net.stream import Stream
from mstore.net.tls import make_context
from tests.kit.dialogue import site
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport
from tests.kit.transport import Client, Served
from tests.kit.waiting import waiting_by_threads

TLS = Path(__file__).parents[2] / "kit" / "tls"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with waiting_by_threads(), site(tmp_path, {}) as host:
        yield host


def connect(host: MailHost, **changes: Any) -> Client:
    return Client(Served(lambda stream: Session(stream, host.service(**changes))))


def logged_in(host: MailHost, **changes: Any) -> Client:
    client = connect(host, **changes)
    client.receive()
    assert client.command(b"a LOGIN joe secret")[-1].startswith(b"a OK")
    return client


def converse(host: MailHost, data: bytes, **changes: Any) -> ScriptedTransport:
    transport = ScriptedTransport([data])
    Session(Stream(transport), host.service(**changes)).run()
    return transport


def logged_lines(host: MailHost, tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "lines"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        converse(host, data, log=Log(fd))
    finally:
        os.close(fd)
    return path.read_text()


def test_nologin_turns_everybody_away_with_its_first_line(host: MailHost) -> None:
    host.settings.nologin_path.write_text("Back at [six]\nsecond line\n")
    client = connect(host)
    assert client.rest() == [b"* BYE [ALERT] Back at [six]"]
    client.served.join()


@pytest.mark.parametrize("login", [b"LOGIN joe secret", b"LOGIN joe wrong", b"AUTHENTICATE PLAIN AGpvZQB4"])
def test_nologin_turns_away_who_was_connected_already(host: MailHost, login: bytes) -> None:
    client = connect(host)
    client.receive()
    host.settings.nologin_path.write_text("Back at six\n")
    host.authority.reachable = False  # Nobody is asked, so nothing is judged or made.
    client.send(b"a " + login + b"\r\n")
    assert client.rest() == [b"* BYE [ALERT] Back at six"]
    client.served.join()


def test_nologin_lets_sessions_be_that_are_logged_in(host: MailHost) -> None:
    client = logged_in(host)
    host.settings.nologin_path.write_text("Back at six\n")
    assert client.command(b"b NOOP")[-1].startswith(b"b OK")
    assert client.command(b"c UNAUTHENTICATE")[-1].startswith(b"c OK")
    client.send(b"d LOGIN joe secret\r\n")
    assert client.rest() == [b"* BYE [ALERT] Back at six"]
    client.served.join()


def test_a_waiting_session_is_stopped_at_once(host: MailHost) -> None:
    client = logged_in(host)
    while not client.served.session.idle:
        time.sleep(0.001)
    client.served.session.stop()
    assert client.rest() == [b"* BYE [UNAVAILABLE] Server shutting down"]
    client.served.join()


def test_an_idling_session_is_stopped_at_once(host: MailHost) -> None:
    client = logged_in(host)
    client.command(b"b SELECT INBOX")
    client.send(b"c IDLE\r\n")
    assert client.receive() == b"+ idling"
    while not client.served.session.idle:
        time.sleep(0.001)
    client.served.session.stop()
    assert client.rest() == [b"* BYE [UNAVAILABLE] Server shutting down"]
    client.served.join()
    mailbox = host.account("joe").open("INBOX")
    assert mailbox._listeners == []
    mailbox.release()


def test_a_command_under_way_is_finished_before_the_stop(host: MailHost) -> None:
    client = logged_in(host)
    client.send(b"b APPEND INBOX {5}\r\n")
    assert client.receive() == b"+ OK"
    client.served.session.stop()
    client.send(b"a: b\n\r\n")
    assert client.receive().startswith(b"b OK [APPENDUID ")
    assert client.rest() == [b"* BYE [UNAVAILABLE] Server shutting down"]
    client.served.join()
    assert host.messages("joe") == [b"a: b\r\n"]


def test_a_silent_client_is_logged_out(host: MailHost) -> None:
    settings = replace(host.settings, login_timeout=0.02)
    client = connect(host, settings=settings)
    assert client.rest()[1:] == [b"* BYE Autologout; idle for too long"]
    client.served.join()


def test_the_timeout_is_longer_after_login(host: MailHost) -> None:
    transport = converse(host, b"a LOGIN joe secret\r\nb LOGOUT\r\n")
    assert transport.timeouts[-2:] == [host.settings.login_timeout, host.settings.imapd_autologout]


def test_pipelined_commands_are_answered_in_one_piece(host: MailHost) -> None:
    transport = converse(host, b"a NOOP\r\nb CAPABILITY\r\nc NOOP\r\n")
    assert len(transport.sent) == 2
    assert transport.sent[1].count(b" OK ") == 3


def test_a_fault_is_logged_on_one_line_and_the_session_goes_on(
    host: MailHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_faulty(session: Session, tag: bytes, cursor: Any) -> None:
        raise ZeroDivisionError("oops")

    table = {**sessions.COMMANDS, b"FAULT": Command(b"FAULT", run_faulty)}
    monkeypatch.setattr(sessions, "COMMANDS", table)
    transport = ScriptedTransport([b"a FAULT\r\nb NOOP\r\nc FAULT\r\nd FAULT\r\ne NOOP\r\n"])
    path = tmp_path / "lines"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    Session(Stream(transport), host.service(log=Log(fd))).run()
    os.close(fd)
    answers = b"".join(transport.sent).split(b"\r\n")[1:]
    assert answers[0] == b"a NO [SERVERBUG] Internal error"
    assert answers[1] == b"b OK NOOP completed"
    assert answers[2] == b"c NO [SERVERBUG] Internal error"
    assert not any(answer.startswith(b"e ") for answer in answers)
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert "ZeroDivisionError: oops" in lines[0] and "command=FAULT" in lines[0]


def test_passwords_are_not_logged(host: MailHost, tmp_path: Path) -> None:
    text = logged_lines(host, tmp_path, b"a LOGIN joe hunter2\r\nb LOGIN joe secret\r\nc LOGOUT\r\n")
    assert "event=login-failed" in text and "event=login " in text
    assert "hunter2" not in text and "secret" not in text


def test_authproxyd_out_of_reach_is_unavailable(host: MailHost) -> None:
    host.authority.reachable = False
    client = connect(host)
    client.receive()
    assert client.command(b"a LOGIN joe secret")[0].startswith(b"a NO [UNAVAILABLE] ")
    host.authority.reachable = True
    assert client.command(b"b LOGIN joe secret")[0].startswith(b"b OK ")


def test_failed_logins_cost_more_and_more_time(tmp_path: Path) -> None:
    with waiting_by_threads() as threads, site(tmp_path, {}) as host:
        converse(host, b"".join(b"a LOGIN joe x\r\n" for _ in range(9)))
        assert threads.slept_s == [1, 2, 4, 8, 8]
        assert host.counters.snapshot()["login_failures"] == 5


def test_a_disabled_account_cannot_log_in(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    record = replace(host.accounts.find("joe"), enabled=False)  # type: ignore[type-var]
    monkeypatch.setattr(host.accounts, "find", lambda name: record)
    assert b"a NO [AUTHENTICATIONFAILED] " in b"".join(converse(host, b"a LOGIN joe secret\r\n").sent)


def speak_tls(host: MailHost, **settings: Any) -> None:
    files = {"tls_certificate": TLS / "cert.pem", "tls_key": TLS / "key.pem"}
    host.settings = replace(host.settings, **files, **settings)
    host.tls = make_context(host.settings)


def test_starttls_changes_what_is_announced(host: MailHost) -> None:
    speak_tls(host, cleartext_login_enable=False)
    client = connect(host)
    greeting = client.receive()
    assert b" STARTTLS LOGINDISABLED X-LOGIN-COMMAND-DISABLED AUTH=SCRAM-SHA-256 AUTH=CRAM-MD5]" in greeting
    assert client.command(b"a LOGIN joe secret")[0].startswith(b"a NO [PRIVACYREQUIRED] ")
    assert client.command(b"b STARTTLS") == [b"b OK Begin TLS negotiation now"]
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    client._socket = context.wrap_socket(client._socket, server_hostname="mail.example.org")
    (capability, _) = client.command(b"c CAPABILITY")
    assert capability.endswith(
        b" AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=CRAM-MD5 AUTH=PLAIN AUTH=LOGIN"
    )
    assert b"STARTTLS" not in capability
    assert client.command(b"d STARTTLS")[0].startswith(b"d BAD ")
    assert client.command(b"e LOGIN joe secret")[0].startswith(b"e OK ")
    assert client.command(b"f LOGOUT")[-1] == b"f OK LOGOUT completed"
    assert client.rest() == []
    client.served.join()


def test_nothing_may_be_smuggled_behind_starttls(host: MailHost) -> None:
    speak_tls(host)
    answer = b"".join(converse(host, b"a STARTTLS\r\nb LOGIN joe secret\r\n").sent)
    assert b"\r\na BAD " in answer
    assert b"\r\nb " not in answer


def test_a_long_line_is_refused_and_the_session_goes_on(host: MailHost) -> None:
    long = b"b SELECT " + b"x" * 70000
    data = b"a LOGIN joe secret\r\n" + long + b"\r\n" + long + b"{3+}\r\nabc\r\nc NOOP\r\n"
    answers = b"".join(converse(host, data).sent).split(b"\r\n")[2:]
    assert answers == [b"b BAD line too long", b"b BAD line too long", b"c OK NOOP completed", b""]


def test_literals_are_short_before_login_and_lines_as_long_as_id_needs(host: MailHost) -> None:
    answers = b"".join(converse(host, b"a LOGIN joe {9000}\r\nb LOGIN joe {9000+}\r\n").sent)
    assert answers.endswith(b"\r\na BAD literal too long\r\n")
    fields = b" ".join(b'"%030d" "%01000d"' % (number, number) for number in range(30))
    assert b"\r\na OK ID " in b"".join(converse(host, b"a ID (" + fields + b")\r\n").sent)


def test_noise_ends_in_words_and_not_in_a_traceback(host: MailHost) -> None:
    chance = random.Random(7)
    for _ in range(50):
        noise = chance.randbytes(chance.randint(1, 3000))
        sent = b"".join(converse(host, b"a LOGIN joe secret\r\n" + noise).sent)
        assert sent.isascii()
        assert b"SERVERBUG" not in sent


def test_a_client_that_vanishes_leaves_nothing_open(host: MailHost) -> None:
    client = logged_in(host)
    client.command(b"b SELECT INBOX")
    client.send(b"c FETCH 1:* (FL")
    client.close()
    client.served.join()
    mailbox = host.account("joe").open("INBOX")
    assert mailbox.users == 1
    mailbox.release()


def test_a_large_message_is_streamed_in_and_its_line_ends_put_right(host: MailHost) -> None:
    client = logged_in(host)
    lines = b"".join(b"line %d\n" % number for number in range(60000))
    message = b"Subject: big\r\n\r\n" + lines
    client.send(b"b APPEND INBOX {%d+}\r\n" % len(message))
    client.send(message + b"\r\n")
    assert client.receive().startswith(b"b OK [APPENDUID ")
    assert host.messages("joe") == [b"Subject: big\r\n\r\n" + lines.replace(b"\n", b"\r\n")]
    client.close()
    client.served.join()


def test_news_for_a_client_that_does_not_read_are_bounded(host: MailHost) -> None:
    client = logged_in(host)
    client.command(b"b SELECT INBOX")
    client.served.stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client.send(b"c IDLE\r\n")
    assert client.receive() == b"+ idling"
    other = logged_in(host)
    for _ in range(30):
        other.command(b"b APPEND INBOX {5+}\r\na: b\n")
    session = client.served.session
    assert session.stream._queued_bytes < 65536
    exists = [line for line in iter(client.receive, b"* 30 EXISTS") if line.endswith(b"EXISTS")]
    assert len(exists) < 30
    client.send(b"DONE\r\n")
    while client.receive() != b"c OK IDLE completed":
        pass
    for one in (client, other):
        one.close()
        one.served.join()


def test_a_kicked_session_is_told_that_an_administrator_wants_it(host: MailHost) -> None:
    client = logged_in(host)
    client.send(b"b APPEND INBOX {5}\r\n")
    assert client.receive() == b"+ OK"
    client.served.session.kick()
    client.send(b"a: b\n\r\n")
    assert client.receive().startswith(b"b OK [APPENDUID ")
    assert client.rest() == [b"* BYE An administrator has ended this session"]
    client.served.join()


def begin_as(host: MailHost, user: str) -> Client:
    def make(stream: Stream) -> Session:
        session = Session(stream, host.service())
        session.preauthenticate(user)
        return session

    return Client(Served(make))


def test_a_session_can_begin_logged_in(host: MailHost) -> None:
    client = begin_as(host, "joe")
    assert client.receive().startswith(b"* PREAUTH [CAPABILITY IMAP4rev1 ")
    assert client.command(b"a LOGIN joe secret") == [b"a BAD LOGIN: already logged in"]
    assert client.command(b"b SELECT INBOX")[-1].startswith(b"b OK")
    client.command(b"c LOGOUT")
    client.served.join()


def test_a_session_cannot_begin_as_somebody_who_is_not_there(host: MailHost) -> None:
    client = begin_as(host, "nobody")
    assert client.rest() == [b"* BYE Authentication failed"]
    client.served.join()
