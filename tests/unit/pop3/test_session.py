"""A conversation with pop3d: logging in, the maildrop, deleting, and who may have it."""

from __future__ import annotations

import base64
import poplib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mstore.base import blocking
from mstore.base.errors import Corrupt, StorageFailed
from mstore.lmtp.session import Session as Lmtp
from mstore.net.penalty import FAILURES_LIMIT
from mstore.net.stream import Stream
from mstore.pop3.session import ERRORS_LIMIT, LINE_LIMIT_BYTES, Session
from mstore.store.append import NewMessage, append
from tests.kit.mailhost import Listener, MailHost
from tests.kit.scripted import CUTS, ScriptedTransport, by_line, converse, whole

LOGIN = b"USER joe\r\nPASS secret\r\n"
FIRST = b"From: a@example.net\r\nSubject: one\r\n\r\nfirst\r\n.dot\r\n..\r\n.\r\nlast\r\n"
SECOND = b"Subject: two\r\n\r\nsecond\r\n"
THIRD = b"Subject: three\r\n\r\n" + b"line of the third\r\n" * 40_000


def fill(host: MailHost, *messages: bytes, name: str = "joe") -> None:
    mailbox = host.account(name).open("INBOX")
    append(mailbox, [NewMessage(message, 1_000_000_000) for message in messages])
    mailbox.release()


def expunge(host: MailHost, seq: int, name: str = "joe") -> None:
    mailbox = host.account(name).open("INBOX")
    with mailbox.transaction() as tx:
        tx.expunge(mailbox.view().rows[seq - 1 : seq])
    mailbox.release()


def say(host: MailHost, script: bytes, cut: Callable[[bytes], list[bytes]] = whole) -> bytes:
    """What comes back, without the greeting."""
    said = converse(Session, host.service(), script, cut)
    greeting, _, rest = said.partition(b"\r\n")
    assert greeting.startswith(b"+OK mail.example.org POP3")
    return rest


def behind_login(host: MailHost, script: bytes, cut: Callable[[bytes], list[bytes]] = whole) -> bytes:
    """What comes back to the commands behind a successful login."""
    said = say(host, LOGIN + script, cut)
    user, login, rest = said.split(b"\r\n", 2)
    assert user.startswith(b"+OK ")
    assert login.startswith(b"+OK maildrop has "), login
    return rest


def plain(name: bytes, password: bytes, act_as: bytes = b"") -> bytes:
    return base64.b64encode(act_as + b"\0" + name + b"\0" + password)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is made."""
    asked: list[float] = []
    monkeypatch.setattr(blocking, "sleep", asked.append)
    return asked


# -- the AUTHORIZATION state ---------------------------------------------------------------------------


def test_login_tells_what_there_is(host: MailHost) -> None:
    fill(host, FIRST, SECOND)
    size = len(FIRST + SECOND)
    assert say(host, LOGIN).split(b"\r\n")[1] == b"+OK maildrop has 2 messages (%d octets)" % size
    assert host.counters.snapshot()["logins"] == 1


def test_wrong_password_and_unknown_user_are_told_alike_and_late(host: MailHost, waits: list[float]) -> None:
    said = say(host, b"USER joe\r\nPASS wrong\r\nUSER nobody\r\nPASS secret\r\n" + LOGIN).split(b"\r\n")
    assert said[0] == said[2]
    assert said[1] == said[3] == b"-ERR [AUTH] authentication failed"
    assert said[5].startswith(b"+OK maildrop")
    assert waits == [1.0, 2.0]
    assert host.counters.snapshot()["login_failures"] == 2


def test_too_many_failures_end_the_connection(host: MailHost, waits: list[float]) -> None:
    said = say(host, b"USER joe\r\nPASS wrong\r\n" * (FAILURES_LIMIT + 3))
    assert said.count(b"-ERR [AUTH]") == FAILURES_LIMIT
    assert said.endswith(b"-ERR [AUTH] authentication failed\r\n")
    assert len(waits) == FAILURES_LIMIT


def test_disabled_account_cannot_log_in(host: MailHost, waits: list[float]) -> None:
    record = host.accounts.find("joe")
    assert record is not None
    host.accounts.set_enabled(record, False)
    assert say(host, LOGIN).split(b"\r\n")[1].startswith(b"-ERR [AUTH] ")


def test_password_may_hold_spaces(host: MailHost) -> None:
    host.add("tom", " a  b ")
    assert b"+OK maildrop" in say(host, b"USER tom\r\nPASS  a  b \r\n")


def test_authproxyd_out_of_reach_is_temporary(host: MailHost, waits: list[float]) -> None:
    host.authority.reachable = False
    assert say(host, LOGIN).split(b"\r\n")[1].startswith(b"-ERR [SYS/TEMP] ")
    assert waits == []


@pytest.mark.parametrize(
    ("failure", "code"), [(StorageFailed("x"), b"[SYS/TEMP]"), (Corrupt("x"), b"[SYS/PERM]")]
)
def test_maildrop_that_cannot_be_opened(host: MailHost, failure: Exception, code: bytes) -> None:
    class Failing:
        def account(self, record: object) -> object:
            raise failure

    said = converse(Session, host.service(store=Failing()), LOGIN)
    assert said.split(b"\r\n")[2].startswith(b"-ERR " + code)


@pytest.mark.parametrize(
    "command",
    [b"STAT", b"LIST", b"UIDL", b"RETR 1", b"TOP 1 1", b"DELE 1", b"RSET", b"NOOP", b"PASS x", b"LAST",
     b"APOP a b", b"X", b""],
)  # fmt: skip
def test_refused_before_login(host: MailHost, command: bytes) -> None:
    assert say(host, command + b"\r\n").startswith(b"-ERR ")


@pytest.mark.parametrize("command", [b"USER joe", b"PASS secret", b"AUTH PLAIN", b"STLS", b"LAST", b"XTND X"])
def test_refused_after_login(host: MailHost, command: bytes) -> None:
    assert behind_login(host, command + b"\r\n").startswith(b"-ERR ")


def test_pass_only_right_after_a_name(host: MailHost, waits: list[float]) -> None:
    said = say(host, b"USER joe\r\nPASS wrong\r\nPASS secret\r\n").split(b"\r\n")
    assert said[2].startswith(b"-ERR say USER")


def test_quit_before_login(host: MailHost) -> None:
    assert say(host, b"QUIT\r\nSTAT\r\n") == b"+OK signing off\r\n"


# -- AUTH ----------------------------------------------------------------------------------------------


def test_auth_plain_with_initial_response(host: MailHost) -> None:
    assert say(host, b"auth plain " + plain(b"joe", b"secret") + b"\r\n").startswith(b"+OK maildrop")


@pytest.mark.parametrize("cut", CUTS)
def test_auth_plain_with_a_challenge(host: MailHost, cut: Callable[[bytes], list[bytes]]) -> None:
    said = say(host, b"AUTH PLAIN\r\n" + plain(b"joe", b"secret") + b"\r\n", cut)
    assert said.startswith(b"+ \r\n+OK maildrop")


def test_auth_login_asks_twice(host: MailHost) -> None:
    script = b"AUTH LOGIN\r\n" + base64.b64encode(b"joe") + b"\r\n" + base64.b64encode(b"secret") + b"\r\n"
    lines = say(host, script).split(b"\r\n")
    assert [base64.b64decode(line[2:]) for line in lines[:2]] == [b"Username:", b"Password:"]
    assert lines[2].startswith(b"+OK maildrop")


def test_auth_alone_lists_mechanisms(host: MailHost) -> None:
    names = b"SCRAM-SHA-256\r\nCRAM-MD5\r\nPLAIN\r\nLOGIN\r\n"
    assert say(host, b"AUTH\r\n") == b"+OK mechanisms follow\r\n" + names + b".\r\n"


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (b"AUTH PLAIN\r\n*\r\n", b"-ERR authentication cancelled"),
        (b"AUTH PLAIN\r\n=AAA\r\n", b"-ERR response is not base64"),
        (b"AUTH PLAIN\r\nAAA=BBB\r\n", b"-ERR response is not base64"),
        (b"AUTH PLAIN\r\nA!AA\r\n", b"-ERR response is not base64"),
        (b"AUTH PLAIN =\r\n", b"-ERR [AUTH] "),
        (b"AUTH PLAIN\r\n\r\n", b"-ERR [AUTH] "),
        (b"AUTH PLAIN\r\n" + b"A" * 20_000 + b"\r\n", b"-ERR response is too long"),
        (b"AUTH PLAIN " + plain(b"joe", b"wrong") + b"\r\n", b"-ERR [AUTH] "),
        (b"AUTH PLAIN " + plain(b"joe", b"secret", b"ann") + b"\r\n", b"-ERR [AUTH] "),
        (b"AUTH DIGEST-MD5\r\n", b"-ERR mechanism is not offered"),
        (b"AUTH APOP\r\n", b"-ERR mechanism is not offered"),
        (b"AUTH CRAM-MD5 AAAA\r\n", b"-ERR [AUTH] "),
        (b"AUTH CRAM-MD5\r\nAAAA\r\n", b"-ERR [AUTH] "),
        (b"AUTH CRAM-MD5\r\n*\r\n", b"-ERR authentication cancelled"),
        (b"APOP joe\r\n", b"-ERR "),
        (b"APOP joe " + b"0" * 32 + b"\r\n", b"-ERR [AUTH] "),
        (b"APOP joe 0\r\n", b"-ERR [AUTH] "),
        (b"AUTH PLAIN a b\r\n", b"-ERR "),
    ],
)
def test_auth_that_fails(host: MailHost, waits: list[float], script: bytes, answer: bytes) -> None:
    lines = [line for line in say(host, script + b"CAPA\r\n").split(b"\r\n") if not line.startswith(b"+ ")]
    assert lines[0].startswith(answer)
    assert lines[1].startswith(b"+OK capability")


def test_acting_as_oneself_is_no_acting(host: MailHost) -> None:
    assert say(host, b"AUTH PLAIN " + plain(b"joe", b"secret", b"JOE") + b"\r\n").startswith(b"+OK maildrop")


def test_cleartext_may_be_off(tmp_path: Path) -> None:
    (tmp_path / "strict").mkdir()
    host = MailHost(tmp_path / "strict", cleartext_login_enable=False)
    host.add("joe")
    said = say(host, b"CAPA\r\n" + LOGIN + b"AUTH PLAIN " + plain(b"joe", b"secret") + b"\r\nAUTH\r\n")
    capa, _, rest = said.partition(b"\r\n.\r\n")
    assert b"\r\nUSER" not in capa
    assert b"\r\nSASL SCRAM-SHA-256 CRAM-MD5\r\n" in capa + b"\r\n"
    assert [line[:4] for line in rest.split(b"\r\n")[:3]] == [b"-ERR"] * 3
    over_tls = ScriptedTransport([LOGIN])
    Session(Stream(over_tls, tls=True), host.service()).run()
    assert b"+OK maildrop" in over_tls.said
    host.close()


def test_sasl_may_be_off(tmp_path: Path) -> None:
    (tmp_path / "nosasl").mkdir()
    off = dict.fromkeys(("plain", "login", "cram-md5", "scram-sha-256", "apop"), False)
    host = MailHost(tmp_path / "nosasl", sasl_enable=off)
    said = say(host, b"CAPA\r\nAUTH PLAIN\r\n")
    assert b"SASL" not in said
    assert said.endswith(b"-ERR mechanism is not offered\r\n")
    assert b"<" not in converse(Session, host.service(), b"")
    assert say(host, b"APOP joe " + b"0" * 32 + b"\r\n").startswith(b"-ERR APOP is not offered")
    host.close()


# -- CAPA ----------------------------------------------------------------------------------------------


def capabilities(said: bytes) -> set[bytes]:
    first, *lines = said.split(b"\r\n")
    assert first.startswith(b"+OK")
    return set(lines[: lines.index(b".")])


def test_capabilities_before_and_after_login(host: MailHost) -> None:
    host.tls = object()
    before = capabilities(say(host, b"CAPA\r\n"))
    after = capabilities(behind_login(host, b"CAPA\r\n"))
    assert {line.split(b" ")[0] for line in before} == {
        b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING", b"EXPIRE", b"IMPLEMENTATION",
        b"UTF8", b"LANG", b"USER", b"SASL", b"STLS",
    }  # fmt: skip
    assert b"EXPIRE NEVER" in before
    assert b"SASL SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN" in before
    assert before - after == {b"STLS"}


def test_stls_is_refused_where_it_makes_no_sense(host: MailHost) -> None:
    assert say(host, b"STLS\r\n").startswith(b"-ERR TLS is not configured")
    host.tls = object()
    assert say(host, b"STLS\r\nUSER joe\r\n").startswith(b"-ERR nothing may follow")
    transport = ScriptedTransport([b"STLS\r\n"])
    Session(Stream(transport, tls=True), host.service()).run()
    assert b"-ERR TLS is active" in transport.said


def test_stls_wraps_the_connection(host: MailHost) -> None:
    class Context:
        def wrap_socket(self, transport: object, server_side: bool) -> object:
            assert server_side
            return ScriptedTransport([b"STLS\r\n"])

    host.tls = Context()
    transport = ScriptedTransport(by_line(b"STLS\r\n"))
    stream = Stream(transport)
    Session(stream, host.service()).run()
    assert transport.said.endswith(b"+OK begin TLS negotiation\r\n")
    assert stream.tls


# -- the TRANSACTION state -----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_listing_and_reading(host: MailHost, cut: Callable[[bytes], list[bytes]]) -> None:
    fill(host, FIRST, SECOND)
    sizes = (len(FIRST), len(SECOND))
    said = behind_login(host, b"STAT\r\nLIST\r\nLIST 2\r\nRETR 2\r\nNOOP\r\nQUIT\r\n", cut)
    assert said == (
        b"+OK 2 %d\r\n" % sum(sizes)
        + b"+OK 2 messages (%d octets)\r\n1 %d\r\n2 %d\r\n.\r\n" % (sum(sizes), *sizes)
        + b"+OK 2 %d\r\n" % sizes[1]
        + b"+OK %d octets\r\n" % sizes[1] + SECOND + b".\r\n"
        + b"+OK\r\n"
        + b"+OK signing off (2 messages left)\r\n"
    )  # fmt: skip


def test_empty_maildrop(host: MailHost) -> None:
    said = behind_login(host, b"STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nQUIT\r\n").split(b"\r\n")
    assert said[0] == b"+OK 0 0"
    assert said[1:3] == [b"+OK 0 messages (0 octets)", b"."]
    assert said[4] == b"."
    assert said[5].startswith(b"-ERR no such message")
    assert said[6] == b"+OK signing off (maildrop empty)"


def test_lines_with_dots_are_stuffed(host: MailHost) -> None:
    fill(host, FIRST)
    said = behind_login(host, b"RETR 1\r\n")
    assert said.endswith(b"\r\n\r\nfirst\r\n..dot\r\n...\r\n..\r\nlast\r\n.\r\n")


def test_large_message_comes_in_bounded_pieces(host: MailHost) -> None:
    fill(host, THIRD)
    transport = ScriptedTransport([LOGIN, b"RETR 1\r\n"])
    Session(Stream(transport), host.service()).run()
    assert transport.said.endswith(b"\r\n+OK %d octets\r\n" % len(THIRD) + THIRD + b".\r\n")
    assert max(map(len, transport.sent)) <= 300 * 1024


@pytest.mark.parametrize(
    ("lines", "body"),
    [(0, b""), (1, b"first\r\n"), (2, b"first\r\n..dot\r\n"),
     (99, b"first\r\n..dot\r\n...\r\n..\r\nlast\r\n"),
     (10**30, b"first\r\n..dot\r\n...\r\n..\r\nlast\r\n")],
)  # fmt: skip
def test_top_gives_header_and_first_lines(host: MailHost, lines: int, body: bytes) -> None:
    fill(host, FIRST)
    header = FIRST[: FIRST.index(b"\r\n\r\n") + 4]
    said = behind_login(host, b"TOP 1 %d\r\n" % lines)
    assert said == b"+OK top of message follows\r\n" + header + body + b".\r\n"


def test_unique_ids_stay_the_same(host: MailHost) -> None:
    fill(host, FIRST, SECOND)
    first = behind_login(host, b"UIDL\r\nUIDL 2\r\nDELE 1\r\nQUIT\r\n").split(b"\r\n")
    assert first[3] == b"."
    assert first[4] == b"+OK " + first[2]
    assert all(0x21 <= c <= 0x7E for c in first[2][2:])
    fill(host, THIRD)
    second = behind_login(host, b"UIDL\r\n").split(b"\r\n")
    assert second[1] == b"1" + first[2][1:]
    assert second[2][2:] not in (first[1][2:], first[2][2:])


@pytest.mark.parametrize(
    "command",
    [b"RETR 3", b"RETR 0", b"RETR -1", b"RETR x", b"RETR", b"RETR 1 2", b"RETR 99999999999999999999",
     b"LIST 3", b"UIDL 3", b"DELE 3", b"DELE", b"TOP 1", b"TOP 3 1", b"TOP 1 -1", b"TOP 1 x", b"STAT x",
     b"NOOP x", b"RSET x", b"QUIT x", b"LIST 1 2", b"RETR \xff"],
)  # fmt: skip
def test_bad_arguments_are_refused(host: MailHost, command: bytes) -> None:
    fill(host, FIRST, SECOND)
    said = behind_login(host, command + b"\r\nSTAT\r\n").split(b"\r\n")
    assert said[0].startswith(b"-ERR ")
    assert said[1].startswith(b"+OK 2 ")


# -- deleting ------------------------------------------------------------------------------------------


def test_deleted_messages_vanish_from_listings_at_once_and_for_good_at_quit(host: MailHost) -> None:
    fill(host, FIRST, SECOND, SECOND)
    refused = b"LIST 2\r\nRETR 2\r\nDELE 2\r\nUIDL 2\r\nTOP 2 1\r\n"
    said = behind_login(host, b"DELE 2\r\nSTAT\r\nLIST\r\n" + refused + b"RETR 3\r\nQUIT\r\n")
    size = len(FIRST + SECOND)
    lines = said.split(b"\r\n")
    assert lines[:2] == [b"+OK message 2 deleted", b"+OK 2 %d" % size]
    assert lines[2] == b"+OK 2 messages (%d octets)" % size
    assert lines[3:6] == [b"1 %d" % len(FIRST), b"3 %d" % len(SECOND), b"."]
    assert all(line.startswith(b"-ERR message 2 is deleted") for line in lines[6:11])
    assert lines[-2] == b"+OK signing off (2 messages left)"
    assert host.messages("joe") == [FIRST, SECOND]


def test_rset_forgets_all_marks(host: MailHost) -> None:
    fill(host, FIRST, SECOND)
    said = behind_login(host, b"DELE 1\r\nDELE 2\r\nSTAT\r\nRSET\r\nQUIT\r\n").split(b"\r\n")
    assert said[2] == b"+OK 0 0"
    assert said[3] == b"+OK maildrop has 2 messages (%d octets)" % len(FIRST + SECOND)
    assert len(host.messages("joe")) == 2


def test_without_quit_nothing_is_removed(host: MailHost) -> None:
    fill(host, FIRST)
    behind_login(host, b"DELE 1\r\n")
    behind_login(host, b"DELE 1\r\nQUIT")
    assert host.messages("joe") == [FIRST]


def test_update_is_one_transaction(host: MailHost) -> None:
    fill(host, FIRST, SECOND, FIRST)
    mailbox = host.account("joe").open("INBOX")
    before = mailbox.highest_modseq
    behind_login(host, b"DELE 1\r\nDELE 3\r\nQUIT\r\n")
    mailbox.refresh()
    assert mailbox.highest_modseq == before + 1
    mailbox.release()


def test_failing_update_removes_nothing_and_says_so(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(host, FIRST, SECOND)

    def fail(self: object, rows: object) -> None:
        raise StorageFailed("no space")

    monkeypatch.setattr("mstore.store.transaction.Transaction.expunge", fail)
    said = behind_login(host, b"DELE 1\r\nQUIT\r\nSTAT\r\n").split(b"\r\n")
    assert said[1:] == [b"-ERR [SYS/TEMP] deleted messages not removed", b""]
    assert len(host.messages("joe")) == 2
    behind_login(host, b"STAT\r\n")


# -- beside IMAP ---------------------------------------------------------------------------------------


def test_message_expunged_meanwhile_cannot_be_read(host: MailHost) -> None:
    fill(host, FIRST, SECOND)
    with host.connected(Session) as client, client.makefile("rb") as lines:
        client.sendall(LOGIN)
        assert [lines.readline()[:3] for _ in range(3)] == [b"+OK"] * 3
        expunge(host, 1)
        client.sendall(b"RETR 1\r\nTOP 1 0\r\nLIST 1\r\nDELE 1\r\nQUIT\r\n")
        assert lines.readline().startswith(b"-ERR message 1 was removed")
        assert lines.readline().startswith(b"-ERR message 1 was removed")
        assert lines.readline() == b"+OK 1 %d\r\n" % len(FIRST)
        assert lines.readline().startswith(b"+OK")
        assert lines.readline() == b"+OK signing off (1 message left)\r\n"
    assert host.messages("joe") == [SECOND]


def test_message_flagged_deleted_is_listed(host: MailHost) -> None:
    fill(host, FIRST)
    mailbox = host.account("joe").open("INBOX")
    with mailbox.transaction() as tx:
        tx.flags(mailbox.view().rows, "add", tx.keyword_bits([b"\\Deleted"]))
    mailbox.release()
    assert behind_login(host, b"STAT\r\n") == b"+OK 1 %d\r\n" % len(FIRST)


def test_later_arrivals_are_for_the_next_session(host: MailHost) -> None:
    fill(host, FIRST)
    with host.connected(Session) as client, client.makefile("rb") as lines:
        client.sendall(LOGIN)
        assert [lines.readline()[:3] for _ in range(3)] == [b"+OK"] * 3
        fill(host, SECOND)
        client.sendall(b"STAT\r\nQUIT\r\n")
        assert lines.readline() == b"+OK 1 %d\r\n" % len(FIRST)
        assert lines.readline().startswith(b"+OK")
    assert behind_login(host, b"STAT\r\n") == b"+OK 2 %d\r\n" % len(FIRST + SECOND)


# -- one session at a time -----------------------------------------------------------------------------


def test_second_session_is_told_in_use_until_the_first_ends(host: MailHost) -> None:
    with host.connected(Session) as client, client.makefile("rb") as lines:
        client.sendall(LOGIN)
        assert [lines.readline()[:3] for _ in range(3)] == [b"+OK"] * 3
        assert say(host, LOGIN).split(b"\r\n")[1].startswith(b"-ERR [IN-USE] ")
        assert b"+OK maildrop" in say(host, b"USER ann\r\nPASS secret\r\n")
        client.sendall(b"QUIT\r\n")
        assert lines.readline().startswith(b"+OK")
        behind_login(host, b"STAT\r\n")


def test_maildrop_is_free_when_the_client_vanishes(host: MailHost) -> None:
    with host.connected(Session) as client, client.makefile("rb") as lines:
        client.sendall(LOGIN)
        assert [lines.readline()[:3] for _ in range(3)] == [b"+OK"] * 3
        client.shutdown(socket.SHUT_RDWR)
    behind_login(host, b"STAT\r\n")


# -- limits, closing, stopping -------------------------------------------------------------------------


def test_long_line_is_refused_and_the_next_one_taken(host: MailHost) -> None:
    said = say(host, b"USER " + b"x" * LINE_LIMIT_BYTES + b"\r\n" + LOGIN).split(b"\r\n")
    assert said[0] == b"-ERR line is too long"
    assert said[2].startswith(b"+OK maildrop")


def test_too_many_wrong_commands_end_the_connection(host: MailHost) -> None:
    assert say(host, b"FOO\r\n" * (ERRORS_LIMIT + 5)).count(b"-ERR") == ERRORS_LIMIT


def test_missing_messages_are_no_wrong_commands(host: MailHost) -> None:
    said = behind_login(host, b"RETR 7\r\n" * (ERRORS_LIMIT + 5) + b"STAT\r\n")
    assert said.endswith(b"+OK 0 0\r\n")


def test_answers_to_a_batch_go_out_together(host: MailHost) -> None:
    fill(host, SECOND)
    transport = ScriptedTransport([LOGIN, b"STAT\r\nLIST\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n"])
    Session(Stream(transport), host.service()).run()
    assert len(transport.sent) == 3


def test_autologout_says_nothing_and_removes_nothing(host: MailHost) -> None:
    class Silent(ScriptedTransport):
        def recv(self, size: int, /) -> bytes:
            piece = super().recv(size)
            if not piece:
                raise TimeoutError
            return piece

    fill(host, FIRST)
    transport = Silent([LOGIN + b"DELE 1\r\n"])
    Session(Stream(transport), host.service()).run()
    assert transport.said.endswith(b"+OK message 1 deleted\r\n")
    assert host.settings.login_timeout in transport.timeouts
    assert transport.timeouts[-1] == host.settings.pop3d_autologout == 600
    assert host.messages("joe") == [FIRST]
    behind_login(host, b"STAT\r\n")


def test_stop_takes_leave_of_an_idle_client_and_removes_nothing(host: MailHost) -> None:
    fill(host, FIRST)
    sessions: list[Session] = []

    def make(stream: Stream, service: object) -> Session:
        sessions.append(Session(stream, service))  # type: ignore[arg-type]
        return sessions[-1]

    with host.connected(make) as client, client.makefile("rb") as lines:
        client.sendall(LOGIN + b"DELE 1\r\n")
        assert [lines.readline()[:3] for _ in range(4)] == [b"+OK"] * 4
        while not sessions[0].idle:
            pass
        sessions[0].stop()
        assert lines.readline() == b"-ERR [SYS/TEMP] server is shutting down\r\n"
        assert lines.readline() == b""
    assert host.messages("joe") == [FIRST]


def test_damaged_message_ends_the_connection_not_the_worker(host: MailHost) -> None:
    fill(host, FIRST, SECOND)
    (segment,) = host.account("joe").path.glob("*/messages.*")
    data = bytearray(segment.read_bytes())
    at = bytes(data).index(b"Subject: one")
    data[at : at + 7] = b"Sxbject"
    segment.write_bytes(data)
    said = behind_login(host, b"RETR 1\r\nRETR 2\r\n").split(b"\r\n", 1)
    assert said[0].startswith(b"-ERR [SYS/PERM] ")
    assert said[1].endswith(SECOND + b".\r\n")


# -- clients that are not ours -------------------------------------------------------------------------


class UnixPop3(poplib.POP3):
    """poplib over a Unix socket."""

    def _create_socket(self, timeout: float) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(40)
        client.connect(self.host)
        return client


def test_poplib_reads_and_deletes(host: MailHost, tmp_path: Path) -> None:
    fill(host, FIRST, SECOND, THIRD)
    listener = Listener(host, Session, tmp_path / "pop3")
    try:
        client = UnixPop3(str(tmp_path / "pop3"))
        assert client.capa()["EXPIRE"] == ["NEVER"]
        client.user("joe")
        client.pass_("secret")
        assert client.stat() == (3, len(FIRST + SECOND + THIRD))
        for number, message in enumerate((FIRST, SECOND, THIRD), 1):
            _, lines, octets = client.retr(number)
            assert b"".join(line + b"\r\n" for line in lines) == message
            assert octets == len(message)
            assert client.list(number).endswith(b" %d" % len(message))
        assert len(client.uidl()[1]) == 3
        client.dele(1)
        client.quit()
    finally:
        listener.close()
    assert host.messages("joe") == [SECOND, THIRD]


def test_what_lmtp_brings_pop3_gives(host: MailHost) -> None:
    script = b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<joe>\r\nDATA\r\n" + FIRST.replace(b"\r\n.", b"\r\n..")
    assert converse(Lmtp, host.service(), script + b".\r\n").endswith(b"delivered\r\n")
    (stored,) = host.messages("joe")
    said = behind_login(host, b"LIST 1\r\nRETR 1\r\n")
    assert said.startswith(b"+OK 1 %d\r\n+OK %d octets\r\n" % (len(stored), len(stored)))
    assert said.endswith(stored.replace(b"\r\n.", b"\r\n..") + b".\r\n")
