"""A header in UTF-8 as one in ASCII, for clients that have not said they take anything else.

A surrogate for reading (RFC 6855 §7, RFC 6857): what is not ASCII becomes encoded words (RFC 2047),
parameters become those of RFC 2231, domains become A-labels. A local part that is not ASCII becomes an
encoded word as well: it can be read, and not replied to. Bytes that are no UTF-8 are encoded as
``unknown-8bit``.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from urllib.parse import quote_from_bytes

_FIELD = re.compile(rb"[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*\r?\n?")
_PARAMETER = re.compile(
    rb';(\s*+)([!#$&\'+\-.^-~0-9A-Z]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;\s"]++)', re.IGNORECASE | re.DOTALL
)
_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\[^\r\n])*+)\\?(?:"|(?=[\r\n])|\Z)')
_ATOM = rb'[^\s<>(),;:"@\[\]]++'
_DOMAIN = re.compile(rb"@(" + _ATOM + rb")")
_RUN = re.compile(_ATOM + rb"(?:[ \t]++" + _ATOM + rb")*")
_WORD = re.compile(rb"[^ \t]++|[ \t]++")
_WORD_BYTES = 42
"""So many bytes of text make an encoded word of at most 75 characters (RFC 2047 §2)."""
_WITH_PARAMETERS = (b"content-type", b"content-disposition")




def downgrade(header: bytes) -> bytes:
    """The header with nothing but ASCII in it, field by field; fields that are ASCII stay as they are."""
    if header.isascii():
        return header
    return _FIELD.sub(_downgrade_field, header)


def mask(data: bytes) -> bytes:
    """The bytes with a question mark for each that is not ASCII."""
    return data if data.isascii() else data.translate(_QUESTION_MARKS)


def _downgrade_field(match: re.Match[bytes]) -> bytes:
    field = match[0]
    if field.isascii():
        return field
    name, colon, body = field.partition(b":")
    if not colon or not name.isascii():
        return mask(field)
    if name.strip().lower() in _WITH_PARAMETERS:
        body = _PARAMETER.sub(_downgrade_parameter, body)
    body = _QUOTED.sub(_downgrade_quoted, body)
    body = _DOMAIN.sub(_downgrade_domain, body)
    return name + colon + _RUN.sub(_downgrade_run, body)


def _downgrade_run(match: re.Match[bytes]) -> bytes:
    """Neighbouring words become one, for blanks between encoded words are dropped (RFC 2047 §6.2)."""
    if match[0].isascii():
        return match[0]
    words = _WORD.findall(match[0])
    others = deque(place for place in range(0, len(words), 2) if not words[place].isascii())
    result: list[bytes] = []
    place = 0
    while place < len(words):
        last = place
        if others and others[0] == place:
            while others and others[0] <= last + 2:
                last = others.popleft()
            result.append(_encoded_words(b"".join(words[place : last + 1])))
        else:
            result.append(words[place])
        place = last + 1
    return b"".join(result)


def _charset(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _downgrade_parameter(match: re.Match[bytes]) -> bytes:
    value = match[3]
    if value.isascii():
        return match[0]
    if value.startswith(b'"'):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL)
    encoded = quote_from_bytes(value, safe="").encode()
    return b";%b%b*=%b''%b" % (match[1], match[2], _charset(value), encoded)


def _downgrade_quoted(match: re.Match[bytes]) -> bytes:
    """A quoted string would hide encoded words (RFC 2047 §5), so the quotes go."""
    if match[0].isascii():
        return match[0]
    return _encoded_words(re.sub(rb"\\(.)", rb"\1", match[1]))


def _downgrade_domain(match: re.Match[bytes]) -> bytes:
    if match[0].isascii():
        return match[0]
    try:
        return b"@" + match[1].decode().encode("idna")
    except UnicodeError:
        return b"@" + _encoded_words(match[1])


def _encoded_words(data: bytes) -> bytes:
    charset = _charset(data)
    pieces: list[bytes] = []
    while data:
        size = min(len(data), _WORD_BYTES)
        # No character is cut in two (RFC 2047 §5 "MUST NOT be split").
        while 0 < size < len(data) and data[size] & 0xC0 == 0x80 and size > _WORD_BYTES - 4:
            size -= 1
        pieces.append(b"=?%b?b?%b?=" % (charset, base64.b64encode(data[:size])))
        data = data[size:]
    return b"\r\n ".join(pieces)


_QUESTION_MARKS = bytes(range(128)) + b"?" * 128
