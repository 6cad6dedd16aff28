"""The content of a message on its way in: from the connection, through its checks, into a spool.

Two steps that know nothing of each other. ``read_content`` takes the bytes after ``DATA`` off the stream,
finds the end, and undoes dot-stuffing; only ``CRLF.CRLF`` ends a message, never a bare line feed (which is
how one message is smuggled in behind another). ``Content`` normalises line ends, inspects the header, puts
the trace fields in front, and fills the spool. After a failure it takes the rest and drops it, so that the
conversation stays in step, and remembers what went wrong.

No Python statement runs per line: searching, counting and replacing are done by the methods of ``bytes``.
"""

from __future__ import annotations

import re
from typing import Protocol

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.files.spool import Spool
from mstore.mail.crlf import LineEnds
from mstore.net.stream import Disconnected

HEADER_LIMIT_BYTES = 1 << 20

_END = b"\r\n.\r\n"
_RETURN_PATH = re.compile(rb"^return-path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.I | re.M)
_STRIPPED = bytes(
    b if b < 0x80 else (b & 0x7F if 0x20 <= b & 0x7F <= 0x7E else ord("?")) for b in range(256)
)
"""Takes the high bit off; what would become a control character (a line end, even) becomes "?" instead."""


class BadContent(MStoreError):
    """The message breaks a rule of the site or of the format (554 5.6.0)."""


class Source(Protocol):
    """What is needed of a stream here."""

    def read_some(self, limit: int = 65536) -> bytes: ...
    def unread(self, data: bytes) -> None: ...


class Sink(Protocol):
    """Takes the content in pieces, cut anywhere."""

    def feed(self, data: bytes) -> None: ...


def read_content(source: Source, sink: Sink) -> None:
    """Hand the content on in pieces, dots unstuffed, up to its end; what follows it stays in the stream.

    RFC 5321 §4.5.2; the line end before the first line is the one of the DATA command itself.
    Raises: Disconnected when the connection ends first; what TimedOut the stream raises.
    """
    held = b"\r\n"
    first = True
    while True:
        blocking.breathe()
        arrived = source.read_some()
        if not arrived:
            raise Disconnected("connection lost within a message")
        data = held + arrived
        end = data.find(_END)
        if end >= 0:
            source.unread(data[end + 5 :])
            data = data[: end + 2]
        else:
            # What may be the beginning of the end, or of a stuffed dot, or half of a line end, waits.
            cut = len(data) - _overhang(data)
            held = data[cut:]
            data = data[:cut]
        if data:
            data = data.replace(b"\r\n.", b"\r\n")
            sink.feed(data[2:] if first else data)
            first = False
        if end >= 0:
            return


def _overhang(data: bytes) -> int:
    """Length of the longest end of the data with which ``CRLF.CRLF`` could begin."""
    tail = data[-4:]
    for length in (4, 3, 2, 1):
        if tail.endswith(_END[:length]):
            return length
    return 0


class Content:
    """Fills a spool with the message as it will be stored: trace fields, header, body, CRLF line ends."""

    __slots__ = ("_allow_8bit", "_head", "_in_header", "_line_ends", "_spool", "_trace", "problem")

    def __init__(self, spool: Spool, trace: bytes, allow_8bit: bool) -> None:
        self.problem: MStoreError | None = None
        self._spool = spool
        self._trace = trace
        self._allow_8bit = allow_8bit
        self._head = bytearray()
        self._in_header = True
        self._line_ends = LineEnds()

    def feed(self, data: bytes) -> None:
        """Take the next piece; never raises, see ``problem``."""
        if self.problem is not None:
            return
        try:
            self._take(self._line_ends.feed(data))
        except MStoreError as error:
            self.problem = error
            self._head.clear()

    def finish(self) -> None:
        """The message is complete: a header that was not ended by an empty line is all there is."""
        if self.problem is None and self._in_header:
            try:
                self._take_header(bytes(self._head))
            except MStoreError as error:
                self.problem = error

    def _take(self, data: bytes) -> None:
        if not self._in_header:
            self._spool.append(data)
            return
        head = self._head
        known = max(len(head) - 3, 0)
        head += data
        if head.startswith(b"\r\n"):
            end = 0
        else:
            blank = head.find(b"\r\n\r\n", known)
            end = blank + 2 if blank >= 0 else -1
        if end < 0:
            if len(head) > HEADER_LIMIT_BYTES:
                raise BadContent(f"header is larger than {HEADER_LIMIT_BYTES} bytes")
            return
        self._take_header(bytes(head[:end]))
        self._spool.append(bytes(head[end:]))
        head.clear()

    def _take_header(self, header: bytes) -> None:
        """Check the header, and put it behind the trace fields.

        A Return-Path of the sender's is replaced by ours (RFC 5321 §4.4 "exactly one such line appears").
        """
        if len(header) > HEADER_LIMIT_BYTES:
            raise BadContent(f"header is larger than {HEADER_LIMIT_BYTES} bytes")
        if not header.isascii():
            if not self._allow_8bit:
                raise BadContent("header holds characters that are not ASCII")
            header = header.translate(_STRIPPED)
        if b"\nreturn-path" in b"\n" + header.lower():
            header = _RETURN_PATH.sub(b"", header)
        self._in_header = False
        self._spool.append(self._trace + header)
