"""The frames of ``ipc/authproxyd-sasl``, for both of its sides; ``docs/authproxyd.md`` describes them.

A frame is a letter, three bytes with the length of what follows, and fields: a length in one byte, a name, a
length in two bytes, a value. Which fields a frame may and must have is a table here, and anything else is an
error: nothing is skipped, guessed or held beyond its limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from mstore.base.errors import MStoreError

VERSION = b"1"

HELLO = b"H"
START, CONTINUE, CANCEL = b"S", b"R", b"X"
CHALLENGE, OK, NO = b"C", b"O", b"N"

HEAD_BYTES = 4
MAX_BODY_BYTES = 32768
MAX_DATA_BYTES = 16384
"""What one message of a mechanism may have."""
MAX_NAME_BYTES = 1024
MAX_FIELDS = 64

_RECEIVE_BYTES = 8192


class ProtocolError(MStoreError):
    """The other side does not keep to the protocol."""


class Connection(Protocol):
    """What frames need of a socket."""

    def recv(self, n: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class Field(NamedTuple):
    """What a frame may have: how long it may be, whether it must be there, whether there may be several."""

    max_bytes: int
    required: bool = False
    many: bool = False


_DATA = Field(MAX_DATA_BYTES, required=True)
_NAME = Field(MAX_NAME_BYTES)

FIELDS: Mapping[bytes, Mapping[bytes, Field]] = MappingProxyType(
    {
        HELLO: {b"version": Field(8, required=True), b"mechanism": Field(256, many=True)},
        START: {
            b"mechanism": Field(64, required=True),
            b"service": Field(32, required=True),
            b"peer": Field(256, required=True),
            b"server": Field(256, required=True),
            b"tls": Field(1, required=True),
            b"binding": Field(512, many=True),
            b"certificate-cn": _NAME,
            b"certificate-email": Field(MAX_NAME_BYTES, many=True),
            b"initial": Field(MAX_DATA_BYTES),
        },
        CONTINUE: {b"data": _DATA},
        CANCEL: {},
        CHALLENGE: {b"data": _DATA},
        OK: {
            b"account": _NAME,
            b"login": Field(MAX_NAME_BYTES, required=True),
            b"final": Field(MAX_DATA_BYTES),
        },
        NO: {
            b"code": Field(64, required=True),
            b"text": Field(1024, required=True),
            b"login": _NAME,
            b"end": Field(1),
        },
    }
)
_LIMITS = {kind: {name: rule.max_bytes for name, rule in rules.items()} for kind, rules in FIELDS.items()}
_NEEDED = {kind: [name for name, rule in rules.items() if rule.required] for kind, rules in FIELDS.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, complete and legal."""

    kind: bytes
    fields: Mapping[bytes, list[bytes]] = field(repr=False)

    def one(self, name: bytes) -> bytes:
        """A field that must be there."""
        return self.fields[name][0]

    def get(self, name: bytes) -> bytes | None:
        """A field that may be there."""
        values = self.fields.get(name)
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        """Every field of this name."""
        return self.fields.get(name, [])


def pack(kind: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a frame.

    Raises: ProtocolError for what is longer than may be.
    """
    limits = _LIMITS[kind]
    parts = []
    for name, value in fields:
        size = len(value)
        if size > limits[name]:
            raise ProtocolError(f"{name.decode()} is too long")
        parts.append(b"%c%b%c%c%b" % (len(name), name, size >> 8, size & 255, value))
    body = b"".join(parts)
    if len(body) > MAX_BODY_BYTES:
        raise ProtocolError("frame is too long")
    return kind + len(body).to_bytes(3, "big") + body


def unpack(kind: bytes, body: bytes) -> Frame:
    """The frame of a letter and what follows the length.

    Raises: ProtocolError
    """
    limits = _LIMITS.get(kind)
    if limits is None:
        raise ProtocolError(f"there is no frame {kind!r}")
    fields: dict[bytes, list[bytes]] = {}
    at, count, size = 0, 0, len(body)
    while at < size:
        count += 1
        start = at + 3 + body[at]
        if start > size:
            raise ProtocolError("a field is longer than its frame")
        length = body[start - 2] << 8 | body[start - 1]
        end = start + length
        if end > size:
            raise ProtocolError("a field is longer than its frame")
        name = body[at + 1 : start - 2]
        limit = limits.get(name)
        if limit is None or count > MAX_FIELDS:
            text = f"frame {kind!r} has no field {name[:40]!r}"
            raise ProtocolError(text if limit is None else "too many fields")
        if length > limit:
            raise ProtocolError(f"{name.decode()} is too long")
        if name not in fields:
            fields[name] = [body[start:end]]
        elif FIELDS[kind][name].many:
            fields[name].append(body[start:end])
        else:
            raise ProtocolError(f"{name.decode()} is given twice")
        at = end
    for name in _NEEDED[kind]:
        if name not in fields:
            raise ProtocolError(f"frame {kind!r} needs {name.decode()}")
    return Frame(kind, fields)


class Frames:
    """A connection, read and written by frames."""

    __slots__ = ("_buffer", "_connection", "_held")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = b""
        self._held = b""

    def hold(self, data: bytes) -> None:
        """Send frames with the next ones, or before the other side is waited for."""
        self._held += data

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send frames that are packed already.

        Raises: OSError, TimeoutError.
        """
        data, self._held = self._held + data, b""
        self._connection.settimeout(timeout_s)
        self._connection.sendall(data)

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; None when the other side has closed between two.

        Raises: ProtocolError; OSError, TimeoutError when it is not whole in time.
        """
        deadline_s = time.monotonic() + timeout_s
        if not self._fill(HEAD_BYTES, deadline_s):
            return None
        size = int.from_bytes(self._buffer[1:HEAD_BYTES], "big")
        kind = self._buffer[:1]
        if kind not in FIELDS:
            raise ProtocolError(f"there is no frame {kind!r}")
        if size > MAX_BODY_BYTES:
            raise ProtocolError("frame is too long")
        end = HEAD_BYTES + size
        self._fill(end, deadline_s)
        body, self._buffer = self._buffer[HEAD_BYTES:end], self._buffer[end:]
        return unpack(kind, body)

    def close(self) -> None:
        """Close the connection."""
        self._buffer = b""
        self._connection.close()

    def _fill(self, size: int, deadline_s: float) -> bool:
        """Receive until so many bytes are there; False when the input ends before the first."""
        while len(self._buffer) < size:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            if self._held:
                self.write(b"", left_s)
            self._connection.settimeout(left_s)
            data = self._connection.recv(_RECEIVE_BYTES)
            if not data:
                if self._buffer:
                    raise ProtocolError("the connection ended within a frame")
                return False
            self._buffer += data
        return True
