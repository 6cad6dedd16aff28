"""AUTHENTICATE, as the standard library and scramp speak it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scramp

from mstore.auth.gate import Turned
from mstore.base import blocking
from mstore.imap.session import Session
from mstore.net.exporter import CHANNEL_BINDING, export
from mstore.net.tls import make_context
from tests.kit.dialogue import site
from tests.kit.exchanging import Door
from tests.kit.mailhost import MailHost
from tests.kit.transport import Client, Served

TLS = Path(__file__).parents[2] / "kit" / "tls"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with site(tmp_path, {}) as host:
        yield host


def connect(host: MailHost) -> Client:
    client = Client(Served(lambda stream: Session(stream, host.service())))
    client.receive()
    return client


def encode(data: bytes) -> bytes:
    return base64.b64encode(data)


def decode(line: bytes) -> bytes:
    assert line.startswith(b"+ "), line
    return base64.b64decode(line[2:])


def scram(client: Client, password: str, mechanism: str = "SCRAM-SHA-256", **more: Any) -> Any:
    """AUTHENTICATE up to the server's last message; the client's side of SCRAM, and that message's line."""
    speaker = scramp.ScramClient([mechanism], "joe", password, **more)
    first = encode(speaker.get_client_first().encode())
    client.send(b"a AUTHENTICATE %b %b\r\n" % (mechanism.encode(), first))
    speaker.set_server_first(decode(client.receive()).decode())
    client.send(encode(speaker.get_client_final().encode()) + b"\r\n")
    return speaker, client.receive()


def test_cram_md5(host: MailHost) -> None:
    client = connect(host)
    client.send(b"a AUTHENTICATE CRAM-MD5\r\n")
    challenge = decode(client.receive())
    digest = hmac.new(b"secret", challenge, "md5").hexdigest().encode()
    client.send(encode(b"joe " + digest) + b"\r\n")
    assert client.receive().startswith(b"a OK [CAPABILITY IMAP4rev1 ")


def test_the_last_message_of_scram_is_a_challenge_with_an_empty_response(host: MailHost) -> None:
    client = connect(host)
    speaker, line = scram(client, "secret")
    speaker.set_server_final(decode(line).decode())
    client.send(b"\r\n")
    assert client.receive().startswith(b"a OK [CAPABILITY ")


@pytest.mark.parametrize(
    ("answer", "reply"), [(b"*", b"a BAD authentication cancelled"), (b"eA==", b"a BAD ")]
)
def test_who_does_not_take_the_last_message_is_not_logged_in(
    host: MailHost, answer: bytes, reply: bytes
) -> None:
    client = connect(host)
    scram(client, "secret")
    client.send(answer + b"\r\nb NAMESPACE\r\n")
    assert client.receive().startswith(reply)
    assert client.receive().startswith(b"b BAD ")


def test_a_wrong_password_is_told_at_once(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "sleep", lambda seconds: None)
    _, line = scram(connect(host), "wrong")
    assert line == b"a NO [AUTHENTICATIONFAILED] Authentication failed"


@pytest.mark.parametrize("answer", [b"", b"*"])
def test_a_failure_of_scram_with_a_reason_remains_one(
    host: MailHost, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(blocking, "sleep", lambda seconds: None)
    client = connect(host)
    client.send(b"a AUTHENTICATE SCRAM-SHA-256 " + encode(b"n,,m=x,n=joe,r=a") + b"\r\n")
    assert decode(client.receive()) == b"e=extensions-not-supported"
    client.send(answer + b"\r\n")
    assert client.receive() == b"a NO [AUTHENTICATIONFAILED] Authentication failed"
    assert host.counters.snapshot()["login_failures"] == 1


def secure(host: MailHost) -> Client:
    """A client behind STARTTLS."""
    files = {"tls_certificate": TLS / "cert.pem", "tls_key": TLS / "key.pem"}
    host.settings = replace(host.settings, **files)
    host.tls = make_context(host.settings)
    client = connect(host)
    client.send(b"s STARTTLS\r\n")
    client.receive()
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    client._socket = context.wrap_socket(client._socket, server_hostname="mail.example.org")
    return client


def test_scram_bound_to_the_certificate(host: MailHost) -> None:
    client = secure(host)
    binding = ("tls-server-end-point", hashlib.sha256(client._socket.getpeercert(True)).digest())
    speaker, line = scram(client, "secret", "SCRAM-SHA-256-PLUS", channel_binding=binding)
    speaker.set_server_final(decode(line).decode())
    client.send(b"\r\n")
    assert client.receive().startswith(b"a OK ")
    client.command(b"l LOGOUT")


@pytest.mark.parametrize("right", [True, False])
def test_scram_bound_to_the_connection(host: MailHost, right: bool) -> None:
    """scramp does not know this type: its messages are made by hand."""
    client = secure(host)
    data = export(client._socket, CHANNEL_BINDING, 32) if right else b"x" * 32
    assert data is not None
    header, bare = b"p=tls-exporter,,", b"n=joe,r=abcdef"
    client.send(b"a AUTHENTICATE SCRAM-SHA-256-PLUS " + encode(header + bare) + b"\r\n")
    first = decode(client.receive())
    nonce, salt, iterations = (part[2:] for part in first.split(b",", 2))
    unproved = b"c=" + encode(header + data) + b",r=" + nonce
    salted = hashlib.pbkdf2_hmac("sha256", b"secret", base64.b64decode(salt), int(iterations))
    key = hmac.digest(salted, b"Client Key", "sha256")
    message = b",".join((bare, first, unproved))
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    client.send(encode(unproved + b",p=" + encode(proof)) + b"\r\n")
    last = decode(client.receive())
    assert last.startswith(b"v=") if right else last == b"e=channel-bindings-dont-match"
    client.send(b"\r\n")
    assert client.receive().startswith(b"a OK " if right else b"a NO [AUTHENTICATIONFAILED] ")
    client.command(b"l LOGOUT")


def test_an_administrator_acts_as_somebody_and_the_log_names_both(
    host: MailHost, capfd: pytest.CaptureFixture[str]
) -> None:
    host.add("root")
    client = connect(host)
    answer = client.command(b"a AUTHENTICATE PLAIN " + encode(b"joe\0root\0secret"))[-1]
    assert answer.startswith(b"a OK ")
    client.command(b"c LOGOUT")
    client.served.join()
    assert "user=joe by=root mechanism=PLAIN" in capfd.readouterr().err


def test_who_is_turned_away_by_the_gate_is_told_after_a_pause_and_left(
    host: MailHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(blocking, "sleep", waits.append)
    gate = host.authority.site.gate = Door()
    gate.answer = Turned("come back later")
    client = connect(host)
    client.send(b"a LOGIN joe secret\r\n")
    assert client.receive() == b"* BYE come back later"
    assert client.receive() == b""
    assert waits == [1.0]


def test_a_response_may_have_twelve_kilobytes(host: MailHost) -> None:
    client = connect(host)
    client.send(b"a AUTHENTICATE PLAIN\r\n")
    client.receive()
    client.send(encode(b"x" * 9000) + b"\r\n")
    assert client.receive().startswith(b"a BAD ")
    client.send(b"b AUTHENTICATE PLAIN\r\n")
    client.receive()
    client.send(b"A" * 20_000 + b"\r\n")
    assert client.receive() == b"b BAD line too long"
