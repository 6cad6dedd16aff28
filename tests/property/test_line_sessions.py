"""Whatever a client sends to LMTP or POP3: the session ends, its lines are legal, and no fault is logged."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.base import blocking
from mstore.base.log import Log
from mstore.lmtp.session import Session as Lmtp
from mstore.net.stream import Stream
from mstore.pop3.session import Session as Pop3
from mstore.store.append import NewMessage, append
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport

MESSAGE = b"Subject: x\r\n\r\n.one\r\ntwo\r\n"

LMTP_LINES = [
    b"LHLO x", b"MAIL FROM:<a@b>", b"MAIL FROM:<> SIZE=10", b"RCPT TO:<joe@x>", b"RCPT TO:<ann+y@x>",
    b"RCPT TO:<no@x>", b"DATA", b".", b"..", b"", b"Subject: x", b"\xff\xfe", b"RSET", b"NOOP", b"VRFY x",
    b"AUTH PLAIN", b"AHJlbGF5AHNlY3JldA==", b"AUTH PLAIN AHJlbGF5AHNlY3JldA==", b"AUTH LOGIN", b"*", b"=",
    b"AUTH", b"STARTTLS", b"BDAT 3 LAST", b"BDAT 9", b"MAIL FROM:<a@b> AUTH=<>", b"x" * 17000,
    b"QUIT", b"HELO x", b"x" * 5000, b"\x00", b'MAIL FROM:<"', b"RCPT TO:<@:>", b"DATA\n.", b"a\r.\rb",
]  # fmt: skip
POP3_LINES = [
    b"USER joe", b"PASS secret", b"PASS wrong", b"STAT", b"LIST", b"LIST 1", b"UIDL", b"UIDL 2", b"RETR 1",
    b"RETR 2", b"TOP 1 1", b"TOP 2 0", b"DELE 1", b"DELE 2", b"RSET", b"NOOP", b"QUIT", b"CAPA", b"AUTH",
    b"AUTH PLAIN", b"*", b"AGpvZQBzZWNyZXQ=", b"AUTH PLAIN AGpvZQBzZWNyZXQ=", b"AUTH LOGIN", b"=", b"",
    b"\xff", b"RETR 999999999999", b"x" * 600, b"STLS", b"\x00\x00", b"LIST -1", b"TOP 1 " + b"9" * 30,
]  # fmt: skip
LMTP_STARTS = [
    b"", b"LHLO x\r\n", b"LHLO x\r\nMAIL FROM:<a@b>\r\n",
    b"LHLO x\r\nAUTH PLAIN AHJlbGF5AHNlY3JldA==\r\nMAIL FROM:<a@b>\r\n",
]  # fmt: skip
POP3_STARTS = [b"", b"USER joe\r\nPASS secret\r\n"]


class FaultLog(Log):
    """Keeps what should never be there."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.faults: list[str] = []

    def exception(self, event: str, error: BaseException, **pairs: object) -> None:
        self.faults.append(f"{event}: {error!r}")


def scripts(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    """Commands in any order, with noise between and within."""
    ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
    line = st.one_of(st.sampled_from(lines), st.sampled_from(lines), st.binary(max_size=40))
    return st.lists(st.tuples(line, ends), max_size=25).map(lambda pairs: b"".join(a + b for a, b in pairs))


def talk(make: Any, script: bytes, cut: int, before: bytes, trusted: bool = True) -> tuple[bytes, MailHost]:
    with tempfile.TemporaryDirectory() as root:
        host = MailHost(Path(root), admin_users=("relay",))
        for name in ("joe", "ann", "relay"):
            host.add(name)
        mailbox = host.account("joe").open("INBOX")
        append(mailbox, [NewMessage(MESSAGE, 1), NewMessage(MESSAGE, 2)])
        mailbox.release()
        log = FaultLog()
        chance = random.Random(cut)
        data, pieces = before + script, []
        while data:
            size = chance.randint(1, 200)
            pieces.append(data[:size])
            data = data[size:]
        transport = ScriptedTransport(pieces)
        make(Stream(transport), host.service(log=log, trusted=trusted)).run()
        assert log.faults == []
        host.account("joe").pop3_lock().release()
        host.close()
        return transport.said, host


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "sleep", lambda seconds: None)


CHECKS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@CHECKS
@given(scripts(LMTP_LINES), st.integers(0, 5), st.sampled_from(LMTP_STARTS), st.booleans())
def test_lmtp_answers_anything_legally(script: bytes, cut: int, before: bytes, trusted: bool) -> None:
    said, _ = talk(Lmtp, script, cut, before, trusted)
    assert said.endswith(b"\r\n")
    for line in said.split(b"\r\n")[:-1]:
        assert len(line) <= 510
        assert re.fullmatch(rb"(220 |250[ -]|354 |334 |[245][0-9][0-9] [245]\.[0-9]\.[0-9] )[ -~]*", line), (
            line
        )
        status = re.match(rb"([245])[0-9][0-9] ([245])\.[0-9]\.", line)
        assert status is None or status[1] == status[2]


@CHECKS
@given(scripts(POP3_LINES), st.integers(0, 5), st.sampled_from(POP3_STARTS))
def test_pop3_answers_anything_legally(script: bytes, cut: int, before: bytes) -> None:
    said, _ = talk(Pop3, script, cut, before)
    assert said.endswith(b"\r\n")
    assert said.startswith(b"+OK ")
    for line in said.split(b"\r\n")[:-1]:
        assert len(line) <= 510
