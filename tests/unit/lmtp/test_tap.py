"""Traces of deliveries: from the acceptance of the recipient to the end of the transaction."""

from __future__ import annotations

from mstore.lmtp.session import Session
from mstore.lmtp.tap import LmtpTap
from mstore.net.stream import Stream
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport
from tests.kit.watching import Watching


def trace(host: MailHost, data: bytes) -> list[str]:
    watching = Watching(LmtpTap)
    Session(Stream(ScriptedTransport([data])), host.service(trusted=True, follower=watching)).run()
    return watching.lines()


def test_a_delivery_is_shown_and_those_to_others_are_not(host: MailHost) -> None:
    message = b"Subject: x\r\n\r\nHello\r\n.\r\n"
    one = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<%b>\r\nDATA\r\n" + message
    lines = trace(host, b"LHLO c\r\n" + one % b"ann" + one % b"joe" + one % b"ann" + b"QUIT\r\n")
    assert lines == [
        "-- a message from <a@b.example> for <joe>",
        "S: 250 2.1.5 <joe> recipient OK",
        "C: DATA",
        "S: 354 send the message, end with a line of one dot",
        f"C: ({len(message)}) 'Subject: x'",
        "S: 250 2.1.5 <joe> delivered",
        "-- transaction ended",
    ]


def test_chunks_are_contents_and_a_reset_ends_it(host: MailHost) -> None:
    begin = b"LHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<joe>\r\n"
    lines = trace(host, begin + b"BDAT 5\r\nSubjeNONSENSE secret\r\nRSET\r\nNOOP\r\n")
    assert lines[2:4] == ["C: BDAT 5", "C: (5) 'Subje'"]
    assert "C: ***" in lines and lines[-2:] == ["C: RSET", "-- transaction ended"]
