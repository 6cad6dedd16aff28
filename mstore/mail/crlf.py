"""Line ends on the way in: a bare LF becomes CRLF, so that every stored line ends the same way.

A bare CR is left alone: it ends no line in any of our parsers, some senders use it inside lines, and changing
it would break signatures over a message that arrived whole. CR CR LF is a line that ends with a CR.
"""

import numpy as np

_FEW_BYTES = 4096
"""In so little, counting is quicker than vectors."""
_PIECE_BYTES = 32 << 10
"""Vectors so long are made in memory that was used before; larger ones cost a page fault for each page."""


class LineEnds:
    """Normalises a stream, in chunks cut anywhere; memory is bounded by a chunk."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        self._after_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """The chunk with its bare LFs made CRLF; a chunk without any is returned as it is."""
        if not chunk:
            return chunk
        head = b""
        if self._after_cr and chunk.startswith(b"\n"):
            head, chunk = b"\n", chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        fixed = normalise(chunk)
        return head + fixed if head else fixed


def normalise(data: bytes) -> bytes:
    """``data`` with each bare LF made CRLF; the same object when there is none."""
    if not has_bare_lf(data):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def has_bare_lf(data: bytes, after_cr: bool = False) -> bool:
    """Whether an LF in ``data`` has no CR before it; ``after_cr``: the byte before ``data`` is a CR."""
    if len(data) <= _FEW_BYTES:
        return data.count(b"\n") - data.count(b"\r\n") > (after_cr and data.startswith(b"\n"))
    if data.startswith(b"\n") and not after_cr:
        return True
    found = np.frombuffer(data, np.uint8)
    for at in range(0, len(found) - 1, _PIECE_BYTES):
        piece = found[at : at + _PIECE_BYTES + 1]
        is_lf, is_cr = piece == 10, piece == 13
        if np.count_nonzero(is_lf[1:] > is_cr[:-1]):
            return True
    return False
