"""A login that fails is logged with the name that was claimed, whatever the mechanism and the protocol."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scramp

from mstore.auth.client import AuthClient, Facts, Refused
from mstore.auth.gate import Turned
from mstore.auth.sasl.digestmd5 import compute
from mstore.base import blocking
from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.imap.session import Session as ImapSession
from mstore.lmtp.session import Session as LmtpSession
from mstore.net.stream import Stream
from mstore.pop3.session import Session as Pop3Session
from tests.kit import loglines
from tests.kit.exchanging import Door
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport

NAME = "joe"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailHost]:
    monkeypatch.setattr(blocking, "sleep", lambda seconds: True)
    on = dict.fromkeys(("digest-md5", "scram-sha-1", "scram-sha-512"), True)
    made = MailHost(tmp_path, sasl_enable=on)
    made.add(NAME)
    yield made
    made.close()


def answer_scram(hash_name: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    speaker = scramp.ScramClient([f"SCRAM-{hash_name}"], NAME, "wrong")

    def respond(challenge: bytes) -> bytes:
        speaker.set_server_first(challenge.decode())
        final: str = speaker.get_client_final()
        return final.encode()

    return speaker.get_client_first().encode(), respond


def answer_digest(challenge: bytes) -> bytes:
    nonce = re.search(rb'nonce="([^"]+)"', challenge)
    assert nonce is not None
    digest = compute(b"wrong", nonce[1], b"c", b"AUTHENTICATE:imap/mail.example.org")
    return (
        b'username="joe",nonce="%b",cnonce="c",nc=00000001,qop=auth,digest-uri="imap/mail.example.org",'
        b"response=%b,charset=utf-8" % (nonce[1], digest)
    )


def answer_cram(challenge: bytes) -> bytes:
    return b"joe " + b"0" * 32


def cases() -> Iterator[tuple[str, bytes | None, Callable[[bytes], bytes]]]:
    yield "PLAIN", b"\0joe\0wrong", answer_cram
    yield "LOGIN", b"joe", lambda challenge: b"wrong"
    yield "CRAM-MD5", None, answer_cram
    yield "DIGEST-MD5", None, answer_digest
    for hash_name in ("SHA-1", "SHA-256", "SHA-512"):
        yield f"SCRAM-{hash_name}", *answer_scram(hash_name)


@pytest.mark.parametrize(
    ("mechanism", "initial", "respond"), [pytest.param(*case, id=case[0]) for case in cases()]
)
def test_every_mechanism_tells_whom_the_client_claimed_to_be(
    host: MailHost, mechanism: str, initial: bytes | None, respond: Callable[[bytes], bytes]
) -> None:
    client: AuthClient = host.authority.client(host.settings)
    facts = Facts("imap", "192.0.2.1", "mail.example.org")
    found = client.authenticate(mechanism, facts, initial, respond)
    assert isinstance(found, Refused) and (found.code, found.login) == ("AUTHENTICATIONFAILED", NAME)


def test_who_is_turned_away_at_the_gate_is_named_as_well(host: MailHost) -> None:
    door = host.authority.site.gate = Door()
    door.answer = Turned("UNAVAILABLE", "come later", end=True)
    client: AuthClient = host.authority.client(host.settings)
    found = client.authenticate(
        "PLAIN", Facts("imap", "192.0.2.1", "x"), b"\0joe\0wrong", lambda challenge: None
    )
    assert isinstance(found, Refused) and found.end and found.login == NAME


def test_a_very_long_name_is_cut(host: MailHost) -> None:
    host.settings = Settings(**{**vars(host.settings), "sasl_enable": {"digest-md5": True}})
    client: AuthClient = host.authority.client(host.settings)
    facts = Facts("imap", "192.0.2.1", "mail.example.org")

    def respond(challenge: bytes) -> bytes:
        return answer_digest(challenge).replace(b'"joe"', b'"' + "ö".encode() * 1500 + b'"')

    found = client.authenticate("DIGEST-MD5", facts, None, respond)
    assert isinstance(found, Refused) and found.login == "ö" * 512


def failures(host: MailHost, make: Any, script: bytes, tmp_path: Path) -> list[dict[str, str]]:
    fd = os.open(tmp_path / "lines", os.O_CREAT | os.O_WRONLY)
    try:
        stream = Stream(ScriptedTransport([line + b"\r\n" for line in script.split(b"\r\n")]), "192.0.2.1")
        make(stream, host.service(log=Log(fd), trusted=False)).run()
    finally:
        os.close(fd)
    lines = map(loglines.parse, (tmp_path / "lines").read_text().splitlines())
    return [line for line in lines if line["event"] == "login-failed"]


@pytest.mark.parametrize(
    ("make", "before", "command"),
    [
        (ImapSession, b"", b"a AUTHENTICATE"),
        (Pop3Session, b"", b"AUTH"),
        (LmtpSession, b"LHLO client.example\r\n", b"AUTH"),
    ],
    ids=["imap", "pop3", "lmtp"],
)
def test_the_log_of_each_daemon_has_the_name(
    host: MailHost, tmp_path: Path, make: Any, before: bytes, command: bytes
) -> None:
    digest = base64.b64encode(answer_cram(b""))
    scram = base64.b64encode(b"n,,n=joe,r=abc")
    unproved = base64.b64encode(b"c=biws,r=abc,p=AAAA")
    script = before + b"%b CRAM-MD5\r\n%b\r\n" % (command, digest)
    script += b"%b SCRAM-SHA-256 %b\r\n%b\r\n\r\n" % (command, scram, unproved)
    lines = failures(host, make, script, tmp_path)
    assert [(line["name"], line["mechanism"], line["peer"]) for line in lines] == [
        (NAME, "CRAM-MD5", "192.0.2.1"), (NAME, "SCRAM-SHA-256", "192.0.2.1"),
    ]  # fmt: skip
