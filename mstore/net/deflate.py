"""A connection whose both directions are compressed by DEFLATE (RFC 1951, as RFC 4978 has it).

Stands between a stream and its socket. Whatever is sent goes out whole at once: every piece ends with a
flush, so a peer never waits for bytes that are kept back here. What is received is expanded no further than
is asked for, and what one peer may make of few bytes has a limit. Bytes behind a flush are not looked at
before what stands before it has been read: the peer may have ended its compression there (RFC 8437 §4.1).
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
PIECE_COST = 256
"""What a piece counts for in that, as small as it may be."""
FLUSHED = b"\0\0\xff\xff"
"""How every flush ends; it may occur elsewhere, too."""
LAST_BLOCK = (1, 3)
"""How an empty last block may begin, as some send it to end their compression; no command begins so."""
RATIO = 200
SURPLUS_BYTES = 256 << 20
"""So much may come beyond ``RATIO`` times what was received: a large message of one letter, not more."""


class Deflated:
    """A socket's compressed face; everything else is the socket's own."""

    __slots__ = (
        "_at",
        "_behind",
        "_deflate",
        "_ends",
        "_inflate",
        "_is_flushed",
        "_is_full",
        "_is_plain",
        "_received",
        "_surplus",
        "_tail",
        "_turn",
        "inner",
    )

    def __init__(self, socket: Any) -> None:
        self.inner = socket
        """As it is without compression."""
        self._behind, self._at = b"", 0
        """What has come, and how far it has been given to the expansion."""
        self._surplus = 0
        self._turn = 0
        self.begin()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def begin(self) -> None:
        """Compress from now on, and take what comes for compressed."""
        self._deflate: Any = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._received = self._tail = b""
        self._is_full = False
        """The last piece was as long as was asked for: there may be more without anything being received."""
        self._is_flushed = False
        """All that was given to the expansion ends with a flush."""
        self._ends = self._is_plain = False

    def end(self) -> None:
        """Compress nothing behind the next piece sent; what comes is compressed up to where the peer ends."""
        self._ends = True

    def pending(self) -> bool:
        """Whether something has come that has not been expanded, or not been read by TLS."""
        below = getattr(self._socket, "pending", None)
        return bool(self._received or self._is_full or (below is not None and below()))

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of it, in such a way that the peer can read it all.

        Raises: TimeoutError, OSError.
        """
        if self._deflate is None:
            self.inner.sendall(data)
            return
        how = zlib.Z_FINISH if self._ends else zlib.Z_SYNC_FLUSH
        data = self._deflate.compress(data) + self._deflate.flush(how)
        if self._ends:
            self._deflate = None
        self.inner.sendall(data)

    def recv(self, size: int) -> bytes:
        """What has come, expanded; nothing at the end of input, also where the peer ends its compression.

        Raises: TimeoutError; OSError, also for what is not compressed or expands too far.
        """
        if self._ends:
            return self._receive_plain(size)
        while True:
            if not self._received and not self._is_full:
                if self._inflate.eof or not self._receive(size):
                    return b""
                self._received = self._take_piece()
            data = self._expand(size)
            if data:
                return data

    def _receive(self, size: int) -> bool:
        """Have something that came; whether there is any."""
        if self._at >= len(self._behind):
            self._behind, self._at = self.inner.recv(size), 0
            self._turn = 0
        return bool(self._behind)

    def _take_piece(self) -> bytes:
        """What came, up to the end of a flush."""
        data, at, tail = self._behind, self._at, self._tail
        # It may have begun with what came before.
        begun = (tail + data[at : at + len(FLUSHED) - 1]).find(FLUSHED)
        found = at - len(tail) + begun if begun >= 0 else data.find(FLUSHED, at)
        self._is_flushed = begun >= 0 or found >= 0
        piece = data[at : found + len(FLUSHED)] if self._is_flushed else data[at:]
        self._at = at + len(piece)
        self._tail = (tail + piece[-len(FLUSHED) + 1 :])[-len(FLUSHED) + 1 :]
        return piece

    def _receive_plain(self, size: int) -> bytes:
        """What comes behind the end of the peer's compression."""
        while not self._is_plain:
            if self._inflate.eof:
                self._at -= len(self._inflate.unused_data)
                self._is_plain = True
            elif self._received or self._is_full:
                if self._expand(size):
                    raise OSError("the peer compresses more than it may")
            elif not self._receive(size):
                return b""
            elif self._is_flushed and self._behind[self._at] not in LAST_BLOCK:
                self._is_plain = True
            else:
                self._received = self._take_piece()
        if not self._receive(size):
            return b""
        data = self._behind[self._at : self._at + size]
        self._at += len(data)
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
        self._turn += len(data) + PIECE_COST
        if self._turn > TURN_BYTES:
            self._turn = 0
            blocking.breathe()
        return data
