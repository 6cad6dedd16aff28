"""A connection whose both directions are compressed by DEFLATE (RFC 1951, as RFC 4978 has it).

Stands between a stream and its socket. Whatever is sent goes out whole at once: every piece ends with a
flush, so a peer never waits for bytes that are kept back here. What is received is expanded no further than
is asked for, and what one peer may make of few bytes has a limit.
"""

from __future__ import annotations

import zlib
from typing import Any

from mstore.base import blocking

LEVEL = 2
WINDOW_BITS = -13
"""Raw DEFLATE. With ``MEMORY_LEVEL`` it makes 64 KB for a connection; a larger window saves little here."""
MEMORY_LEVEL = 6
TURN_BYTES = 1 << 20
"""So much is expanded without waiting for the peer before others get their turn."""
RATIO = 200
SURPLUS_BYTES = 256 << 20
"""So much may come beyond ``RATIO`` times what was received: a large message of one letter, not more."""


class Deflated:
    """A socket's compressed face; everything else is the socket's own."""

    __slots__ = ("_deflate", "_inflate", "_is_full", "_received", "_socket", "_surplus", "_turn")

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._received = b""
        self._is_full = False
        """The last piece was as long as was asked for: there may be more without anything being received."""
        self._surplus = 0
        self._turn = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def pending(self) -> bool:
        """Whether something has come that has not been expanded, or not been read by TLS."""
        below = getattr(self._socket, "pending", None)
        return bool(self._received or self._is_full or (below is not None and below()))

    def sendall(self, data: bytes) -> None:
        """Send all of it, in such a way that the peer can read it all.

        Raises: TimeoutError, OSError.
        """
        self._socket.sendall(self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH))

    def recv(self, size: int) -> bytes:
        """What has come, expanded; nothing at the end of input, also where the peer ends its compression.

        Raises: TimeoutError; OSError, also for what is not compressed or expands too far.
        """
        while True:
            if not self._received and not self._is_full:
                if self._inflate.eof:
                    return b""
                self._received = self._socket.recv(size)
                if not self._received:
                    return b""
                self._turn = 0
            data = self._expand(size)
            if data:
                return data

    def _expand(self, size: int) -> bytes:
        """At most so many bytes of what was received."""
        before = len(self._received)
        try:
            data = self._inflate.decompress(self._received, size)
        except zlib.error as error:
            raise OSError(f"the peer does not send what it says is compressed: {error}") from None
        self._received = self._inflate.unconsumed_tail
        self._is_full = len(data) == size
        self._surplus = max(0, self._surplus + len(data) - RATIO * (before - len(self._received)))
        if self._surplus > SURPLUS_BYTES:
            raise OSError("the peer's data expands too far")
        self._turn += len(data)
        if self._turn > TURN_BYTES:
            self._turn = 0
            blocking.breathe()
        return data
