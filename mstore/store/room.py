"""Memory for one stretch of a file after the other, in a piece that the process keeps.

New memory costs a page fault for each page, which is as much as reading into it: so one piece is kept for the
next who needs it. Several sessions may be at it at once, each with a piece of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

PIECE_BYTES = 1 << 20
_LITTLE_BYTES = 128 << 10


class Spare:
    """One piece of memory of a size, kept for the next who needs it; whoever comes meanwhile has a new one.

    Threads may share it.
    """

    __slots__ = ("_kept", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[memoryview] = []

    def take(self) -> memoryview:
        """A piece, with anything in it."""
        try:
            return self._kept.pop()
        except IndexError:
            return memoryview(bytearray(self._size))

    def give_back(self, piece: memoryview) -> None:
        """Whoever took it needs it no more; one of another size is not kept."""
        if len(piece) == self._size:
            self._kept[:] = [piece]


_PIECE = Spare(PIECE_BYTES)


class Room:
    """Memory to be written over again and again; nobody else's until the end of the block."""

    __slots__ = ("piece",)

    def __init__(self, piece: memoryview) -> None:
        self.piece = piece

    def take(self, size: int) -> memoryview:
        """So many bytes, with anything in them: valid until the next are taken."""
        if len(self.piece) < size:
            self.piece = memoryview(bytearray(size))
        return self.piece[:size]


@contextmanager
def room(size: int) -> Iterator[Room]:
    """Room for stretches that have about that size together."""
    if size <= _LITTLE_BYTES:
        yield Room(memoryview(b""))
        return
    own = Room(_PIECE.take())
    try:
        yield own
    finally:
        _PIECE.give_back(own.piece)
