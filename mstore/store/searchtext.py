"""Whether a text occurs in a message as a person reads it: encodings, charsets and encoded words undone.

What is searched of a message: its header, the headers of its parts, and the bodies of its text parts, each
on its own; of a message within, the same. Bodies of other parts, and what lies outside any part, are not
text. Comparison is by ``i;unicode-casemap``, of substrings, exactly. Plain ASCII, which most mail is, is
never decoded, and where a word of the text stands nowhere in all of a plain message, none of its parts is
looked at; a part of any size is read in pieces, so memory stays bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from mstore.mail.casemap import casemap
from mstore.mail.decode import decode_base64, decode_quoted_printable, decode_text, decode_words
from mstore.mail.header import HEADER_LIMIT_BYTES, unfold
from mstore.mail.parts import (
    BASE64,
    MESSAGE,
    MULTIPART,
    QUOTED_PRINTABLE,
    TEXT,
    PartOffsets,
    decode_parts,
    survey,
)

PIECE_BYTES = 1 << 20
_FOLDS = tuple((end + blank, blank) for end in (b"\r\n", b"\n") for blank in (b" ", b"\t"))
# Charsets in which bytes below 128 are ASCII and nothing else.
_IS_ASCII_BASED = re.compile(
    rb"(?:|us-ascii|ascii|utf-?8|(?:x-)?iso-8859-\d+|windows-\d+|cp125\d|koi8-[ru]|gb2312|gbk|gb18030|big5"
    rb"|euc-(?:jp|kr|tw))",
    re.IGNORECASE,
).fullmatch
_CASE_BIT = np.uint8(0xDF)


class Reader(Protocol):
    """How the bytes of one message are read."""

    def __call__(self, offset: int, length: int) -> bytes: ...


class Needle:
    """A case-mapped text to look for, with its ASCII form where it has one."""

    __slots__ = ("ascii", "mark", "text", "word")

    def __init__(self, text: str) -> None:
        self.text = text
        self.ascii = text.encode("ascii") if text.isascii() else None
        self.word = max(self.ascii.split(), key=len, default=b"") if self.ascii is not None else b""
        """A word of an ASCII text; it stands in an ASCII header as it is, for folding cuts no word."""
        self.mark = without_case(self.word)
        """The word as it is looked for in all of a message."""

    def in_ascii(self, data: bytes) -> bool:
        """Whether it occurs in ASCII text of any case."""
        return self.ascii is not None and self.ascii in data.upper()


def without_case(data: bytes) -> bytes:
    """ASCII text in which capital letters are as small ones: fast, since other characters fall together too.

    What occurs in a text occurs in it so as well.
    """
    return np.bitwise_and(np.frombuffer(data, np.uint8), _CASE_BIT).tobytes()


@lru_cache(256)
def _is_ascii_based(charset: bytes) -> bool:
    return _IS_ASCII_BASED(charset) is not None


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
    def matches(header: bytes) -> bool:
        plain = b"=?" not in header and header.isascii()
        if plain and (needle.ascii is None or needle.word not in header.upper()):
            return False
        return any(_in_value(needle, value) for value in find_all(b"\n" + header))

    return matches


def _in_value(needle: Needle, value: bytes) -> bool:
    return _in_header_text(needle, unfold(value))


def in_header(needle: Needle, header: bytes) -> bool:
    """Whether a text occurs in a header: in a name, in a decoded value, or across both."""
    text = header[:HEADER_LIMIT_BYTES]
    for fold, blank in _FOLDS:
        if fold in text:
            text = text.replace(fold, blank)
    return _in_header_text(needle, text)


def _in_header_text(needle: Needle, text: bytes) -> bool:
    if not text.isascii():
        return needle.text in casemap(decode_words(text))
    if b"=?" not in text:
        return needle.in_ascii(text)
    encoded, plain = list[bytes](), list[bytes]()
    for line in text.split(b"\n"):
        (encoded if b"=?" in line else plain).append(line)
    if "\n" in needle.text or any(line.lstrip().startswith(b"=?") for line in encoded):
        return needle.text in casemap(decode_words(text))
    # What is looked for lies in one line then, and no word goes on from one to the next.
    if needle.in_ascii(b"\n".join(plain)):
        return True
    return any(needle.text in casemap(decode_words(line)) for line in encoded)


class _Plain(NamedTuple):
    """An ASCII message of which nothing is to be decoded but words in headers."""

    text: bytes
    """All of it, as ``without_case`` gives it."""
    encoded_headers: list[bytes]
    """The headers of all parts, empty where they have no encoded words."""


class Message:
    """One message, searched for texts; a small one is read once, of a large one only what is looked at.

    It may have been read already: ``whole``.
    """

    def __init__(self, size: int, parts: bytes, read: Reader, whole: bytes | None = None) -> None:
        self._parts = parts
        self._whole = read(0, size) if whole is None and size <= PIECE_BYTES else whole
        self._read_more = read
        self._plain = self._survey()

    def contains(self, needle: Needle, with_header: bool) -> bool:
        """Whether the text is in the body, or in body or header."""
        if self._plain is not None and needle.word and needle.mark not in self._plain.text:
            headers = self._plain.encoded_headers
            # The header of the message itself is the first.
            return any(in_header(needle, header) for header in headers[not with_header :] if header)
        root = decode_parts(self._parts)
        if with_header and in_header(needle, self._read(root.header_start, root.body_start)):
            return True
        return self._in_body(needle, root)

    def _survey(self) -> _Plain | None:
        """What is searched first of an ASCII message of which no text is to be decoded."""
        whole = self._whole
        if whole is None or not whole.isascii():
            return None
        parts = survey(self._parts)
        if parts.encoded or not all(map(_is_ascii_based, parts.charsets)):
            return None
        headers = [whole[start:end] for start, end in parts.headers]
        return _Plain(without_case(whole), [header if b"=?" in header else b"" for header in headers])

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
    if data.isascii() and _is_ascii_based(part.charset):
        return needle.in_ascii(data)
    return needle.text in casemap(decode_text(data, part.charset))
