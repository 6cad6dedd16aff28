"""The PROXY protocol of HAProxy, versions 1 and 2: who a connection is from that a proxy has passed on.

The header comes first, before TLS. It is read so that nothing behind it is taken.
"""

from __future__ import annotations

import socket
import struct
from typing import Protocol

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LONGEST_V1 = 107
_LONGEST_V2 = 4096
_BEGINNING = 12
"""No header of either version is shorter."""
_V4, _V6 = 0x11, 0x21
"""TCP over IPv4 and over IPv6."""


class BadHeader(Exception):
    """What came is no header; the text says why."""


class Readable(Protocol):
    """Where the header is read from."""

    def recv(self, size: int) -> bytes: ...


def read_header(sock: Readable) -> str | None:
    """The address of the client; None when the proxy speaks for itself, as to see whether we are there.

    Raises: BadHeader, OSError.
    """
    begun = _exactly(sock, _BEGINNING)
    if begun == _SIGNATURE:
        return _read_v2(sock)
    if begun.startswith(b"PROXY "):
        return _read_v1(sock, begun)
    raise BadHeader("does not begin with a PROXY header")


def _exactly(sock: Readable, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise BadHeader("ended before a PROXY header")
        data += more
    return data


def _read_v1(sock: Readable, line: bytes) -> str | None:
    while not line.endswith(b"\r\n"):
        if len(line) >= _LONGEST_V1:
            raise BadHeader("the PROXY header is too long")
        line += _exactly(sock, 1)
    words = line[:-2].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return None
    families = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}
    if len(words) != 6 or words[1] not in families:
        raise BadHeader("the PROXY header cannot be read")
    try:
        return socket.inet_ntop(families[words[1]], socket.inet_pton(families[words[1]], words[2]))
    except OSError:
        raise BadHeader("the PROXY header has no address") from None


def _read_v2(sock: Readable) -> str | None:
    command, family, length = struct.unpack("!BBH", _exactly(sock, 4))
    if command >> 4 != 2 or command & 0xF > 1:
        raise BadHeader("the PROXY header is of a version or command that nobody knows")
    if length > _LONGEST_V2:
        raise BadHeader("the PROXY header is too long")
    addresses = _exactly(sock, length)
    if command & 0xF == 0:
        return None
    if family == _V4 and length >= 12:
        return socket.inet_ntop(socket.AF_INET, addresses[:4])
    if family == _V6 and length >= 36:
        return socket.inet_ntop(socket.AF_INET6, addresses[:16])
    if family in (_V4, _V6):
        raise BadHeader("the PROXY header has no address")
    return None
