"""The content of a message taken off the connection: what comes behind DATA, and the chunks of BDAT.

``read_content`` finds the end and undoes dot-stuffing; only ``CRLF.CRLF`` ends a message, never a bare line
feed (which is how one message is smuggled in behind another). ``read_chunk`` counts. Where it goes is a
``content.Content``.

No Python statement runs per line: searching, counting and replacing are done by the methods of ``bytes``.
"""

from __future__ import annotations

from typing import Protocol

from mstore.base import blocking
from mstore.net.stream import Disconnected

_END = b"\r\n.\r\n"
_CHUNK_BYTES = 64 << 10


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


def read_chunk(source: Source, sink: Sink | None, size_bytes: int) -> None:
    """Hand on a chunk of a message as it is, or drop it where nobody wants it (RFC 3030 §2).

    Raises: Disconnected when the connection ends first; what TimedOut the stream raises.
    """
    while size_bytes:
        blocking.breathe()
        arrived = source.read_some(min(size_bytes, _CHUNK_BYTES))
        if not arrived:
            raise Disconnected("connection lost within a message")
        if len(arrived) > size_bytes:
            source.unread(arrived[size_bytes:])
            arrived = arrived[:size_bytes]
        size_bytes -= len(arrived)
        if sink is not None:
            sink.feed(arrived)
