"""A strict reader of ENVELOPE, BODY and BODYSTRUCTURE by the grammar of RFC 3501 §9, or RFC 9051 §9 with
``rev2``; it knows nothing else.

Each ``read_x`` returns the value as nested Python data and raises ``NotGrammar`` at the first byte that is
not allowed. It recurses one level for each nested part, so it serves depths such as the store allows.
"""

import re
from typing import Any

_QUOTED = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x5b\x5d-\x7f]|\\["\\])*)"')
_QUOTED_UTF8 = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x5b\x5d-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(0|[1-9][0-9]*|0[0-9]+)\}\r\n")
_NUMBER = re.compile(rb"[0-9]+")
_LIMIT = 1 << 32


class NotGrammar(AssertionError):
    """The bytes are not what the grammar allows."""


class Reader:
    """A position in bytes."""

    def __init__(self, data: bytes, rev2: bool = False) -> None:
        self.data = data
        self.rev2 = rev2
        self.position = 0

    def fail(self, wanted: str) -> NotGrammar:
        """An error that shows the place."""
        near = self.data[max(self.position - 40, 0) : self.position + 40]
        return NotGrammar(f"{wanted} wanted at {self.position}: {near!r}")

    def take(self, text: bytes) -> None:
        """Go behind ``text``, which must be here."""
        if not self.sees(text):
            raise self.fail(repr(text))
        self.position += len(text)

    def sees(self, text: bytes) -> bool:
        """Whether ``text`` is here."""
        return self.data.startswith(text, self.position)

    def string(self) -> bytes:
        """A quoted string or a literal."""
        found = (_QUOTED_UTF8 if self.rev2 else _QUOTED).match(self.data, self.position)
        if found:
            found[1].decode()
            self.position = found.end()
            return re.sub(rb'\\(["\\])', rb"\1", found[1])
        found = _LITERAL.match(self.data, self.position)
        if not found:
            raise self.fail("string")
        end = found.end() + int(found[1])
        value = self.data[found.end() : end]
        if len(value) != int(found[1]) or b"\0" in value:
            raise self.fail("literal of CHAR8")
        self.position = end
        return value

    def nstring(self) -> bytes | None:
        """A string or NIL."""
        if self.sees(b"NIL"):
            self.position += 3
            return None
        return self.string()

    def number(self) -> int:
        """An unsigned 32-bit number."""
        found = _NUMBER.match(self.data, self.position)
        if not found or int(found[0]) >= _LIMIT:
            raise self.fail("number")
        self.position = found.end()
        return int(found[0])


def _whole(data: bytes, read: Any, rev2: bool = False) -> Any:
    reader = Reader(data, rev2)
    value = read(reader)
    if reader.position != len(data):
        raise reader.fail("end")
    return value


def read_envelope(data: bytes) -> list[Any]:
    """The ten fields of an envelope; addresses as tuples of four."""
    return _whole(data, _envelope)  # type: ignore[no-any-return]


def read_body(data: bytes, rev2: bool = False) -> dict[str, Any]:
    """A body without extension data."""
    return _whole(data, lambda reader: _body(reader, False), rev2)  # type: ignore[no-any-return]


def read_bodystructure(data: bytes, rev2: bool = False) -> dict[str, Any]:
    """A body with all its extension data."""
    return _whole(data, lambda reader: _body(reader, True), rev2)  # type: ignore[no-any-return]


def _envelope(reader: Reader) -> list[Any]:
    reader.take(b"(")
    value: list[Any] = [reader.nstring()]
    reader.take(b" ")
    value.append(reader.nstring())
    for _ in range(6):
        reader.take(b" ")
        value.append(_addresses(reader))
    for _ in range(2):
        reader.take(b" ")
        value.append(reader.nstring())
    reader.take(b")")
    return value


def _addresses(reader: Reader) -> list[Any] | None:
    if reader.sees(b"NIL"):
        reader.take(b"NIL")
        return None
    reader.take(b"(")
    value = [_address(reader)]
    while not reader.sees(b")"):
        value.append(_address(reader))
    reader.take(b")")
    depth = 0
    for name, route, mailbox, host in value:  # RFC 3501 §7.4.2: NIL hosts are the marks of groups, in pairs
        if host is None:
            if name is not None or route is not None:
                raise reader.fail("nothing but a name in a group mark")
            depth += 1 if mailbox is not None else -1
            if depth not in (0, 1):
                raise reader.fail("balanced group marks")
        elif mailbox is None:
            raise reader.fail("mailbox of an address")
    if depth:
        raise reader.fail("end of group")
    return value


def _address(reader: Reader) -> tuple[bytes | None, ...]:
    reader.take(b"(")
    value = [reader.nstring()]
    for _ in range(3):
        reader.take(b" ")
        value.append(reader.nstring())
    reader.take(b")")
    return tuple(value)


def _params(reader: Reader) -> dict[bytes, bytes] | None:
    if reader.sees(b"NIL"):
        reader.take(b"NIL")
        return None
    reader.take(b"(")
    value: dict[bytes, bytes] = {}
    while True:
        name = reader.string()
        reader.take(b" ")
        value.setdefault(name, reader.string())
        if reader.sees(b")"):
            reader.take(b")")
            return value
        reader.take(b" ")


def _tail(reader: Reader) -> dict[str, Any]:
    value: dict[str, Any] = {"disposition": None}
    reader.take(b" ")
    if reader.sees(b"NIL"):
        reader.take(b"NIL")
    else:
        reader.take(b"(")
        kind = reader.string()
        reader.take(b" ")
        value["disposition"] = (kind, _params(reader))
        reader.take(b")")
    reader.take(b" ")
    if reader.sees(b"("):
        reader.take(b"(")
        tags = [reader.string()]
        while reader.sees(b" "):
            reader.take(b" ")
            tags.append(reader.string())
        reader.take(b")")
        value["language"] = tags
    else:
        value["language"] = reader.nstring()
    reader.take(b" ")
    value["location"] = reader.nstring()
    return value


def _body(reader: Reader, extended: bool) -> dict[str, Any]:
    reader.take(b"(")
    value = _multipart(reader, extended) if reader.sees(b"(") else _leaf(reader, extended)
    reader.take(b")")
    return value


def _multipart(reader: Reader, extended: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"type": b"MULTIPART", "parts": []}
    while reader.sees(b"("):
        value["parts"].append(_body(reader, extended))
    reader.take(b" ")
    value["subtype"] = reader.string()
    if extended:
        reader.take(b" ")
        value["params"] = _params(reader)
        value |= _tail(reader)
    return value


def _leaf(reader: Reader, extended: bool) -> dict[str, Any]:
    quoted = reader.sees(b'"')
    value: dict[str, Any] = {"type": reader.string()}
    reader.take(b" ")
    quoted = quoted and reader.sees(b'"')
    value["subtype"] = reader.string()
    reader.take(b" ")
    value["params"] = _params(reader)
    for name in ("id", "description"):
        reader.take(b" ")
        value[name] = reader.nstring()
    reader.take(b" ")
    value["encoding"] = reader.string()
    reader.take(b" ")
    value["octets"] = reader.number()
    kind = value["type"].upper(), value["subtype"].upper()
    if kind[0] == b"MULTIPART":
        raise reader.fail("parts in a multipart")
    is_message = kind[0] == b"MESSAGE" and (kind[1] == b"RFC822" or (reader.rev2 and kind[1] == b"GLOBAL"))
    if is_message:
        if not quoted:
            raise reader.fail("media-message in quotes")
        reader.take(b" ")
        value["envelope"] = _envelope(reader)
        reader.take(b" ")
        value["message"] = _body(reader, extended)
    if kind[0] == b"TEXT" or is_message:
        reader.take(b" ")
        value["lines"] = reader.number()
    if extended:
        reader.take(b" ")
        value["md5"] = reader.nstring()
        value |= _tail(reader)
    return value
