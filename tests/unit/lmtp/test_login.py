"""lmtpd over TCP: AUTH, STARTTLS, who may hand in mail, and what the trace fields say of it."""

from __future__ import annotations

import base64
import hmac
import re
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scramp

from mstore.auth.gate import Turned
from mstore.base import blocking
from mstore.base.config import ConfigErrors, parse
from mstore.lmtp.deliver import format_literal
from mstore.lmtp.login import AUTH_LIMIT_BYTES
from mstore.lmtp.session import COMMAND_LIMIT_BYTES, ERRORS_LIMIT, Session
from mstore.net.service import Service
from mstore.net.stream import Stream
from tests.kit.exchanging import Door
from tests.kit.mailhost import MailHost
from tests.kit.scripted import CUTS, ScriptedTransport, by_line, whole
from tests.kit.transport import Served
from tests.kit.waiting import wait_for

LHLO = b"LHLO client.example\r\n"
MAIL = b"MAIL FROM:<sender@example.net>\r\n"
MESSAGE = b"From: sender@example.net\r\nSubject: hello\r\n\r\nfirst line\r\n"
TRANSACTION = MAIL + b"RCPT TO:<joe@example.org>\r\nDATA\r\n" + MESSAGE + b".\r\n"
DELIVERED = [b"250 2.1.0", b"250 2.1.5", b"354", b"250 2.1.5"]
LONG = b"A" * AUTH_LIMIT_BYTES
FAILED = b"535 5.7.8 authentication failed"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(blocking, "sleep", found.append)
    return found


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., MailHost]]:
    made: list[MailHost] = []

    def make(**settings: Any) -> MailHost:
        path = tmp_path / f"site{len(made)}"
        path.mkdir()
        host = MailHost(path, **{"admin_users": ("relay",), **settings})
        for name in ("relay", "joe"):
            host.add(name)
        made.append(host)
        return host

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(make_host: Callable[..., MailHost]) -> MailHost:
    return make_host()


def talk(
    host: MailHost,
    script: bytes,
    cut: Callable[[bytes], list[bytes]] = whole,
    tls: bool = False,
    peer: str = "192.0.2.1",
) -> list[bytes]:
    """All lines that a client by TCP is told behind the greeting."""
    transport = ScriptedTransport(cut(script))
    Session(Stream(transport, peer, tls), host.service(trusted=False)).run()
    return transport.said.split(b"\r\n")[1:-1]


def ask(host: MailHost, script: bytes, **how: Any) -> list[bytes]:
    """The replies behind LHLO, whole."""
    lines = talk(host, LHLO + script, **how)
    return lines[next(place for place, line in enumerate(lines) if line.startswith(b"250 ")) + 1 :]


def codes(lines: list[bytes]) -> list[bytes]:
    return [b" ".join(line.split(b" ")[: 1 if line.startswith(b"354") else 2]) for line in lines]


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


def plain(name: bytes = b"relay", password: bytes = b"secret", act_as: bytes = b"") -> bytes:
    return b"AUTH PLAIN " + b64(act_as + b"\0" + name + b"\0" + password) + b"\r\n"


def offered(host: MailHost, **how: Any) -> list[bytes]:
    """What LHLO offers besides what it offers to all."""
    lines = talk(host, LHLO, **how)
    return [line[4:] for line in lines if not line[4:].startswith((b"SIZE", b"mail.example.org"))][6:]


class Wrapping:
    """A TLS context for which the client has prepared what it says under TLS."""

    def __init__(self, under_tls: bytes = b"") -> None:
        self.transport = ScriptedTransport(by_line(under_tls))

    def wrap_socket(self, transport: object, server_side: bool) -> ScriptedTransport:
        assert server_side
        return self.transport


# -- what is offered -------------------------------------------------------------------------------------


def test_login_is_offered_over_tcp_alone(make_host: Callable[..., MailHost]) -> None:
    host = make_host()
    assert offered(host) == [b"AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"]
    host.tls = object()
    assert offered(host)[0] == b"STARTTLS"
    assert all(line.startswith(b"AUTH") for line in offered(host, tls=True))
    transport = ScriptedTransport([LHLO + plain() + b"STARTTLS\r\n" + b"MAIL FROM:<a@b.example> AUTH=<>\r\n"])
    Session(Stream(transport, "local"), host.service()).run()
    assert b"AUTH" not in transport.said.partition(b"SIZE")[0] and b"STARTTLS" not in transport.said
    assert codes(transport.said.split(b"\r\n")[-4:-1]) == [b"500 5.5.1", b"500 5.5.1", b"555 5.5.4"]


def test_passwords_may_need_tls(make_host: Callable[..., MailHost]) -> None:
    host = make_host(cleartext_login_enable=False)
    assert offered(host) == [b"AUTH SCRAM-SHA-256 CRAM-MD5"]
    got = ask(host, plain() + b"AUTH LOGIN\r\nAUTH GSSAPI\r\n")
    assert codes(got) == [b"538 5.7.11", b"538 5.7.11", b"504 5.5.4"]
    assert b" PLAIN LOGIN" in offered(host, tls=True)[0]
    assert codes(ask(host, plain(), tls=True)) == [b"235 2.7.0"]
    assert not [line for line in offered(make_host(sasl_enable=dict.fromkeys(
        ("plain", "login", "cram-md5", "scram-sha-256"), False))) if line]  # fmt: skip


# -- before the login ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_nobody_hands_in_mail_before_auth(host: MailHost, cut: Callable[[bytes], list[bytes]]) -> None:
    script = MAIL + b"RCPT TO:<joe@example.org>\r\nDATA\r\nVRFY joe\r\nNOOP\r\nRSET\r\nQUIT\r\n"
    got = ask(host, script, cut=cut)
    assert got[0] == b"530 5.7.0 authentication is required"
    assert codes(got) == [b"530 5.7.0"] * 4 + [b"250 2.0.0"] * 2 + [b"221 2.0.0"]
    assert host.messages("joe") == []


def test_a_chunk_of_a_stranger_ends_the_conversation(host: MailHost) -> None:
    assert codes(ask(host, b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n")) == [b"530 5.7.0"]


def test_a_stranger_who_goes_on_is_left(host: MailHost) -> None:
    got = ask(host, MAIL * 100)
    assert codes(got) == [b"530 5.7.0"] * ERRORS_LIMIT + [b"421 4.7.0"]


def test_strangers_have_less_patience(make_host: Callable[..., MailHost]) -> None:
    host = make_host(login_timeout=20, lmtpd_timeout=200)
    transport = ScriptedTransport([LHLO, plain()])
    Session(Stream(transport, "192.0.2.1"), host.service(trusted=False)).run()
    assert [each for each in transport.timeouts if each is not None] == [20, 200]


# -- AUTH ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_who_has_logged_in_hands_in_mail(host: MailHost, cut: Callable[[bytes], list[bytes]]) -> None:
    got = ask(host, plain() + TRANSACTION + TRANSACTION + plain() + b"QUIT\r\n", cut=cut)
    assert codes(got) == [b"235 2.7.0", *DELIVERED, *DELIVERED, b"503 5.5.1", b"221 2.0.0"]
    assert len(host.messages("joe")) == 2


@pytest.mark.parametrize(
    ("script", "answers"),
    [
        (b"AUTH PLAIN\r\n%b\r\n" % b64(b"\0relay\0secret"), [b"334 ", b"235 2.7.0"]),
        (b"auth plain\r\n*\r\n", [b"334 ", b"501 5.7.0"]),
        (b"AUTH PLAIN =\r\n", [b"501 5.5.4"]),
        (b"AUTH PLAIN\r\n=\r\n", [b"334 ", b"501 5.5.2"]),
        (b"AUTH PLAIN AAA\r\n", [b"501 5.5.2"]),
        (b"AUTH PLAIN\r\nno base64\r\n", [b"334 ", b"501 5.5.2"]),
        (b"AUTH PLAIN\r\n" + LONG + b"\r\nNOOP\r\n", [b"334 ", b"500 5.5.6", b"250 2.0.0"]),
        (b"AUTH PLAIN " + LONG + b"\r\nNOOP\r\n", [b"500 5.5.2", b"250 2.0.0"]),
        (b"AUTH\r\nAUTH PLAIN a b\r\n", [b"501 5.5.4", b"501 5.5.4"]),
        (b"AUTH GSSAPI\r\nAUTH \xff\r\nAUTH ANONYMOUS\r\n", [b"504 5.5.4"] * 3),
        (b"AUTH LOGIN\r\n%b\r\n%b\r\n" % (b64(b"relay"), b64(b"secret")),
         [b"334 VXNlcm5hbWU6", b"334 UGFzc3dvcmQ6", b"235 2.7.0"]),
        (b"AUTH LOGIN %b\r\n%b\r\n" % (b64(b"relay"), b64(b"secret")), [b"334 UGFzc3dvcmQ6", b"235 2.7.0"]),
    ],
)  # fmt: skip
def test_exchanges(host: MailHost, script: bytes, answers: list[bytes]) -> None:
    got = ask(host, script, cut=by_line)
    assert [line if line.startswith(b"334") else b" ".join(line.split(b" ")[:2]) for line in got] == answers


def test_a_response_of_12288_bytes_is_read(host: MailHost) -> None:
    """RFC 4954 §4: what is too long for a name and a password is refused for what it says."""
    [_, answer] = ask(host, b"AUTH PLAIN\r\n" + b64(b"x" * 9200) + b"\r\n")
    assert answer.startswith((b"501 5.5.4", b"535 5.7.8"))


def test_login_needs_lhlo(host: MailHost) -> None:
    assert codes(talk(host, plain())) == [b"503 5.5.1"]


class Lines:
    """A client that reads lines, and speaks of itself at first."""

    def __init__(self, host: MailHost) -> None:
        self.served = Served(lambda stream: Session(stream, host.service(trusted=False)))
        self._file = self.served.socket.makefile("rb")
        self.served.socket.settimeout(40)
        self.line()
        self.served.socket.sendall(LHLO)
        while self.line()[3:4] != b" ":
            pass

    def line(self) -> bytes:
        return self._file.readline().rstrip(b"\r\n")

    def say(self, line: bytes) -> bytes:
        self.served.socket.sendall(line + b"\r\n")
        return self.line()

    def respond(self, data: bytes) -> bytes:
        return self.say(b64(data))

    def close(self) -> None:
        self._file.close()
        self.served.socket.close()
        self.served.join()


@pytest.fixture
def client(host: MailHost) -> Iterator[Lines]:
    client = Lines(host)
    yield client
    client.close()


def decode(line: bytes) -> bytes:
    assert line.startswith(b"334 "), line
    return base64.b64decode(line[4:])


def test_cram_md5(client: Lines) -> None:
    challenge = decode(client.say(b"AUTH CRAM-MD5"))
    digest = hmac.new(b"secret", challenge, "md5").hexdigest().encode()
    assert client.respond(b"relay " + digest).startswith(b"235 2.7.0 ")


@pytest.mark.parametrize(
    ("last", "answer"), [(b"", b"235 2.7.0"), (b"*", b"501 5.7.0"), (b"eA==", b"501 5.5.4")]
)
def test_the_servers_last_message_is_a_challenge(client: Lines, last: bytes, answer: bytes) -> None:
    speaker: Any = scramp.ScramClient(["SCRAM-SHA-256"], "relay", "secret")
    first = b64(speaker.get_client_first().encode())
    speaker.set_server_first(decode(client.say(b"AUTH SCRAM-SHA-256 " + first)).decode())
    speaker.set_server_final(decode(client.respond(speaker.get_client_final().encode())).decode())
    assert client.say(last).startswith(answer)


def test_the_end_may_come_within_an_exchange(client: Lines) -> None:
    assert client.say(b"AUTH PLAIN") == b"334 "
    session = client.served.session
    wait_for(lambda: session.idle)
    session.stop()
    assert client.line().startswith(b"421 4.3.2")
    assert client.line() == b""


# -- who may ---------------------------------------------------------------------------------------------


def test_administrators_may_and_others_may_not(
    host: MailHost, waits: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    got = ask(host, plain(b"joe") + MAIL + plain(b"relay", act_as=b"joe") + plain(b"RELAY"))
    assert got[0] == b"535 5.7.1 you may not hand in mail here"
    assert codes(got[1:]) == [b"530 5.7.0", b"535 5.7.1", b"235 2.7.0"]
    assert waits == [1.0, 2.0]
    logged = capfd.readouterr().err
    failed = r"event=login-failed .*name=joe mechanism=PLAIN code=NOT-PERMITTED peer=192\.0\.2\.1"
    assert re.search(failed, logged)
    assert re.search(r"event=login .*user=relay mechanism=PLAIN peer=192\.0\.2\.1", logged)


def test_lmtp_users_names_those_who_may(make_host: Callable[..., MailHost]) -> None:
    host = make_host(lmtp_users=("Joe@any.example",))
    assert codes(ask(host, plain(b"relay") + plain(b"joe"))) == [b"535 5.7.1", b"235 2.7.0"]
    assert codes(ask(host, plain(b"relay", act_as=b"joe"))) == [b"235 2.7.0"]
    domains = {"single_domain": False, "default_domain": "example.org"}
    host = make_host(lmtp_users=("joe@example.org",), **domains)
    assert codes(ask(host, plain(b"joe"))) == [b"235 2.7.0"]
    host = make_host(lmtp_users=("joe@example.net",), **domains)
    assert codes(ask(host, plain(b"joe"))) == [b"535 5.7.1"]


def test_without_administrators_nobody_may(make_host: Callable[..., MailHost]) -> None:
    assert codes(ask(make_host(admin_users=()), plain())) == [b"535 5.7.1"]


def test_whose_login_is_off_may_not(host: MailHost) -> None:
    host.accounts.set_enabled(host.accounts.find("relay"), False)
    assert ask(host, plain()) == [FAILED]


# -- failures --------------------------------------------------------------------------------------------


def test_a_wrong_password_costs_time_and_in_the_end_the_connection(
    host: MailHost, waits: list[float]
) -> None:
    got = ask(host, (plain(b"relay", b"wrong") + plain(b"nobody")) * 5)
    assert got == [FAILED] * 5 + [b"421 4.7.0 too many failed logins"]
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert host.counters.values["login_failures"] == 5


def test_authproxyd_may_be_away(host: MailHost) -> None:
    host.authority.reachable = False
    service = host.service(trusted=False)
    service.authenticate._absent_s = 0.0
    transport = ScriptedTransport([LHLO + plain() + MAIL])
    Session(Stream(transport), service).run()
    assert codes(transport.said.split(b"\r\n")[-3:-1]) == [b"454 4.7.0", b"530 5.7.0"]


def test_who_is_turned_away_by_the_gate_is_told_after_a_pause_and_left(
    host: MailHost, waits: list[float]
) -> None:
    gate = host.authority.site.gate = Door()
    gate.answer = Turned("come back later")
    assert codes(ask(host, plain() + b"NOOP\r\n")) == [b"454 4.7.0", b"421 4.7.0"]
    assert waits == [1.0]


# -- MAIL ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"<>", b"250"), (b"e+3Dmc2@example.com", b"250"), (b"a" * 500, b"250"), (b"a" * 501, b"501"),
     (b"", b"501"), (b"<a>+", b"501"), (b"a+3d", b"501"), (b"\xe9", b"501"), (b"<> AUTH=<>", b"501")],
)  # fmt: skip
def test_the_auth_parameter_is_read(host: MailHost, value: bytes, code: bytes) -> None:
    got = ask(host, plain() + b"MAIL FROM:<a@b.example> AUTH=" + value + b"\r\n")
    assert got[1].startswith(code), got


def test_lines_are_shorter_once_logged_in(host: MailHost) -> None:
    got = ask(host, plain() + b"MAIL FROM:<" + b"a" * COMMAND_LIMIT_BYTES + b"@b.example>\r\n")
    assert codes(got[1:]) == [b"500 5.5.2"]


@pytest.mark.parametrize(
    ("peer", "tls", "parameter", "source", "protocol"),
    [
        ("192.0.2.1", False, b"", "[192.0.2.1]", "LMTPA"),
        ("::ffff:192.0.2.1", True, b"", "[192.0.2.1]", "LMTPSA"),
        ("2001:db8::1", False, b" SMTPUTF8", "[IPv6:2001:db8::1]", "UTF8LMTPA"),
        ("fe80::1%eth0", True, b" SMTPUTF8", "[IPv6:fe80::1]", "UTF8LMTPSA"),
    ],
)
def test_the_trace_says_how_it_came(
    host: MailHost, peer: str, tls: bool, parameter: bytes, source: str, protocol: str
) -> None:
    script = TRANSACTION.replace(b"example.net>\r\nRCPT", b"example.net>" + parameter + b"\r\nRCPT")
    assert codes(ask(host, plain() + script, peer=peer, tls=tls))[1:] == DELIVERED
    [stored] = host.messages("joe")
    trace = (
        rf"Received: from client\.example \({re.escape(source)}\)\r\n"
        rf"\tby mail\.example\.org \(M-Store [^)]+\) with {protocol} id "
    )
    assert re.search(trace, stored.decode())


def test_what_is_no_address_is_unknown() -> None:
    assert format_literal("test") == "unknown"


# -- STARTTLS --------------------------------------------------------------------------------------------


def test_starttls_is_refused_where_it_makes_no_sense(host: MailHost) -> None:
    assert codes(ask(host, b"STARTTLS\r\n")) == [b"502 5.5.1"]
    host.tls = object()
    assert codes(ask(host, b"STARTTLS now\r\n")) == [b"501 5.5.4"]
    assert codes(ask(host, b"STARTTLS\r\n", tls=True)) == [b"503 5.5.1"]
    got = ask(host, b"STARTTLS\r\n" + plain() + TRANSACTION)
    assert got == [b"503 5.5.1 nothing may follow STARTTLS before the TLS negotiation"]


@pytest.mark.parametrize(
    ("before", "after", "answers"),
    [
        (LHLO, MAIL, [b"530 5.7.0"]),
        (LHLO, plain(), [b"503 5.5.1"]),
        (LHLO + plain(), MAIL, [b"530 5.7.0"]),
        (LHLO + plain(), TRANSACTION, [b"530 5.7.0"] * 3 + [b"500 5.5.1"] * 5),
    ],
)
def test_nothing_said_before_tls_counts_under_it(
    host: MailHost, before: bytes, after: bytes, answers: list[bytes]
) -> None:
    host.tls = context = Wrapping(after)
    transport = ScriptedTransport(by_line(before + b"STARTTLS\r\n"))
    stream = Stream(transport, "192.0.2.1")
    Session(stream, host.service(trusted=False)).run()
    assert transport.said.endswith(b"\r\n220 2.0.0 begin TLS negotiation\r\n")
    assert stream.tls and codes(context.transport.said.split(b"\r\n")[:-1]) == answers


def test_a_transaction_does_not_outlive_starttls(host: MailHost) -> None:
    host.tls = context = Wrapping(LHLO + plain() + b"RCPT TO:<joe@example.org>\r\n" + TRANSACTION)
    transport = ScriptedTransport(by_line(LHLO + plain() + MAIL + b"STARTTLS\r\n"))
    Session(Stream(transport, "192.0.2.1"), host.service(trusted=False)).run()
    lines = [line for line in context.transport.said.split(b"\r\n")[:-1] if line[3:4] == b" "]
    assert codes(lines)[1:] == [b"235 2.7.0", b"503 5.5.1", *DELIVERED]
    assert b"with LMTPSA id" in host.messages("joe")[0]


# -- clients, configuration ------------------------------------------------------------------------------


def test_the_standard_library_logs_in(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(stream: Stream, service: Service) -> Session:
        return Session(stream, host.service(trusted=False))

    with host.connected(make) as sock:
        monkeypatch.setattr(smtplib.SMTP, "_get_socket", lambda self, *_: sock)
        client = smtplib.LMTP("mail.example.org", 24, local_hostname="client.example")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("joe", "secret")
        client.login("relay", "secret")
        assert client.sendmail("sender@example.net", ["joe@example.org"], MESSAGE) == {}
        client.quit()
    assert len(host.messages("joe")) == 1


def test_a_port_is_not_used_twice() -> None:
    with pytest.raises(ConfigErrors, match="taken by pop3d-listen"):
        parse(Path("ms.conf"), "mailstore a /a\nruntime-user mail\nlmtpd-listen 127.0.0.1:110\n")
