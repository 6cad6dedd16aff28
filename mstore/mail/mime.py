"""The MIME tree of a message, as byte offsets, found in one pass (RFC 2045, RFC 2046).

Promises: any input gives a tree; each part lies within its parent and behind its elder siblings; time grows
linearly with the message; bodies are never copied, so an ``mmap`` of any size will do. What RFC 2046 leaves
to the reader is decided here:

- A line ``--BOUNDARY`` belongs to the innermost open multipart it names exactly, and only when it names none
  exactly to the one with the longest boundary it begins with (RFC 2046 §5.1.2 "sufficient that the boundary
  appear in its entirety"). So a boundary that begins with another one is no trouble, and an outer boundary
  ends all that is within it, closed or not.
- The line end before a boundary belongs to the boundary, unless a header ends with it.
- A multipart in which no boundary is found has one part, implied, text/plain: all of its body.
- More than ``DEPTH_LIMIT`` levels: the multipart or message there is a leaf, application/octet-stream.
- ``PART_LIMIT`` parts: the last one reaches to the end of the message.
- ``HEADERS_LIMIT_BYTES`` of headers, all parts together: what follows is text/plain without any field.
- A message/rfc822 is parsed whatever its transfer encoding; where one hides it, it looks like a text. A
  message/global, which may be encoded (RFC 6532 §3.7), is parsed where it is not, and otherwise a leaf.
"""

import mmap
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mstore.mail.header import HEADER_LIMIT_BYTES, Buffer, field_pairs, header_end, unfold
from mstore.mail.params import (
    Params,
    find_charset,
    find_param,
    parse_content_type,
    parse_disposition,
    parse_word,
    parse_words,
)

DEPTH_LIMIT = 100
PART_LIMIT = 10_000
HEADERS_LIMIT_BYTES = 8 << 20
BOUNDARY_LIMIT_BYTES = 1000
"""A longer boundary counts as none (RFC 2046 §5.1.1 allows 70)."""

SMALL_BYTES = 1 << 20
"""An ``mmap`` up to this size is copied once, because that is quicker than mapping its pages one by one."""

_CHUNK_BYTES = 1 << 18
_FEW_BYTES = 1 << 13
_USUAL_BYTES = 160
_TEXT_DEFAULT: Params = ((b"CHARSET", b"US-ASCII"),)
_UNCHANGED = frozenset((b"7BIT", b"8BIT", b"BINARY"))
_ADDRESSES = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))

Fields = dict[bytes, bytes]

MORE_SUBJECTS = b"subject:"
"""Stands among the fields where there is more than one Subject: no field can have this name."""


class Part:
    """A body part, or a message: the root, and what is within a message/rfc822 part.

    Header: ``header_start:body_start``, with its empty line; body: ``body_start:end``. ``lines`` counts the
    line feeds of the body as it is stored, in text and message parts only. ``message`` is the message within
    a message/rfc822 or message/global part. ``fields`` holds the raw header fields by lower-case name. Type,
    subtype and transfer encoding are tokens in upper case; without a Content-Transfer-Encoding, 7BIT
    (RFC 2045 §6.1).
    """

    __slots__ = (
        "body_start", "encoding", "end", "fields", "header_start", "lines", "message", "params", "parts",
        "subtype", "type",
    )  # fmt: skip

    def __init__(self, header_start: int, body_start: int, header: "Header") -> None:
        self.header_start = header_start
        self.body_start = self.end = body_start
        self.fields, self.type, self.subtype, self.params, self.encoding = header
        self.lines = 0
        self.parts: list[Part] = []
        self.message: Part | None = None

    @property
    def is_message(self) -> bool:
        """Whether the body is a message of its own, and can be read as one."""
        if self.type != b"MESSAGE":
            return False
        return self.subtype == b"RFC822" or (self.is_global and self.encoding in _UNCHANGED)

    @property
    def is_global(self) -> bool:
        """Whether the body is a message with headers in UTF-8, perhaps encoded (RFC 6532 §3.7)."""
        return self.type == b"MESSAGE" and self.subtype == b"GLOBAL"

    @property
    def id(self) -> bytes | None:
        """Content-ID."""
        return self._unfolded(b"content-id")

    @property
    def description(self) -> bytes | None:
        """Content-Description, encoded words left as they are."""
        return self._unfolded(b"content-description")

    @property
    def md5(self) -> bytes | None:
        """Content-MD5 (RFC 1864)."""
        return self._unfolded(b"content-md5")

    @property
    def location(self) -> bytes | None:
        """Content-Location (RFC 2557 §4)."""
        return self._unfolded(b"content-location")

    @property
    def disposition(self) -> tuple[bytes, Params] | None:
        """Content-Disposition with its parameters."""
        value = self._unfolded(b"content-disposition")
        return parse_disposition(value) if value is not None else None

    @property
    def language(self) -> tuple[bytes, ...]:
        """The tags of Content-Language (RFC 3282)."""
        value = self._unfolded(b"content-language")
        return parse_words(value) if value is not None else ()

    def walk(self) -> "Iterator[Part]":
        """This part and all within it, in the order of their headers."""
        stack = [self]
        while stack:
            part = stack.pop()
            yield part
            if part.message is not None:
                stack.append(part.message)
            stack.extend(reversed(part.parts))

    def _unfolded(self, name: bytes) -> bytes | None:
        value = self.fields.get(name)
        return unfold(value) if value is not None else None


def parse(buffer: Buffer | bytearray | memoryview) -> Part:
    """The tree of a whole message."""
    if isinstance(buffer, bytes):
        return _Scan(buffer).root
    if isinstance(buffer, mmap.mmap) and len(buffer) > SMALL_BYTES:
        return _Scan(buffer).root
    return _Scan(bytes(buffer[:])).root


def collect_fields(header: bytes) -> Fields:
    """Raw values by lower-case name: the first of a repeated field, all of address fields as one list."""
    found: Fields = {}
    lists: dict[bytes, list[bytes]] = {}
    for name, value in field_pairs(header):
        name = name.lower()
        if name not in found:
            found[name] = value
        elif name in _ADDRESSES:
            lists.setdefault(name, []).append(value)
        elif name == b"subject":
            found[MORE_SUBJECTS] = b""
    for name, values in lists.items():  # Joined once, however many there are.
        first = [value.rstrip() for value in (found[name], *values[:-1])]
        found[name] = b",".join([*first, values[-1]])
    found.pop(b"", None)
    return found


class Header(NamedTuple):
    """What the header of a part says of it; the fields must stay as they are."""

    fields: Fields
    type: bytes
    subtype: bytes
    params: Params
    encoding: bytes


def read_header(header: bytes, default: bytes) -> Header:
    """What a header says of its part, which is a ``TEXT`` or a ``MESSAGE`` where it does not say."""
    fields = collect_fields(header)
    value = fields.get(b"content-transfer-encoding")
    encoding = (parse_word(unfold(value)) if value is not None else None) or b"7BIT"
    value = fields.get(b"content-type")
    found = parse_content_type(unfold(value)) if value is not None else None
    if found is None:
        # RFC 2045 §5.2, RFC 2046 §5.1.5: the default, also for what cannot be understood.
        if default == b"TEXT":
            return Header(fields, default, b"PLAIN", _TEXT_DEFAULT, encoding)
        return Header(fields, default, b"RFC822", (), encoding)
    kind, subtype, params = found
    if kind == b"TEXT" and subtype == b"PLAIN" and find_charset(params) is None:
        params += _TEXT_DEFAULT
    return Header(fields, kind, subtype, params, encoding)


_read_usual = lru_cache(maxsize=256)(read_header)
"""The same for the headers of parts, most of which are those of a few programs, and short."""


class _Level:
    """An open multipart: what its boundary lines begin with, and from where on the next one may stand."""

    __slots__ = ("boundary", "depth", "needle", "next", "part")

    def __init__(self, part: Part, boundary: bytes, depth: int) -> None:
        self.part = part
        self.boundary = boundary
        self.needle = b"\n--" + boundary
        self.depth = depth
        self.next = -1


class _Scan:
    """One pass over a message.

    Each level searches for its own boundary only, at C speed, never beyond the next one of a level outside
    it; so false candidates cost nothing, and a byte is read at most once per level around it.
    """

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.open: list[Part] = []  # from the root to the part being read
        self.levels: list[_Level] = []
        self.count = 0
        self.headers_left = HEADERS_LIMIT_BYTES
        self.newlines = _Newlines(buffer)
        self.root = self._enter(0, b"TEXT")
        if self.levels:
            self._run()
        self._close(0, self.size)

    def _enter(self, start: int, default: bytes) -> Part:
        """Begin the part or message at ``start``, and the messages nested directly in it."""
        first = None
        while True:
            limit = min(self._next(start - 1) + 1, self.size) if self.levels else self.size
            body_start = header_end(self.buffer, start, limit) if start < limit else start
            length = min(body_start - start, HEADER_LIMIT_BYTES, self.headers_left)
            self.headers_left -= length
            read = _read_usual if self.count and length <= _USUAL_BYTES else read_header
            part = Part(start, body_start, read(self.buffer[start : start + length], default))
            self.count += 1
            self.open.append(part)
            if first is None:
                first = part
            else:
                self.open[-2].message = part
            if part.type == b"MULTIPART":
                self._open_multipart(part)
                return first
            if not part.is_message:
                return first
            if len(self.open) >= DEPTH_LIMIT:
                _make_leaf(part)
                return first
            start, default = body_start, b"TEXT"

    def _open_multipart(self, part: Part) -> None:
        depth = len(self.open)
        if depth >= DEPTH_LIMIT:
            _make_leaf(part)
            return
        boundary = (find_param(part.params, b"BOUNDARY") or b"").rstrip()
        if boundary and b"\n" not in boundary and len(boundary) <= BOUNDARY_LIMIT_BYTES:
            self.levels.append(_Level(part, boundary, depth))

    def _next(self, position: int) -> int:
        """Where the line feed before the next boundary line of any level is, or the size of the message."""
        limit = self.size
        position = max(position, 0)
        find = self.buffer.find
        for level in self.levels:
            if level.next < position:
                place = find(level.needle, position, limit)
                level.next = place if place >= 0 else limit
            if level.next < limit:
                limit = level.next
        return limit

    def _run(self) -> None:
        """Go from boundary line to boundary line."""
        position = self.open[-1].body_start - 1
        while self.levels and self.count < PART_LIMIT:
            place = self._next(position)
            if place >= self.size:
                return
            level, closing, behind = self._resolve(place)
            self._close(level.depth, place)
            del self.levels[self.levels.index(level) + (0 if closing else 1) :]
            position = behind - 1
            if closing:
                continue
            default = b"MESSAGE" if level.part.subtype == b"DIGEST" else b"TEXT"
            level.part.parts.append(self._enter(behind, default))
            position = max(position, self.open[-1].body_start - 1)

    def _resolve(self, place: int) -> tuple[_Level, bool, int]:
        """Whose boundary line begins behind ``place``, whether it closes, and where the next line begins."""
        buffer = self.buffer
        behind = buffer.find(b"\n", place + 1) + 1 or self.size
        line = buffer[place + 3 : min(behind, place + 3 + BOUNDARY_LIMIT_BYTES + 100)].rstrip(b" \t\r\n")
        for level in reversed(self.levels):
            if line == level.boundary:
                return level, False, behind
            if line[:-2] == level.boundary and line.endswith(b"--"):
                return level, True, behind
        best = max(
            (level for level in reversed(self.levels) if line.startswith(level.boundary)),
            key=lambda level: len(level.boundary),
        )
        length = len(best.boundary)
        return best, line[length : length + 2] == b"--", behind

    def _close(self, depth: int, place: int) -> None:
        """End all open parts below ``depth`` before the line end at ``place``, or with the message."""
        if len(self.open) <= depth:
            return
        end = place
        if place < self.size and place > 0 and self.buffer[place - 1 : place] == b"\r":
            end -= 1
        for part in reversed(self.open[depth:]):
            part.end = end = max(end, part.body_start)  # a header may need the line end before the boundary
            if part.type == b"TEXT" or part.message is not None or part.is_global:
                part.lines = self.newlines.count(part.body_start, part.end)
            elif part.type == b"MULTIPART" and not part.parts:
                implied = Part(part.body_start, part.body_start, _read_usual(b"", b"TEXT"))
                implied.end = part.end
                implied.lines = self.newlines.count(implied.body_start, implied.end)
                part.parts.append(implied)
        del self.open[depth:]


def _make_leaf(part: Part) -> None:
    part.type, part.subtype, part.params = b"APPLICATION", b"OCTET-STREAM", ()


class _Newlines:
    """Counts line feeds; in large buffers with sums by chunk, so that nested ranges are not counted again."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.sums: list[int] = [0]

    def count(self, start: int, end: int) -> int:
        """Line feeds in ``buffer[start:end]``."""
        if end - start <= _CHUNK_BYTES:
            return self._between(start, end)
        return self._before(end) - self._before(start)

    def _before(self, place: int) -> int:
        chunk, rest = divmod(place, _CHUNK_BYTES)
        while len(self.sums) <= chunk:
            begin = (len(self.sums) - 1) * _CHUNK_BYTES
            self.sums.append(self.sums[-1] + self._between(begin, begin + _CHUNK_BYTES))
        return self.sums[chunk] + self._between(place - rest, place)

    def _between(self, start: int, end: int) -> int:
        """Few are counted by the method, which stops at each; many by numpy, in a third of the time."""
        if end - start > _FEW_BYTES:
            return int(np.count_nonzero(np.frombuffer(self.buffer, np.uint8, end - start, start) == 10))
        if isinstance(self.buffer, bytes):
            return self.buffer.count(b"\n", start, end)
        return self.buffer[start:end].count(b"\n")
