"""Messages in chunks (RFC 3030), and what else the transactions of today bring with them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mstore.lmtp.session import Session
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse
from tests.unit.lmtp.test_session import LHLO, MAIL, MESSAGE, ask, transaction

RCPT = b"RCPT TO:<joe@example.org>\r\n"


def bdat(data: bytes, last: bool = False) -> bytes:
    return b"BDAT %d%b\r\n%b" % (len(data), b" LAST" if last else b"", data)


@pytest.fixture
def small(tmp_path: Path) -> MailHost:
    (tmp_path / "small").mkdir()
    host = MailHost(tmp_path / "small", message_size_limit=200_000)
    host.add("joe")
    return host


def test_the_message_is_what_the_chunks_make(host: MailHost) -> None:
    chunks = [bdat(MESSAGE[start : start + 7]) for start in range(0, len(MESSAGE), 7)]
    script = MAIL + RCPT + b"".join(chunks) + bdat(b"", True)
    assert ask(host, script)[-1] == b"250 2.1.5"
    assert host.messages("joe")[0].endswith(MESSAGE)


def test_dots_are_not_stuffed_and_line_ends_are_mended(host: MailHost) -> None:
    ask(host, MAIL + RCPT + bdat(b"Subject: x\r\n\r\n..\r\n.\r\n") + bdat(b"a\nb\r\n", True))
    assert host.messages("joe")[0].endswith(b"Subject: x\r\n\r\n..\r\n.\r\na\r\nb\r\n")


def test_what_is_too_large_is_told_at_its_chunk_and_ends_the_transaction(small: MailHost) -> None:
    big = bdat(b"Subject: x\r\n\r\n" + b"y" * 300_000)
    got = ask(small, MAIL + RCPT + big + bdat(b"more") + bdat(b"", True) + MAIL)
    assert got == [b"250 2.1.0", b"250 2.1.5", b"552 5.3.4", b"503 5.5.1", b"503 5.5.1", b"250 2.1.0"]
    got = ask(small, MAIL + RCPT + bdat(b"y" * 300_000, True))
    assert got[-1] == b"552 5.3.4"
    assert small.messages("joe") == []
    small.close()


def test_a_bad_header_is_told_at_its_chunk(host: MailHost) -> None:
    got = ask(host, MAIL + RCPT + bdat(b"Subject: caf\xe9\r\n\r\n") + bdat(b"", True))
    assert got[-2:] == [b"554 5.6.0", b"503 5.5.1"]


def test_a_message_given_up_leaves_nothing(host: MailHost) -> None:
    converse(Session, host.service(), LHLO + MAIL + RCPT + bdat(MESSAGE))
    got = ask(host, MAIL + RCPT + bdat(MESSAGE) + LHLO + MAIL + RCPT + bdat(b"A: b\r\n", True))
    assert got[-1] == b"250 2.1.5"
    (stored,) = host.messages("joe")
    assert stored.endswith(b"\r\nA: b\r\n")


def test_binary_bodies_are_stored_in_base64(host: MailHost) -> None:
    data = bytes(range(256)) * 10
    head = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ntext\nwith bare ends\n\r\n--b\r\n'
    part = b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" + data + b"\r\n--b--\r\n"
    mail = b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n"
    assert ask(host, mail + RCPT + bdat(head) + bdat(part, True))[-1] == b"250 2.1.5"
    (stored,) = host.messages("joe")
    assert b"\r\ntext\r\nwith bare ends\r\n\r\n--b" in stored
    assert stored.count(b"\n") == stored.count(b"\r\n")
    encoded = stored.split(b"Content-Transfer-Encoding: base64\r\n\r\n")[1].split(b"\r\n--b--")[0]
    assert base64.b64decode(encoded) == data


def test_utf8_headers_by_option_and_by_transaction(tmp_path: Path, host: MailHost) -> None:
    message = "Subject: Grüße\r\n\r\n".encode()
    assert ask(host, transaction(b"joe@example.org", content=message))[-1] == b"554 5.6.0"
    with_utf8 = transaction(b"joe@example.org", content=message).replace(b"net>", b"net> SMTPUTF8", 1)
    assert ask(host, with_utf8)[-1] == b"250 2.1.5"
    (stored,) = host.messages("joe")
    assert stored.endswith(message)
    assert b" with UTF8LMTP id " in stored
    (tmp_path / "modern").mkdir()
    modern = MailHost(tmp_path / "modern", allow8bitheaders="utf8")
    modern.add("joe")
    assert ask(modern, transaction(b"joe@example.org", content=message))[-1] == b"250 2.1.5"
    latin = transaction(b"joe@example.org", content=b"Subject: caf\xe9\r\n\r\n")
    assert ask(modern, latin)[-1] == b"554 5.6.0"
    modern.close()


def test_mailboxes_named_in_addresses_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "makes").mkdir()
    host = MailHost(tmp_path / "makes", lmtp_create_mailbox=True)
    host.add("joe")
    got = ask(host, transaction(b"joe+lists/bugs@example.org", b"joe+a//b@example.org", b"joe+inbox@x.org"))
    assert got[-3:] == [b"250 2.1.5"] * 3
    assert len(host.messages("joe", "lists/bugs")) == 1
    assert len(host.messages("joe")) == 1
    assert "lists/bugs" in host.account("joe").subscriptions()
    host.close()


def test_a_retry_is_acknowledged_and_not_stored(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    host = MailHost(tmp_path / "once", lmtp_duplicate_window=3600)
    host.add("joe")
    host.add("ann")
    message = b"Message-ID: <1@example.net>\r\n" + MESSAGE
    first = transaction(b"joe@example.org", content=message)
    again = transaction(b"joe@example.org", b"ann@example.org", content=message)
    assert ask(host, first)[-1] == b"250 2.1.5"
    assert ask(host, again)[-2:] == [b"250 2.1.5"] * 2
    assert (len(host.messages("joe")), len(host.messages("ann"))) == (1, 1)
    assert host.counters.snapshot()["deliveries"] == 2
    host.close()


def test_room_is_asked_for_when_the_size_is_told(host: MailHost) -> None:
    host.accounts.set_quota(host.accounts.find("joe"), 1000, 1)
    mail = b"MAIL FROM:<a@b> SIZE=%d\r\n"
    assert ask(host, mail % 1001 + RCPT)[-1] == b"552 5.2.2"
    assert ask(host, mail % 900 + RCPT + b"DATA\r\nA: b\r\n.\r\n")[-1] == b"250 2.1.5"
    assert ask(host, mail % 1 + RCPT)[-1] == b"452 4.2.2"
    over = host.service(over_quota=True)
    assert b"250 2.1.5 " in converse(Session, over, LHLO + mail % 1001 + RCPT)
