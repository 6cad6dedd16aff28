"""What a client asks of all messages to show a list, or to decide what it will fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.clients import WrongAnswer
from bench.lines import large
from bench.lines.large import FirstAndAgain, Work


class EnvelopeSweep(FirstAndAgain):
    """What a web mailer asks for: flags, dates, sizes and envelopes of everything."""

    name = "envelope"
    title = "UID FETCH 1:50000 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"

    def works(self) -> Iterator[Work]:
        command = b"UID FETCH 1:%d (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)" % self.scale.messages
        yield Work(
            "", command, _holds(self.scale.messages, b"ENVELOPE (", b'.2000@bench.example>")'), 120, 120
        )


class HeaderSweep(FirstAndAgain):
    """What a phone asks for: five fields of every header."""

    name = "headers"
    title = "UID FETCH 1:50000 of 5 header fields"

    def works(self) -> Iterator[Work]:
        fields = b"FROM TO SUBJECT DATE MESSAGE-ID"
        command = b"UID FETCH 1:%d (BODY.PEEK[HEADER.FIELDS (%s)])" % (self.scale.messages, fields)
        marks = (b"\nFrom: ", b"\nTo: ", b"\nSubject: ", b"\nDate: ", b"\nMessage-ID: <")
        yield Work("", command, _holds(self.scale.messages, *marks), 120, 120)


class BodyStructure(FirstAndAgain):
    """What a client asks for that fetches texts without what is attached."""

    name = "structure"
    title = "BODYSTRUCTURE of 2,000"

    def works(self) -> Iterator[Work]:
        count = large.texts(self.scale)
        command = b"FETCH 1:%d (BODYSTRUCTURE)" % count
        yield Work("", command, _holds(count, b"BODYSTRUCTURE (", b'"boundary" '), 4, 4, large.TEXT)


def _holds(count: int, *marks: bytes) -> Callable[[bytes], None]:
    """Each of the marks must be there so many times, in whatever case."""

    def check(answer: bytes) -> None:
        lowered = answer.lower()
        for mark in marks:
            if (found := lowered.count(mark.lower())) != count:
                raise WrongAnswer(f"{found} times {mark!r} instead of {count}, the first {answer[:400]!r}")

    return check
