"""Whoever has logged in, by any protocol, is no stranger to the daemon before it hears of it itself."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from mstore.imap.session import Session as ImapSession
from mstore.lmtp.session import Session as LmtpSession
from mstore.net.stream import Stream
from mstore.pop3.session import Session as Pop3Session
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport

PLAIN = b64encode(b"\0joe\0secret")


@pytest.mark.parametrize(
    ("kind", "wrong", "right", "told"),
    (
        (ImapSession, b"a LOGIN joe wrong\r\n", b"b LOGIN joe secret\r\n", b"b OK"),
        (Pop3Session, b"USER joe\r\nPASS wrong\r\n", b"USER joe\r\nPASS secret\r\n", b"+OK maildrop"),
        (LmtpSession, b"LHLO a\r\nAUTH PLAIN AAAA\r\n", b"AUTH PLAIN " + PLAIN + b"\r\n", b"235"),
    ),
)
def test_a_login_is_told_before_its_answer(
    kind: Any, wrong: bytes, right: bytes, told: bytes, tmp_path: Path
) -> None:
    host = MailHost(tmp_path, admin_users=("joe",))
    host.add("joe")
    transport = ScriptedTransport([wrong, right])
    session = kind(Stream(transport, "192.0.2.1", tls=True), host.service(trusted=False))
    said_by_then: list[bytes] = []
    session.on_login = lambda: said_by_then.append(transport.said)
    session.run()
    assert len(said_by_then) == 1 and told not in said_by_then[0]
    assert told in transport.said
    host.close()
