"""A connection whose client has said everything beforehand: for dialogues that need no reading in between.

``converse`` runs a whole session in the calling thread, with the input cut as asked (``WHOLE``, by line, by
byte, at random), and returns everything the server said.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Protocol

from mstore.net.service import Service
from mstore.net.stream import Stream


class RunsSession(Protocol):
    """A session of any of the protocols."""

    def run(self) -> None: ...


def whole(data: bytes) -> list[bytes]:
    """In one piece."""
    return [data] if data else []


def by_line(data: bytes) -> list[bytes]:
    """Each line on its own."""
    return data.splitlines(keepends=True)


def by_byte(data: bytes) -> list[bytes]:
    """Each byte on its own."""
    return [data[i : i + 1] for i in range(len(data))]


def at_random(data: bytes) -> list[bytes]:
    """In pieces of 1 to 40 bytes, the same each time."""
    chance = random.Random(len(data))
    pieces = []
    while data:
        size = chance.randint(1, 40)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


CUTS: tuple[Callable[[bytes], list[bytes]], ...] = (whole, by_line, by_byte, at_random)


class ScriptedTransport:
    """Gives the prepared pieces, then the end of input; keeps what was sent, one entry for each call."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)
        self.sent: list[bytes] = []
        self.timeouts: list[float | None] = []
        self.closed = False

    def recv(self, size: int, /) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def sendall(self, data: bytes | memoryview, /) -> None:
        self.sent.append(bytes(data))

    def settimeout(self, seconds: float | None, /) -> None:
        self.timeouts.append(seconds)

    def close(self) -> None:
        self.closed = True

    @property
    def said(self) -> bytes:
        """Everything that the server said."""
        return b"".join(self.sent)


def converse(
    make: Callable[[Stream, Service], RunsSession],
    service: Service,
    script: bytes,
    cut: Callable[[bytes], list[bytes]] = whole,
) -> bytes:
    """Let a session answer a script, up to the end of its input."""
    transport = ScriptedTransport(cut(script))
    make(Stream(transport), service).run()
    return transport.said
