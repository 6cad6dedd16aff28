"""The header of a message or part: where it ends, its fields, and their unfolding.

A header ends with its first empty line, which belongs to it; without one the whole range is header.
Lines end with LF, a CR before it is part of the line end; a bare CR ends nothing. A line that is neither
a field nor the continuation of one is passed over. Nothing here raises on any input, and all of it takes
linear time. ``buffer`` is ``bytes`` or an ``mmap`` throughout; only header bytes are ever copied.
"""

import mmap
import re
from collections.abc import Sequence
from typing import NamedTuple

Buffer = bytes | mmap.mmap

HEADER_LIMIT_BYTES = 1 << 20
"""Fields that begin beyond this many bytes of a header are not read (they are still served to clients)."""

_END = re.compile(rb"\n\r?\n")
# One match per field with its continuation lines, or per line that is no field (both groups empty).
_FIELDS = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|[^\n]++\n?|\n").findall
_FIELDS_AT = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|[^\n]++\n?|\n").finditer
_ESCAPE = re.compile(rb"\\([\s\S])")
_OCTETS = [bytes((octet,)) for octet in range(256)]
_QUOTED_OR_COMMENT = re.compile(rb'"(?:[^"\\]++|\\[\s\S])*+"?|\\[\s\S]?|[()]')
_COMMENT = re.compile(rb"\\[\s\S]|[()]")


class Field(NamedTuple):
    """One header field: its name as written, its raw value, and the range ``start:end`` it occupies."""

    name: bytes
    value: bytes
    start: int
    end: int


def header_end(buffer: Buffer, start: int = 0, end: int | None = None) -> int:
    """The offset at which the body begins, for a message in ``buffer[start:end]``."""
    if end is None:
        end = len(buffer)
    head = buffer[start : min(start + 2, end)]
    if head[:1] == b"\n":
        return start + 1
    if head == b"\r\n":
        return start + 2
    found = _END.search(buffer, start, end)
    return found.end() if found else end


def fields(buffer: Buffer, end: int, start: int = 0) -> list[Field]:
    """All fields of the header in ``buffer[start:end]``, in order, with their places."""
    header = buffer[start : min(end, start + HEADER_LIMIT_BYTES)]
    return [
        Field(m[1], m[2], start + m.start(), start + m.end()) for m in _FIELDS_AT(header) if m[1] is not None
    ]


def field_pairs(header: bytes) -> list[tuple[bytes, bytes]]:
    """Name and raw value of each field; pairs with an empty name stand for lines that are no field."""
    return _FIELDS(header)


def pick_fields(header: bytes, names: Sequence[bytes], exclude: bool = False) -> bytes:
    """The fields with one of ``names`` (``exclude``: with none of them) as written, and the empty line.

    RFC 3501 §6.4.5: the empty line is included, except where the header has none.
    """
    wanted = {name.lower() for name in names}
    picked = [
        m[0] for m in _FIELDS_AT(header) if m[1] is not None and (m[1].lower() in wanted) is not exclude
    ]
    if picked and not picked[-1].endswith(b"\n"):
        picked.append(b"\r\n")
    if header.endswith((b"\n\r\n", b"\n\n")) or header in (b"\r\n", b"\n"):
        picked.append(b"\r\n")
    return b"".join(picked)


def unfold(value: bytes) -> bytes:
    """A field's value on one line: line ends are removed, and white space at its begin and end."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r\n")


def unescape(value: bytes) -> bytes:
    """What a quoted string or a comment says: each backslash goes, and what stands behind it stays.

    One at the end stays as well. Nothing is done for each of them: there may be a million.
    """
    if b"\\" not in value:
        return value
    spare = next((octet for octet in _OCTETS if octet not in value), None)
    if spare is None:
        return _ESCAPE.sub(rb"\1", value)
    # Those that stand for themselves are put aside.
    text = value.replace(b"\\\\", spare)
    kept = b"\\" if text.endswith(b"\\") else b""
    return text.replace(b"\\", b"").replace(spare, b"\\") + kept


def comment_end(value: bytes, start: int) -> int:
    """The offset behind the (perhaps nested) comment whose parenthesis opens at ``start``."""
    depth = 0
    for found in _COMMENT.finditer(value, start):
        mark = found[0]
        if mark == b"(":
            depth += 1
        elif mark == b")":
            depth -= 1
            if depth == 0:
                return found.end()
    return len(value)


def strip_comments(value: bytes) -> bytes:
    """``value`` with each comment outside quoted strings replaced by a space (RFC 5322 §3.2.2)."""
    if b"(" not in value:
        return value
    kept = []
    position = done = 0
    while found := _QUOTED_OR_COMMENT.search(value, position):
        position = found.end()
        if found[0] == b"(":
            kept.append(value[done : found.start()])
            position = done = comment_end(value, found.start())
    kept.append(value[done:])
    return b" ".join(kept)
