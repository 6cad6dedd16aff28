"""Line ends on the way in: a bare LF becomes CRLF, so that every stored line ends the same way.

A bare CR is left alone: it ends no line in any of our parsers, some senders use it inside lines, and changing
it would break signatures over a message that arrived whole. CR CR LF is a line that ends with a CR.
"""


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
    if data.count(b"\n") == data.count(b"\r\n"):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
