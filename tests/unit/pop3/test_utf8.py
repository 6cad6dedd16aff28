"""Headers beyond ASCII, and the language of texts (RFC 6856)."""

from __future__ import annotations

import base64
import email
import email.policy

import pytest

from mstore.mail.header import HEADER_LIMIT_BYTES
from mstore.pop3.session import Session
from mstore.store.append import NewMessage, append
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse

LOGIN = b"USER joe\r\nPASS secret\r\n"
MESSAGE = "From: Jörg <joerg@example.org>\r\nSubject: Grüße\r\n\r\nKörper\r\nzwei\r\n".encode()


def fill(host: MailHost, message: bytes = MESSAGE) -> None:
    mailbox = host.account("joe").open("INBOX")
    append(mailbox, [NewMessage(message, 1_000_000_000)])
    mailbox.release()


def fetched(host: MailHost, script: bytes) -> tuple[bytes, bytes]:
    """The first line of the last multi-line answer, and the message in it."""
    said = converse(Session, host.service(), script)
    *_, answer = said.removesuffix(b"\r\n.\r\n").split(b"+OK ")
    first, _, message = answer.partition(b"\r\n")
    return first, message + b"\r\n"


def test_after_utf8_messages_come_as_they_are(host: MailHost) -> None:
    fill(host)
    assert fetched(host, b"UTF8\r\n" + LOGIN + b"RETR 1\r\n") == (b"%d octets" % len(MESSAGE), MESSAGE)


def test_without_it_the_header_is_a_surrogate_and_the_body_the_same(host: MailHost) -> None:
    fill(host)
    first, message = fetched(host, LOGIN + b"RETR 1\r\n")
    header, body = message.split(b"\r\n\r\n", 1)
    assert header.isascii()
    assert first == b"%d octets" % len(message)
    assert body == "Körper\r\nzwei\r\n".encode()
    assert email.message_from_bytes(message, policy=email.policy.default)["Subject"] == "Grüße"


@pytest.mark.parametrize(("before", "ascii_only"), [(b"", True), (b"UTF8\r\n", False)])
def test_top_follows_the_same_rule(host: MailHost, before: bytes, ascii_only: bool) -> None:
    fill(host)
    _, message = fetched(host, before + LOGIN + b"TOP 1 0\r\n")
    assert message.isascii() is ascii_only


def test_a_header_beyond_all_measure_is_masked_piece_by_piece(host: MailHost) -> None:
    header = b"Subject: \xc3\xbc\r\n" + b"X: y\xfc\r\n" * (HEADER_LIMIT_BYTES // 7 + 1)
    fill(host, header)
    first, message = fetched(host, LOGIN + b"RETR 1\r\n")
    assert first == b"%d octets" % len(header)
    assert message == header.replace(b"\xc3\xbc", b"??").replace(b"\xfc", b"?")


def test_utf8_comes_before_login_and_behind_stls(host: MailHost) -> None:
    host.tls = object()
    said = converse(Session, host.service(), b"UTF8 x\r\nUTF8\r\nSTLS\r\n" + LOGIN + b"UTF8\r\n")
    signs = [line[:1] for line in said.split(b"\r\n")[1:-1]]
    assert b"".join(signs) == b"-+-++-"


@pytest.mark.parametrize("script", [b"USER j\xfc\r\n", b"USER joe\r\nPASS \xfc\r\n"])
def test_names_and_passwords_that_are_no_utf8_are_refused(host: MailHost, script: bytes) -> None:
    assert converse(Session, host.service(), script).endswith(b"-ERR names and passwords are in UTF-8\r\n")


def test_passwords_may_be_in_utf8(host: MailHost) -> None:
    host.add("zoë", "schlüssel")
    said = converse(Session, host.service(), "USER zoë\r\nPASS schlüssel\r\n".encode())
    assert b"+OK maildrop" in said
    initial = base64.b64encode("\0zoë\0schlüssel".encode())
    assert b"+OK maildrop" in converse(Session, host.service(), b"AUTH PLAIN " + initial + b"\r\n")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"LANG", b"+OK language listing follows\r\nen English\r\n.\r\n"),
        (b"LANG *", b"+OK en English it is\r\n"),
        (b"LANG en", b"+OK en English it is\r\n"),
        (b"LANG EN-gb", b"+OK en English it is\r\n"),
        (b"LANG de", b"-ERR there is no language de here\r\n"),
        (b"LANG e\xffn", b"-ERR LANG takes a language range\r\n"),
        (b"LANG en de", b"-ERR LANG takes a language range\r\n"),
    ],
)
def test_language(host: MailHost, command: bytes, answer: bytes) -> None:
    for before in (b"", LOGIN):
        assert converse(Session, host.service(), before + command + b"\r\n").endswith(answer)
