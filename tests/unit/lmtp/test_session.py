"""A conversation with lmtpd: order, syntax, limits, pipelining, and one reply for each recipient."""

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from mstore.base import clock
from mstore.base.errors import Busy, Corrupt, NotFound, OverQuota, StorageFailed, Unavailable
from mstore.lmtp import deliver
from mstore.lmtp.session import COMMAND_LIMIT_BYTES, ERRORS_LIMIT, Session
from mstore.net.stream import Stream, TimedOut
from mstore.store.append import NewMessage
from mstore.store.mailbox import Mailbox
from tests.kit.mailhost import Listener, MailHost
from tests.kit.scripted import CUTS, ScriptedTransport, converse, whole

LHLO = b"LHLO client.example\r\n"
MAIL = b"MAIL FROM:<sender@example.net>\r\n"
MESSAGE = b"From: sender@example.net\r\nSubject: hello\r\n\r\nfirst line\r\n"


def replies(said: bytes) -> list[bytes]:
    """The replies behind greeting and LHLO: code and enhanced status code only."""
    lines = said.split(b"\r\n")
    assert lines[-1] == b""
    finals = [line for line in lines[:-1] if line[3:4] == b" "]
    return [b" ".join(line.split(b" ")[: 1 if line.startswith(b"354") else 2]) for line in finals[2:]]


def ask(host: MailHost, script: bytes, cut: Callable[[bytes], list[bytes]] = whole) -> list[bytes]:
    return replies(converse(Session, host.service(), LHLO + script, cut))


def transaction(*recipients: bytes, content: bytes = MESSAGE) -> bytes:
    return MAIL + b"".join(b"RCPT TO:<%b>\r\n" % r for r in recipients) + b"DATA\r\n" + content + b".\r\n"


def test_greeting_and_extensions(host: MailHost) -> None:
    said = converse(Session, host.service(), LHLO).split(b"\r\n")
    assert said[0].startswith(b"220 mail.example.org LMTP")
    assert said[1:] == [
        b"250-mail.example.org",
        b"250-PIPELINING",
        b"250-ENHANCEDSTATUSCODES",
        b"250-8BITMIME",
        b"250-BINARYMIME",
        b"250-CHUNKING",
        b"250-SMTPUTF8",
        b"250 SIZE 104857600",
        b"",
    ]


@pytest.mark.parametrize("cut", CUTS)
def test_delivery_stores_the_message_behind_its_trace(
    host: MailHost, cut: Callable[[bytes], list[bytes]]
) -> None:
    got = ask(host, transaction(b"joe@example.org") + b"QUIT\r\n", cut)
    assert got == [b"250 2.1.0", b"250 2.1.5", b"354", b"250 2.1.5", b"221 2.0.0"]
    (stored,) = host.messages("joe")
    assert stored.endswith(MESSAGE)
    trace = stored[: -len(MESSAGE)].decode()
    assert re.fullmatch(
        r"Return-Path: <sender@example\.net>\r\n"
        r"Received: from client\.example\r\n"
        r"\tby mail\.example\.org \(M-Store [^)]+\) with LMTP id [0-9a-f]{16}\r\n"
        r"\tfor <joe@example\.org>;\r\n"
        r"\t[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n",
        trace,
    )


def test_one_reply_for_each_accepted_recipient_in_order(host: MailHost) -> None:
    got = ask(host, transaction(b"joe@example.org", b"nobody@example.org", b"ann@example.org"))
    assert got == [b"250 2.1.0", b"250 2.1.5", b"550 5.1.1", b"250 2.1.5", b"354", b"250 2.1.5", b"250 2.1.5"]
    assert host.messages("joe") == host.messages("ann")
    assert b"\tfor <" not in host.messages("joe")[0]
    assert host.messages("pat") == []


def test_replies_name_their_recipients(host: MailHost) -> None:
    said = converse(Session, host.service(), LHLO + transaction(b"joe@example.org", b"ann@example.org"))
    assert [line[:32] for line in said.split(b"\r\n")[-3:-1]] == [
        b"250 2.1.5 <joe@example.org> deli",
        b"250 2.1.5 <ann@example.org> deli",
    ]


def test_one_recipient_twice_is_two_replies_and_one_message(host: MailHost) -> None:
    record = host.accounts.find("joe")
    assert record is not None
    host.accounts.add_alias("info", record)
    got = ask(host, transaction(b"joe@example.org", b"info@example.org", b"joe@example.org"))
    assert got[-4:] == [b"354", b"250 2.1.5", b"250 2.1.5", b"250 2.1.5"]
    assert len(host.messages("joe")) == 1


def test_two_transactions_in_one_connection(host: MailHost) -> None:
    ask(host, transaction(b"joe@example.org") + transaction(b"joe@example.org", b"ann@example.org"))
    assert len(host.messages("joe")) == 2
    assert len(host.messages("ann")) == 1


def test_null_sender_is_kept_as_such(host: MailHost) -> None:
    script = transaction(b"joe@example.org").replace(MAIL, b"mail from:<>\r\n")
    assert ask(host, script)[-1] == b"250 2.1.5"
    assert host.messages("joe")[0].startswith(b"Return-Path: <>\r\n")


# -- plus-addressing (the manual's section on lmtpd) ---------------------------------------------------


def test_manual_example_of_plus_addressing(host: MailHost) -> None:
    host.account("joe").create("important/March2000")
    script = MAIL + b"rcpt to: joe+important/March2000@foobar.com\r\nDATA\r\n" + MESSAGE + b".\r\n"
    assert ask(host, script)[-1] == b"250 2.1.5"
    assert len(host.messages("joe", "important/March2000")) == 1
    assert host.messages("joe") == []


@pytest.mark.parametrize("detail", [b"missing", b"a//b", b"", b"inbox", b"*", b"a/" * 50 + b"a"])
def test_detail_that_names_no_mailbox_means_inbox(host: MailHost, detail: bytes) -> None:
    assert ask(host, transaction(b'"joe+%b"@example.org' % detail))[-1] == b"250 2.1.5"
    assert len(host.messages("joe")) == 1


def test_mailbox_that_goes_while_the_message_comes_means_inbox(
    host: MailHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.account("joe").create("lists")
    real = deliver.append

    def append_late(mailbox: Mailbox, messages: list[NewMessage], over_quota: bool) -> object:
        if "lists" in host.account("joe").mailboxes():
            host.account("joe").delete("lists")
        return real(mailbox, messages, over_quota)

    monkeypatch.setattr(deliver, "append", append_late)
    assert ask(host, transaction(b"joe+lists"))[-1] == b"250 2.1.5"
    assert len(host.messages("joe")) == 1


def test_shared_name_is_refused_where_nothing_is_shared(host: MailHost) -> None:
    host.add("shared")
    assert ask(host, transaction(b"Shared+bugreports@foobar.com"))[1] == b"550 5.1.1"
    assert ask(host, transaction(b"shared@foobar.com"))[-1] == b"250 2.1.5"


def test_plus_addressing_works_for_aliases(host: MailHost) -> None:
    record = host.accounts.find("ann")
    assert record is not None
    host.accounts.add_alias("team", record)
    host.account("ann").create("lists")
    ask(host, transaction(b"team+lists@example.org"))
    assert len(host.messages("ann", "lists")) == 1


# -- order and syntax ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        (b"HELO x\r\n", b"500 5.5.1"),
        (b"EHLO x\r\n", b"500 5.5.1"),
        (b"LHLO\r\n", b"501 5.5.4"),
        (b"LHLO a b\r\n", b"501 5.5.4"),
        (b"LHLO a(b\r\n", b"501 5.5.4"),
        (b"RCPT TO:<joe@example.org>\r\n", b"503 5.5.1"),
        (b"DATA\r\n", b"503 5.5.1"),
        (MAIL + MAIL, b"503 5.5.1"),
        (MAIL + b"DATA\r\n", b"503 5.5.1"),
        (MAIL + b"RCPT TO:<nobody@example.org>\r\nDATA\r\n", b"503 5.5.1"),
        (MAIL + b"RCPT TO:<joe@example.org>\r\nDATA now\r\n", b"501 5.5.4"),
        (MAIL + b"RCPT TO:<>\r\n", b"501 5.1.3"),
        (MAIL + b"RCPT TO:<joe@example.org\r\n", b"501 5.1.3"),
        (MAIL + b"RCPT joe@example.org\r\n", b"501 5.5.4"),
        (MAIL + b"RCPT TO:<joe@example.org> NOTIFY=NEVER\r\n", b"250 2.1.5"),
        (MAIL + b"RCPT TO:<joe@example.org> SIZE=1\r\n", b"555 5.5.4"),
        (MAIL + b"RCPT TO:<nobody@example.org>\r\n", b"550 5.1.1"),
        (MAIL + b"RCPT TO:<joe@elsewhere.example>\r\n", b"250 2.1.5"),
        (b"MAIL FROM:<a b>\r\n", b"501 5.1.7"),
        (b"MAIL FROM:\r\n", b"501 5.1.7"),
        (b"MAIL\r\n", b"501 5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=104857600\r\n", b"250 2.1.0"),
        (b"MAIL FROM:<a@b> SIZE=104857601\r\n", b"552 5.3.4"),
        (b"MAIL FROM:<a@b> SIZE=many\r\n", b"501 5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=1\r\n", b"501 5.5.4"),
        (b"MAIL FROM:<a@b> BODY=8bitmime\r\n", b"250 2.1.0"),
        (b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n", b"250 2.1.0"),
        (b"MAIL FROM:<a@b> SMTPUTF8\r\n", b"250 2.1.0"),
        ("MAIL FROM:<zoë@b> SMTPUTF8\r\n".encode(), b"250 2.1.0"),
        ("MAIL FROM:<zoë@b>\r\n".encode(), b"553 5.6.7"),
        (MAIL + "RCPT TO:<zoë@example.org>\r\n".encode(), b"553 5.6.7"),
        (MAIL + b"RSET\r\nMAIL FROM:<a@b>\r\n", b"250 2.1.0"),
        (MAIL + b"LHLO again\r\nMAIL FROM:<a@b>\r\n", b"250 2.1.0"),
        (b"RSET x\r\n", b"501 5.5.4"),
        (b"RSET\r\n", b"250 2.0.0"),
        (b"NOOP anything at all\r\n", b"250 2.0.0"),
        (b"VRFY joe\r\n", b"252 2.1.5"),
        (b"VRFY\r\n", b"501 5.5.4"),
        (b"EXPN list\r\n", b"500 5.5.1"),
        (b"\r\n", b"500 5.5.1"),
        (b"\x00\xff\r\n", b"500 5.5.1"),
        (b"QUIT now\r\n", b"501 5.5.4"),
        (b"quit\r\n", b"221 2.0.0"),
        (b"NOOP " + b"x" * COMMAND_LIMIT_BYTES + b"\r\n", b"500 5.5.2"),
    ],
)
def test_reply_to_each_way_of_saying_it(host: MailHost, script: bytes, reply: bytes) -> None:
    assert ask(host, script)[-1] == reply


def test_mail_before_lhlo_is_out_of_order(host: MailHost) -> None:
    assert converse(Session, host.service(), MAIL).split(b"\r\n")[1].startswith(b"503 5.5.1 ")


def test_every_line_fits_into_512_octets(host: MailHost) -> None:
    long = b"x" * 1000
    said = converse(Session, host.service(), LHLO + MAIL + b"RCPT TO:<" + long + b"@example.org>\r\n")
    assert max(map(len, said.split(b"\r\n"))) <= 510


def test_conversation_goes_on_after_a_line_that_is_too_long(host: MailHost) -> None:
    got = ask(host, b"MAIL FROM:<" + b"x" * 100_000 + b">\r\n" + transaction(b"joe@example.org"))
    assert got[0] == b"500 5.5.2"
    assert got[-1] == b"250 2.1.5"


def test_too_many_errors_end_the_connection(host: MailHost) -> None:
    got = ask(host, b"FOO\r\n" * (ERRORS_LIMIT + 5))
    assert got == [b"500 5.5.1"] * ERRORS_LIMIT + [b"421 4.7.0"]


def test_unknown_recipients_are_no_errors_of_the_client(host: MailHost) -> None:
    script = MAIL + b"RCPT TO:<nobody@example.org>\r\n" * (ERRORS_LIMIT * 2) + b"NOOP\r\n"
    assert ask(host, script)[-1] == b"250 2.0.0"


# -- content -------------------------------------------------------------------------------------------


def test_non_ascii_header_is_refused_for_each_recipient(host: MailHost) -> None:
    content = b"Subject: caf\xe9\r\n\r\nx\r\n"
    got = ask(host, transaction(b"joe@example.org", b"ann@example.org", content=content) + b"NOOP\r\n")
    assert got[-4:] == [b"354", b"554 5.6.0", b"554 5.6.0", b"250 2.0.0"]
    assert host.messages("joe") == []


def test_allow8bitheaders_strips_the_high_bit(tmp_path: Path) -> None:
    (tmp_path / "eight").mkdir()
    host = MailHost(tmp_path / "eight", allow8bitheaders="on")
    host.add("joe")
    assert ask(host, transaction(b"joe", content=b"Subject: caf\xe9\r\n\r\n\xe9\r\n"))[-1] == b"250 2.1.5"
    assert host.messages("joe")[0].endswith(b"Subject: cafi\r\n\r\n\xe9\r\n")
    host.close()


def test_message_over_the_limit_is_refused_and_the_next_one_taken(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    host = MailHost(tmp_path / "small", message_size_limit=2000)
    host.add("joe")
    script = transaction(b"joe", content=MESSAGE + b"x" * 3000 + b"\r\n") + transaction(b"joe")
    got = ask(host, script)
    assert got[:4] == [b"250 2.1.0", b"250 2.1.5", b"354", b"552 5.3.4"]
    assert got[4:] == [b"250 2.1.0", b"250 2.1.5", b"354", b"250 2.1.5"]
    assert len(host.messages("joe")) == 1
    host.close()


@pytest.mark.parametrize("cut", CUTS)
def test_large_message_arrives_whole(host: MailHost, cut: Callable[[bytes], list[bytes]]) -> None:
    content = MESSAGE + (b"0123456789" * 7 + b"\r\n.dot\r\n\r\n") * (100 if cut is not whole else 20_000)
    wire = content.replace(b"\r\n.", b"\r\n..")
    assert ask(host, transaction(b"joe", content=wire), cut)[-1] == b"250 2.1.5"
    assert host.messages("joe")[0].endswith(content)


def test_cut_connection_delivers_nothing(host: MailHost) -> None:
    script = transaction(b"joe")
    for end in (len(script) - 1, len(script) - 3, len(script) - 20):
        assert ask(host, script[:end])[-1] == b"354"
    assert host.messages("joe") == []


def test_unwritable_spool_is_a_temporary_failure(host: MailHost) -> None:
    host.settings.spool_path.rmdir()
    got = ask(host, transaction(b"joe", b"ann", content=MESSAGE + b"x" * 600_000 + b"\r\n") + b"NOOP\r\n")
    assert got[-4:] == [b"354", b"451 4.3.0", b"451 4.3.0", b"250 2.0.0"]


# -- what the store may say ----------------------------------------------------------------------------


def disk_full() -> StorageFailed:
    failed = StorageFailed("cannot write")
    failed.__cause__ = OSError(28, "No space left on device")
    return failed


@pytest.mark.parametrize(
    ("failure", "reply"),
    [
        (OverQuota("x"), b"452 4.2.2"),
        (Busy("x"), b"450 4.2.0"),
        (NotFound("x"), b"451 4.3.0"),
        (RuntimeError("x"), b"451 4.3.0"),
        (StorageFailed("x"), b"451 4.3.0"),
        (disk_full(), b"452 4.3.1"),
        (Corrupt("x"), b"451 4.3.0"),
        (Unavailable("x"), b"451 4.3.0"),
    ],
)
def test_failure_of_one_recipient_is_its_own(host: MailHost, failure: Exception, reply: bytes) -> None:
    class Failing:
        def account(self, record: object) -> object:
            if getattr(record, "name", "") == "ann":
                raise failure
            return host.store.account(record)  # type: ignore[arg-type]

    script = LHLO + transaction(b"joe", b"ann", b"pat") + b"NOOP\r\n"
    said = converse(Session, host.service(store=Failing()), script)
    assert replies(said)[-4:] == [b"250 2.1.5", reply, b"250 2.1.5", b"250 2.0.0"]
    assert [len(host.messages(name)) for name in ("joe", "ann", "pat")] == [1, 0, 1]


def test_account_database_out_of_reach_is_temporary(host: MailHost) -> None:
    class Failing:
        def resolve(self, local: str, domain: str | None) -> None:
            raise Unavailable("x")

    said = converse(Session, host.service(accounts=Failing()), LHLO + MAIL + b"RCPT TO:<joe>\r\n")
    assert replies(said)[-1] == b"451 4.3.0"


# -- timing --------------------------------------------------------------------------------------------


def test_replies_of_a_pipelined_group_go_out_together(
    host: MailHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "steady", lambda: 0.0)
    transport = ScriptedTransport([LHLO, transaction(b"joe", b"ann") + b"QUIT\r\n"])
    Session(Stream(transport), host.service()).run()
    greeting, lhlo, group, results, bye = transport.sent
    assert greeting.startswith(b"220 ")
    assert lhlo.startswith(b"250-")
    assert group.count(b"\r\n") == 4
    assert results.count(b"250 2.1.5") == 2
    assert bye.startswith(b"221 ")


def test_slow_deliveries_are_told_one_by_one(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = count()
    monkeypatch.setattr(clock, "steady", lambda: float(next(steps)))
    transport = ScriptedTransport([LHLO, transaction(b"joe", b"ann")])
    Session(Stream(transport), host.service()).run()
    assert [sent[-12:] for sent in transport.sent[-2:]] == [b" delivered\r\n"] * 2


def test_silent_client_is_told_and_left(host: MailHost) -> None:
    class Silent(ScriptedTransport):
        def recv(self, size: int, /) -> bytes:
            piece = super().recv(size)
            if not piece:
                raise TimeoutError
            return piece

    for script in (LHLO, LHLO + MAIL + b"RCPT TO:<joe>\r\nDATA\r\nSubject: x\r\n"):
        transport = Silent([script])
        Session(Stream(transport), host.service()).run()
        assert transport.timeouts[-1] == host.settings.lmtpd_timeout
        assert transport.said.split(b"\r\n")[-2].startswith(b"421 4.4.2 ")
    assert host.messages("joe") == []
    assert issubclass(TimedOut, Exception)


def test_stop_takes_leave_of_an_idle_client(host: MailHost) -> None:
    sessions: list[Session] = []

    def make(stream: Stream, service: object) -> Session:
        sessions.append(Session(stream, service))  # type: ignore[arg-type]
        return sessions[-1]

    with host.connected(make) as client, client.makefile("rb") as lines:
        assert lines.readline().startswith(b"220 ")
        client.sendall(b"NOOP\r\n")
        assert lines.readline().startswith(b"250 ")
        while not sessions[0].idle:
            pass
        sessions[0].stop()
        assert lines.readline().startswith(b"421 4.3.2 ")
        assert lines.readline() == b""


def test_a_kicked_client_is_told_that_an_administrator_wants_it(host: MailHost) -> None:
    transport = ScriptedTransport([b"NOOP\r\nNOOP\r\n"])
    session = Session(Stream(transport), host.service())
    session.kick()
    session.run()
    assert transport.said.endswith(b"421 4.3.2 an administrator has ended this session\r\n")


def test_stop_within_a_command_lets_it_finish(host: MailHost) -> None:
    script = LHLO + transaction(b"joe") + MAIL
    transport = ScriptedTransport([script])
    session = Session(Stream(transport), host.service())
    real = transport.sendall

    def stop_while_sending(data: bytes, /) -> None:
        if b"354" in data:
            session.stop()
        real(data)

    transport.sendall = stop_while_sending  # type: ignore[method-assign]
    session.run()
    assert replies(transport.said)[-2:] == [b"250 2.1.5", b"421 4.3.2"]
    assert len(host.messages("joe")) == 1


def test_counters_tell_what_was_done(host: MailHost) -> None:
    ask(host, transaction(b"joe", b"ann", b"nobody") + b"FOO\r\n")
    counted = host.counters.snapshot()
    assert counted["deliveries"] == 2
    assert counted["commands"] == 7
    assert counted["errors"] == 1


# -- a client that is not ours -------------------------------------------------------------------------


def test_smtplib_delivers_to_many(host: MailHost, tmp_path: Path) -> None:
    listener = Listener(host, Session, tmp_path / "lmtp")
    try:
        with smtplib.LMTP(str(tmp_path / "lmtp")) as client:
            assert client.sendmail("s@example.net", "pat@x", MESSAGE + b".\r\n..\r\n") == {}
            # smtplib reads one reply behind a message, whatever the number of recipients.
            assert client.mail("s@example.net")[0] == 250
            assert [client.rcpt(to)[0] for to in ("joe@x", "nobody@x", "ann@x")] == [250, 550, 250]
            assert client.data(MESSAGE)[1].endswith(b"<joe@x> delivered")
            assert client.getreply()[1].endswith(b"<ann@x> delivered")
    finally:
        listener.close()
    assert len(host.messages("joe")) == len(host.messages("ann")) == 1
    assert host.messages("pat")[0].endswith(MESSAGE + b".\r\n..\r\n")


def test_client_that_vanishes_leaves_no_trace(host: MailHost) -> None:
    with host.connected(Session) as client:
        client.sendall(LHLO + MAIL + b"RCPT TO:<joe>\r\nDATA\r\nSubject: x\r\n")
        client.shutdown(socket.SHUT_WR)
    assert host.messages("joe") == []
