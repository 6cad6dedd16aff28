"""Transfer encodings of bodies of any size: taken off, or put on, piece by piece (RFC 2045 §6)."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Any

from mstore.mail.decode import decode_base64, decode_quoted_printable
from mstore.mail.header import fields
from mstore.mail.mime import Part, parse
from mstore.mail.parts import BASE64, QUOTED_PRINTABLE

_NOT_BASE64 = bytes(
    octet
    for octet in range(256)
    if octet not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
)
_LINE_BYTES = 57
_PIECE_BYTES = _LINE_BYTES * 1024
_LONGEST_LINE = 64 << 10
_FIELD = b"content-transfer-encoding"


def decode_pieces(pieces: Iterable[bytes], encoding: int) -> Iterator[bytes]:
    """A body without its encoding, one of those of ``mail.parts``; memory is bounded by a piece."""
    if encoding == BASE64:
        return _decode_base64(pieces)
    if encoding == QUOTED_PRINTABLE:
        return _decode_quoted_printable(pieces)
    return iter(pieces)


def _decode_base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *runs, rest = (rest + piece.translate(None, _NOT_BASE64)).split(b"=")
        whole = len(rest) // 4 * 4
        yield b"".join([*map(decode_base64, runs), binascii.a2b_base64(rest[:whole])])
        rest = rest[whole:]
    yield decode_base64(rest)


def _decode_quoted_printable(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        rest += piece
        cut = rest.rfind(b"\n") + 1
        if not cut and len(rest) > _LONGEST_LINE:
            # Not within an escape.
            cut = len(rest) - 2
            escape = rest.rfind(b"=", cut - 2, cut)
            cut = escape if escape >= 0 else cut
        yield decode_quoted_printable(rest[:cut])
        rest = rest[cut:]
    yield decode_quoted_printable(rest)


def encode_binary(buffer: Any) -> Iterator[bytes]:
    """A message in pieces, with all its parts that are sent as binary put into base64 (RFC 3516 §4.4).

    What consists of parts says 8bit instead of binary. All else stays as it is.
    """
    at = 0
    for part in sorted(parse(buffer).walk(), key=lambda part: part.header_start):
        if part.encoding != b"BINARY" or part.header_start < at:
            continue
        is_leaf = not part.parts and part.message is None
        place = _find_field(buffer, part)
        if place is None:
            continue
        yield bytes(buffer[at : place[0]])
        yield b"Content-Transfer-Encoding: " + (b"base64" if is_leaf else b"8bit") + b"\r\n"
        at = place[1]
        if is_leaf:
            yield bytes(buffer[at : part.body_start])
            yield from _encode_base64(buffer, part.body_start, part.end)
            at = part.end
    for start in range(at, len(buffer), _PIECE_BYTES):
        yield bytes(buffer[start : start + _PIECE_BYTES])


def _find_field(buffer: Any, part: Part) -> tuple[int, int] | None:
    """Where the field stands that tells the encoding of a part."""
    for field in fields(buffer, part.body_start, part.header_start):
        if field.name.lower() == _FIELD:
            return field.start, field.end
    return None


def _encode_base64(buffer: Any, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _PIECE_BYTES):
        stop = min(at + _PIECE_BYTES, end)
        lines = [
            binascii.b2a_base64(buffer[line : min(line + _LINE_BYTES, stop)], newline=False)
            for line in range(at, stop, _LINE_BYTES)
        ]
        yield (b"" if at == start else b"\r\n") + b"\r\n".join(lines)
