"""A glimpse of what a message says: the beginning of its text, on one line (RFC 8970 §3)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from mstore.mail.decode import decode_base64, decode_quoted_printable, decode_text
from mstore.mail.header import field_pairs, unfold
from mstore.mail.params import parse_content_type, parse_disposition
from mstore.mail.parts import BASE64, MESSAGE, QUOTED_PRINTABLE, TEXT, UNKNOWN, PartOffsets

LONGEST = 200
"""Characters (RFC 8970 §3.3)."""
_FIRST_BYTES = 1 << 10
"""So much of a part is looked at first, which for most is enough."""
_READ_BYTES = 16 << 10
"""So much of it is read otherwise; of markup most may be something else than text."""
_ENOUGH = LONGEST + 100
"""So many characters are there when what comes behind them, cut anywhere, can change nothing any more."""
_HEADER_BYTES = 64 << 10
_MOST_PARTS = 20
"""So many texts are looked at in search for a plain one."""
_MOST_STEPS = 200
_NO_TEXT = re.compile(r"(?is)<(head|style|script|title)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)")
_BREAK = re.compile(r"(?i)<(?:br|p|div|tr|td|li|h[1-6])\b[^>]*>")
_TAG = re.compile(r"<[^>]*(?:>|\Z)")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ufffd\ud800-\udfff]+")

Read = Callable[[int, int], bytes]
"""Bytes of the message: where from, and how many."""


def make_preview(root: PartOffsets, read: Read) -> str:
    """The first plain text of a message, or the first HTML without its markup; empty when it has neither."""
    markup: tuple[PartOffsets, bytes] | None = None
    for count, part in enumerate(_texts(root)):
        header_bytes = part.body_start - part.header_start
        # Header and beginning by one read.
        data = read(part.header_start, min(header_bytes + _FIRST_BYTES, part.end - part.header_start))
        subtype = _subtype_shown(data[: min(header_bytes, _HEADER_BYTES)])
        if subtype == b"PLAIN":
            text = _glimpse(part, data[header_bytes:], read, _shorten)
            if text:
                return text
        elif subtype == b"HTML" and markup is None:
            markup = part, data[header_bytes:]
        if count == _MOST_PARTS:
            break
    return _glimpse(*markup, read, _shorten_markup) if markup is not None else ""


def _texts(root: PartOffsets) -> Iterator[PartOffsets]:
    """The texts of a message, those of forwarded ones not, in their order."""
    waiting = [root]
    for _ in range(_MOST_STEPS):
        if not waiting:
            return
        part = waiting.pop()
        if part.kind == TEXT and part.encoding != UNKNOWN:
            yield part
        elif part.kind != MESSAGE:
            children = min(part.child_count, _MOST_STEPS)
            waiting += [part.child(number) for number in range(children, 0, -1)]


def _subtype_shown(header: bytes) -> bytes:
    """The subtype of a text that is shown with the message; of an attached one, nothing."""
    subtype = b"PLAIN"
    for name, value in field_pairs(header):
        folded = name.lower()
        if folded == b"content-type":
            found = parse_content_type(unfold(value))
            subtype = found[1].upper() if found is not None else subtype
        elif folded == b"content-disposition":
            disposition = parse_disposition(unfold(value))
            if disposition is not None and disposition[0].upper() == b"ATTACHMENT":
                return b""
    return subtype


def _glimpse(part: PartOffsets, data: bytes, read: Read, shorten: Callable[[str], str]) -> str:
    """What a text says, of which ``data`` is the beginning."""
    text = shorten(_decode(part, data))
    size = min(part.end - part.body_start, _READ_BYTES)
    if len(text) < _ENOUGH and len(data) < size:
        text = shorten(_decode(part, read(part.body_start, size)))
    return text[:LONGEST].rstrip()


def _decode(part: PartOffsets, data: bytes) -> str:
    if part.encoding == BASE64:
        data = decode_base64(data)
    elif part.encoding == QUOTED_PRINTABLE:
        data = decode_quoted_printable(data)
    return decode_text(data, part.charset)


def _shorten_markup(text: str) -> str:
    return _shorten(html.unescape(_TAG.sub("", _BREAK.sub(" ", _NO_TEXT.sub(" ", text)))))


def _shorten(text: str) -> str:
    """One line without what cannot be seen."""
    return " ".join(_UNSEEN.sub(" ", text).split())
