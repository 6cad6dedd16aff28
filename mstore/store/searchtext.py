"""Whether a text occurs in a message as a person reads it: encodings, charsets and encoded words undone.

What is searched of a message: its header, the headers of its parts, and the bodies of its text parts, each
on its own; of a message within, the same. Bodies of other parts, and what lies outside any part, are not
text. Comparison is by ``i;unicode-casemap``, of substrings, exactly. Plain ASCII, which most mail is, is
never decoded; a part of any size is read in pieces, so memory stays bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from mstore.mail.casemap import casemap
from mstore.mail.decode import decode_base64, decode_quoted_printable, decode_text, decode_words
from mstore.mail.header import HEADER_LIMIT_BYTES, unfold
from mstore.mail.parts import BASE64, MESSAGE, MULTIPART, QUOTED_PRINTABLE, TEXT, PartOffsets, decode_parts

PIECE_BYTES = 1 << 20
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
# Charsets in which bytes below 128 are ASCII and nothing else.
_ASCII_BASED = re.compile(
    rb"(?:|us-ascii|ascii|utf-?8|(?:x-)?iso-8859-\d+|windows-\d+|cp125\d|koi8-[ru]|gb2312|gbk|gb18030|big5"
    rb"|euc-(?:jp|kr|tw))",
    re.IGNORECASE,
).fullmatch


class Reader(Protocol):
    """How the bytes of one message are read."""

    def __call__(self, offset: int, length: int) -> bytes: ...


class Needle:
    """A case-mapped text to look for, with its ASCII form where it has one."""

    __slots__ = ("ascii", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.ascii = text.encode("ascii") if text.isascii() else None

    def in_ascii(self, data: bytes) -> bool:
        """Whether it occurs in ASCII text of any case."""
        return self.ascii is not None and self.ascii in data.upper()


def field_pattern(name: bytes) -> re.Pattern[bytes]:
    """Finds a field in a header that a line end was put in front of; group 1 is the raw value."""
    return re.compile(rb"\n(?i:" + re.escape(name) + rb")[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)")


def header_matcher(name: bytes, text: str) -> Callable[[bytes], bool]:
    """A test of whole headers: has a field of this name a decoded value with the case-mapped text in it?"""
    pattern = field_pattern(name)
    if not text:
        return lambda header: pattern.search(b"\n" + header) is not None
    needle = Needle(text)
    find_all = pattern.findall
    # A word of the text stands in an ASCII header as it is; folding, which may cut the text, cuts no word.
    word = max(needle.ascii.split(), key=len, default=b"") if needle.ascii is not None else b""

    def matches(header: bytes) -> bool:
        plain = b"=?" not in header and header.isascii()
        if plain and (needle.ascii is None or word not in header.upper()):
            return False
        return any(_in_value(needle, value) for value in find_all(b"\n" + header))

    return matches


def _in_value(needle: Needle, value: bytes) -> bool:
    return _in_header_text(needle, unfold(value))


def in_header(needle: Needle, header: bytes) -> bool:
    """Whether a text occurs in a header: in a name, in a decoded value, or across both."""
    return _in_header_text(needle, _FOLD.sub(b"", header[:HEADER_LIMIT_BYTES]))


def _in_header_text(needle: Needle, text: bytes) -> bool:
    if b"=?" not in text and text.isascii():
        return needle.in_ascii(text)
    return needle.text in casemap(decode_words(text))


class Message:
    """One message, searched for texts; a small one is read once, of a large one only what is looked at."""

    def __init__(self, size: int, parts: bytes, read: Reader) -> None:
        self._root = decode_parts(parts)
        self._whole = read(0, size) if size <= PIECE_BYTES else None
        self._read_more = read

    def contains(self, needle: Needle, with_header: bool) -> bool:
        """Whether the text is in the body, or in body or header."""
        root = self._root
        if with_header and in_header(needle, self._read(root.header_start, root.body_start)):
            return True
        return self._in_body(needle, root)

    def _read(self, start: int, end: int) -> bytes:
        if self._whole is not None:
            return self._whole[start:end]
        return self._read_more(start, end - start)

    def _in_body(self, needle: Needle, root: PartOffsets) -> bool:
        """Search the bodies of a part and all below it; no recursion, parts nest deep."""
        waiting = [root]
        while waiting:
            part = waiting.pop()
            if part.kind == TEXT:
                if self._in_text(needle, part):
                    return True
                continue
            if part.kind not in (MULTIPART, MESSAGE):
                continue
            children = [part.child(number) for number in range(1, part.child_count + 1)]
            for child in children:
                length = min(child.body_start - child.header_start, HEADER_LIMIT_BYTES)
                if length and in_header(needle, self._read(child.header_start, child.header_start + length)):
                    return True
            waiting += reversed(children)
        return False

    def _in_text(self, needle: Needle, part: PartOffsets) -> bool:
        if part.end - part.body_start <= PIECE_BYTES:
            return _in_decoded(needle, self._read(part.body_start, part.end), part)
        overlap = len(needle.text) - 1
        before = ""
        for piece in self._pieces(part):
            text = before + casemap(_decode(piece, part))
            if needle.text in text:
                return True
            before = text[-overlap:] if overlap else ""
        return False

    def _pieces(self, part: PartOffsets) -> Iterator[bytes]:
        """A large body in pieces that end with a line, or where a line is longer than a piece, anywhere."""
        start = part.body_start
        while start < part.end:
            piece = self._read(start, min(start + PIECE_BYTES, part.end))
            if not piece:
                return
            if start + len(piece) < part.end:
                piece = piece[: piece.rfind(b"\n") + 1] or piece
            start += len(piece)
            yield piece


def _transfer_decode(data: bytes, part: PartOffsets) -> bytes:
    if part.encoding == BASE64:
        return decode_base64(data)
    if part.encoding == QUOTED_PRINTABLE:
        return decode_quoted_printable(data)
    return data


def _decode(data: bytes, part: PartOffsets) -> str:
    return decode_text(_transfer_decode(data, part), part.charset)


def _in_decoded(needle: Needle, data: bytes, part: PartOffsets) -> bool:
    data = _transfer_decode(data, part)
    if data.isascii() and _ASCII_BASED(part.charset):
        return needle.in_ascii(data)
    return needle.text in casemap(decode_text(data, part.charset))
