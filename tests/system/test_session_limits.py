"""What one session may ask for, by ms.conf, in real daemons: how fast, how long, and how slow to read."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from bench.clients import Line
from tests.kit.clients import WrongAnswer
from tests.kit.instance import PASSWORD, Instance, wait_for

OPTIONS = (
    "imapd-commands-per-second 10", "pop3d-commands-per-second 10", "lmtpd-commands-per-second 10",
    "imapd-line-limit 8K", "imapd-literals-limit 64K", "send-timeout 10s",
)  # fmt: skip
LARGE = b"Subject: large\r\n\r\n" + b"x" * 76 * 1000 + b"\r\n"


def took(client: Line, command: bytes, answer: bytes, times: int) -> float:
    """Seconds for a command that is sent so many times at once."""
    began = time.monotonic()
    client.send(command * times)
    for _ in range(times):
        line = client.line()
        assert line.startswith(answer), line
    return time.monotonic() - began


def test_sessions_keep_to_their_limits_and_lose_nothing(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann"], OPTIONS, workers=1)
    store.start()
    for _ in range(3):
        store.deliver("joe", LARGE)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(60)
    deaf.connect(store.imap_address)
    asked = b"".join(b"f%d FETCH 1:3 (BODY.PEEK[])\r\n" % number for number in range(40))
    deaf.sendall(b"a LOGIN joe %b\r\nb SELECT INBOX\r\n" % PASSWORD.encode() + asked)

    imap, pop3, lmtp = store.imap("ann"), store.pop3("ann"), store.lmtp()
    assert took(imap, b"n NOOP\r\n", b"n OK", 25) > 1, "ten at once and ten a second"
    assert took(pop3, b"NOOP\r\n", b"+OK", 25) > 1
    assert took(lmtp, b"NOOP\r\n", b"250 ", 25) > 1
    for _ in range(9):
        lmtp.deliver(["ann"], b"Subject: x\r\n\r\nx\r\n")
    with pytest.raises(WrongAnswer, match="BAD"):
        imap.command(b"SEARCH SUBJECT " + b"x" * 9000)
    with pytest.raises(WrongAnswer, match="BAD"):
        imap.command(b"SEARCH SUBJECT {70000+}\r\n" + b"x" * 70_000)
    assert imap.select() == 9
    wait_for(
        lambda: "event=session-stalled" in store.log_text(), 60, lambda: "who takes nothing is not ended"
    )
    text = store.log_text()
    assert text.count("event=session-slowed") >= 3 and "event=session-stalled daemon=imapd" in text
    for client in (imap, pop3, lmtp):
        client.close()
    deaf.close()
    store.stop()
    store.assert_sound()
