"""The PARTS slot: a MIME tree as offsets, compact, and body sections found in it without the message.

Layout, little-endian: a head (version u8, 0, charsets u16, parts u32), then a 20-byte row for each part, then
the names of the charsets, each ended by a zero byte. The children of a part have consecutive rows behind
its own, so a part number leads to its row in as many steps as it has digits, whatever the size of the tree.
The child of a message/rfc822 or message/global part is its message; of a multipart, its parts.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from mstore.mail.mime import Part
from mstore.mail.params import find_charset

LEAF, TEXT, MULTIPART, MESSAGE = range(4)
IDENTITY, BASE64, QUOTED_PRINTABLE, UNKNOWN = range(4)

_VERSION = 1
_HEAD = struct.Struct("<BBHI")
# header start, body start, end, first child (row), children, kind and encoding (4 bits each), charset
_ROW = struct.Struct("<IIIIHBB")
_ENCODINGS = {
    b"7BIT": IDENTITY, b"8BIT": IDENTITY, b"BINARY": IDENTITY, b"BASE64": BASE64,
    b"QUOTED-PRINTABLE": QUOTED_PRINTABLE,
}  # fmt: skip
_CHARSET_LIMIT = 255
_CHARSET_LIMIT_BYTES = 64


class PartOffsets(NamedTuple):
    """Where a part lies, and what is needed to read its text.

    Header: ``header_start:body_start``; body: ``body_start:end``. ``kind`` is one of ``LEAF TEXT MULTIPART
    MESSAGE``, ``encoding`` of ``IDENTITY BASE64 QUOTED_PRINTABLE UNKNOWN``, ``charset`` as the part names it.
    """

    header_start: int
    body_start: int
    end: int
    kind: int
    encoding: int
    charset: bytes
    child_count: int
    first_child: int
    data: bytes

    def child(self, number: int) -> "PartOffsets":
        """The child of this number, from 1."""
        if not 1 <= number <= self.child_count:
            raise IndexError(number)
        return _row(self.data, self.first_child + number - 1)

    @property
    def message(self) -> "PartOffsets | None":
        """The message within a message/rfc822 or message/global part."""
        return _row(self.data, self.first_child) if self.kind == MESSAGE else None

    @property
    def parts(self) -> list["PartOffsets"]:
        """The parts of a multipart."""
        if self.kind != MULTIPART:
            return []
        return [_row(self.data, row) for row in range(self.first_child, self.first_child + self.child_count)]


def encode_parts(root: Part) -> bytes:
    """The PARTS slot of a message."""
    if not root.parts and root.message is None:
        return _encode_leaf(root)
    rows = []
    charsets: dict[bytes, int] = {}
    queue = [root]
    done = 0
    while done < len(queue):
        part = queue[done]
        done += 1
        first = len(queue)
        charset = 0
        if part.message is not None:
            kind = MESSAGE
            queue.append(part.message)
        elif part.parts:
            kind = MULTIPART
            queue += part.parts
        elif part.type == b"TEXT":
            kind = TEXT
            charset = _number_charset(charsets, find_charset(part.params))
        else:
            kind = LEAF
        kind |= _ENCODINGS.get(part.encoding, UNKNOWN) << 4
        rows.append(
            _ROW.pack(part.header_start, part.body_start, part.end, first, len(queue) - first, kind, charset)
        )
    head = _HEAD.pack(_VERSION, 0, len(charsets), len(rows))
    return b"".join([head, *rows, *[name + b"\0" for name in charsets]])


def _encode_leaf(root: Part) -> bytes:
    """The slot of a message of one part, as most are; the same as the loop gives."""
    is_text = root.type == b"TEXT"
    charset = find_charset(root.params) if is_text else None
    kind = (TEXT if is_text else LEAF) | _ENCODINGS.get(root.encoding, UNKNOWN) << 4
    if not charset or len(charset) > _CHARSET_LIMIT_BYTES or b"\0" in charset:
        charset = None
    row = _ROW.pack(root.header_start, root.body_start, root.end, 1, 0, kind, 1 if charset else 0)
    head = _HEAD.pack(_VERSION, 0, 1 if charset else 0, 1)
    return head + row + charset + b"\0" if charset else head + row


def _number_charset(charsets: dict[bytes, int], name: bytes | None) -> int:
    if not name or len(name) > _CHARSET_LIMIT_BYTES or b"\0" in name:
        return 0
    if name not in charsets and len(charsets) >= _CHARSET_LIMIT:
        return 0
    return charsets.setdefault(name, len(charsets) + 1)


def decode_parts(data: bytes) -> PartOffsets:
    """The root of the tree in a PARTS slot; its rows are read as they are asked for."""
    return _row(data, 0)


def _row(data: bytes, row: int) -> PartOffsets:
    header_start, body_start, end, first, count, kind, charset = _ROW.unpack_from(data, 8 + row * 20)
    name = b""
    if charset:
        _, _, _, rows = _HEAD.unpack_from(data)
        name = data[8 + rows * 20 :].split(b"\0", charset)[charset - 1]
    return PartOffsets(header_start, body_start, end, kind & 15, kind >> 4, name, count, first, data)


class PlainParts(NamedTuple):
    """What is to be known of all parts of a message to search it as a whole."""

    headers: list[tuple[int, int]]
    """Where the headers lie, that of the message first."""
    encoded: bool
    """Whether a text has a transfer encoding that is to be taken off."""
    charsets: list[bytes]
    """The charsets of the texts, and maybe others that are named."""


def survey(data: bytes) -> PlainParts:
    """All parts in a PARTS slot at once."""
    _, _, charset_count, count = _HEAD.unpack_from(data)
    end = 8 + count * 20
    headers, encoded, unnamed = [], False, False
    for header_start, body_start, _, _, _, kind, charset in _ROW.iter_unpack(data[8:end]):
        headers.append((header_start, body_start))
        if kind & 15 == TEXT:
            encoded |= kind >> 4 in (BASE64, QUOTED_PRINTABLE)
            unnamed |= not charset
    charsets = data[end:].split(b"\0", charset_count)[:charset_count]
    if unnamed:
        charsets.append(b"")
    return PlainParts(headers, encoded, charsets)


def find_part(root: PartOffsets, path: Sequence[int]) -> PartOffsets | None:
    """The part of this number, as (1, 2, 3) for 1.2.3; the message itself for (). RFC 3501 §6.4.5."""
    part = root
    is_message = True  # part is a whole message, whose content is yet to be numbered
    for number in path:
        if not is_message and part.kind == MESSAGE:
            part = part.child(1)
            is_message = True
        if part.kind == MULTIPART:
            if not 1 <= number <= part.child_count:
                return None
            part = part.child(number)
        elif not is_message or number != 1:
            return None  # a message that is no multipart has a part 1, without parts of its own
        is_message = False
    return part


def find_section(root: PartOffsets, path: Sequence[int], text: bytes = b"") -> tuple[int, int] | None:
    """The range of a body section: ``text`` is empty, ``HEADER``, ``TEXT`` or ``MIME`` (RFC 3501 §6.4.5).

    The range for HEADER is that of the whole header; picking fields from it is the caller's. ``None`` when
    there is no such part, or no message at the part whose HEADER or TEXT is asked for.
    """
    part = find_part(root, path)
    if part is None or (text == b"MIME" and not path):
        return None
    if text == b"MIME":
        return part.header_start, part.body_start
    if not text:
        return (part.body_start if path else part.header_start), part.end
    if path:
        message = part.message
        if message is None:
            return None
        part = message
    return (part.header_start, part.body_start) if text == b"HEADER" else (part.body_start, part.end)
