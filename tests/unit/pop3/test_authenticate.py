"""AUTH and APOP, over a real connection."""

from __future__ import annotations

import base64
import hashlib
import hmac
import poplib
import socket
from pathlib import Path
from typing import Any

import pytest
import scramp

from mstore.auth.gate import Turned
from mstore.base import blocking
from mstore.pop3.session import Session
from tests.kit.exchanging import Door
from tests.kit.mailhost import MailHost


class Lines:
    """A client that reads lines."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self.greeting = self._read()

    def say(self, line: bytes) -> bytes:
        self._socket.sendall(line + b"\r\n")
        return self._read()

    def _read(self) -> bytes:
        while b"\r\n" not in self._buffer:
            data = self._socket.recv(4096)
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def respond(self, data: bytes) -> bytes:
        return self.say(base64.b64encode(data))


def decode(line: bytes) -> bytes:
    assert line.startswith(b"+ "), line
    return base64.b64decode(line[2:])


def test_apop(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "sleep", lambda seconds: None)
    with host.connected(Session) as sock:
        client = Lines(sock)
        stamp = client.greeting.rstrip().split()[-1]
        assert stamp.startswith(b"<") and stamp.endswith(b"@mail.example.org>")
        wrong = hashlib.md5(stamp + b"wrong").hexdigest().encode()
        assert client.say(b"APOP joe " + wrong) == b"-ERR [AUTH] authentication failed"
        right = hashlib.md5(stamp + b"secret").hexdigest().encode()
        assert client.say(b"APOP Joe " + right) == b"+OK maildrop has 0 messages (0 octets)"
        assert client.say(b"APOP joe " + right).startswith(b"-ERR ")


def test_every_greeting_has_its_own_stamp(host: MailHost) -> None:
    stamps = set()
    for _ in range(3):
        with host.connected(Session) as sock:
            stamps.add(Lines(sock).greeting)
    assert len(stamps) == 3


def test_the_standard_library_uses_apop(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    with host.connected(Session) as sock:
        monkeypatch.setattr(poplib.POP3, "_create_socket", lambda self, timeout: sock)
        client = poplib.POP3("mail.example.org")
        assert client.apop("joe", "secret").startswith(b"+OK maildrop")
        client.quit()


def test_cram_md5(host: MailHost) -> None:
    with host.connected(Session) as sock:
        client = Lines(sock)
        challenge = decode(client.say(b"AUTH CRAM-MD5"))
        digest = hmac.new(b"secret", challenge, "md5").hexdigest().encode()
        assert client.respond(b"joe " + digest).startswith(b"+OK maildrop")


@pytest.mark.parametrize(
    ("last", "answer"),
    [(b"", b"+OK maildrop"), (b"*", b"-ERR authentication cancelled"), (b"eA==", b"-ERR [AUTH] ")],
)
def test_the_last_message_of_scram_wants_an_empty_response(
    host: MailHost, last: bytes, answer: bytes
) -> None:
    with host.connected(Session) as sock:
        client = Lines(sock)
        speaker: Any = scramp.ScramClient(["SCRAM-SHA-256"], "joe", "secret")
        first = base64.b64encode(speaker.get_client_first().encode())
        speaker.set_server_first(decode(client.say(b"AUTH SCRAM-SHA-256 " + first)).decode())
        speaker.set_server_final(decode(client.respond(speaker.get_client_final().encode())).decode())
        assert client.say(last).startswith(answer)


def test_digest_md5_is_there_when_switched_on(tmp_path: Path) -> None:
    (tmp_path / "digest").mkdir()
    host = MailHost(tmp_path / "digest", sasl_enable={"digest-md5": True})
    with host.connected(Session) as sock:
        client = Lines(sock)
        assert b'realm="mail.example.org"' in decode(client.say(b"AUTH DIGEST-MD5"))
        assert client.say(b"*") == b"-ERR authentication cancelled"
    host.close()


def test_an_administrator_acts_as_somebody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "admin").mkdir()
    host = MailHost(tmp_path / "admin", admin_users=("root",))
    host.add("root")
    host.add("joe")
    with host.connected(Session) as sock:
        client = Lines(sock)
        message = base64.b64encode(b"joe\0root\0secret")
        assert client.say(b"AUTH PLAIN " + message).startswith(b"+OK maildrop")
        client.say(b"QUIT")
    host.close()
    assert "user=joe by=root mechanism=PLAIN" in capfd.readouterr().err


def test_who_is_turned_away_by_the_gate_is_told_after_a_pause_and_left(
    host: MailHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(blocking, "sleep", waits.append)
    gate = host.authority.site.gate = Door()
    gate.answer = Turned("come back later")
    with host.connected(Session) as sock:
        client = Lines(sock)
        client.say(b"USER joe")
        assert client.say(b"PASS secret") == b"-ERR [SYS/TEMP] come back later"
        assert waits == [1.0]
        assert client.say(b"NOOP") == b""
