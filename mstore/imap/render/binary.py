"""BINARY and BINARY.SIZE: body parts without their transfer encoding (RFC 3516 §4.2, §4.3).

A large part is decoded twice, once to know its size and once to be sent, so that it is never in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from mstore.base.errors import UnknownEncoding
from mstore.imap.grammar.fetchitems import FetchItem, Section, format_item
from mstore.mail.parts import IDENTITY, MULTIPART, TEXT, UNKNOWN, PartOffsets, find_part
from mstore.mail.transfer import decode_pieces

SMALL_BYTES = 256 << 10
Pieces = Callable[[int, int], Iterable[bytes]]
"""A stretch of a message, in pieces: where from, and how many bytes."""


class Rendered(NamedTuple):
    """A value as it stands in the response; of a large one the rest comes in pieces."""

    text: bytes
    size_bytes: int = 0
    rest: Iterable[bytes] = ()


class BinaryItem:
    """One item that sends a decoded part, or its size, compiled for many messages."""

    fields = None
    needs_parts = True
    is_header = False

    def __init__(self, item: FetchItem, section: Section) -> None:
        self.label = format_item(item)
        self._path = section.part
        self._is_size = item.name == b"BINARY.SIZE[]"
        self._partial = item.partial

    def render(self, root: PartOffsets, pieces: Pieces) -> Rendered:
        """The value for a message of these parts.

        Raises: UnknownEncoding.
        """
        part = find_part(root, self._path)
        if part is None:
            return Rendered(b"0" if self._is_size else b"NIL")
        if not self._path:
            start, encoding, is_text = part.header_start, IDENTITY, False
        else:
            # RFC 2045 §6.4: what a multipart says of an encoding is not so.
            encoding = IDENTITY if part.kind == MULTIPART else part.encoding
            start, is_text = part.body_start, part.kind == TEXT
        if encoding == UNKNOWN:
            raise UnknownEncoding("the encoding of the part is not known")

        def decoded() -> Iterable[bytes]:
            return decode_pieces(pieces(start, part.end - start), encoding)

        if part.end - start <= SMALL_BYTES:
            once = b"".join(decoded())
            whole = b"".join(self._cut(_line_ends((once,), is_text and b"\r" not in once)))
            return Rendered(
                b"%d" % len(whole) if self._is_size else self._head(len(whole), b"\0" in whole) + whole
            )
        # Stored lines end in CRLF: only what is in an encoding can end its lines otherwise.
        is_bare = is_text and encoding != IDENTITY and not any(b"\r" in piece for piece in decoded())
        size, has_nul = 0, False
        for piece in self._cut(_line_ends(decoded(), is_bare)):
            size += len(piece)
            has_nul = has_nul or b"\0" in piece
        if self._is_size:
            return Rendered(b"%d" % size)
        return Rendered(self._head(size, has_nul), size, self._cut(_line_ends(decoded(), is_bare)))

    @staticmethod
    def _head(size: int, has_nul: bool) -> bytes:
        return b"~{%d}\r\n" % size if has_nul else b"{%d}\r\n" % size

    def _cut(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The range that the partial asks for, truncated to what is there."""
        if self._partial is None:
            yield from pieces
            return
        origin, length = self._partial
        for piece in pieces:
            taken = piece[origin : origin + length]
            origin = max(origin - len(piece), 0)
            length -= len(taken)
            if taken:
                yield taken
            if not length:
                return


def _line_ends(pieces: Iterable[bytes], is_bare: bool) -> Iterable[bytes]:
    """A decoded part as it is sent: a text whose lines all end in a bare LF gets CRLF (RFC 3516 §6).

    A text that has a CR anywhere keeps to no such convention, and is sent as its sender wrote it.
    """
    return (piece.replace(b"\n", b"\r\n") for piece in pieces) if is_bare else pieces
