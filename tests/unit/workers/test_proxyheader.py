"""The header by which a proxy says whom a connection is from."""

import socket
import struct

import pytest

from workers.proxyheader import BadHeader, read_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 5000, 143)
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + struct.pack("!HH", 5000, 143)


class Peer:
    def __init__(self, data: bytes, piece: int) -> None:
        self.data = data
        self.piece = piece

    def recv(self, size: int) -> bytes:
        taken = min(size, self.piece)
        found, self.data = self.data[:taken], self.data[taken:]
        return found


def v2(command: int, family: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


GOOD = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 143\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:DB8:0::7 ::1 5000 143\r\n", "2001:db8::7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n", None),
    (v2(0x21, 0x11, FOUR), "192.0.2.7"),
    (v2(0x21, 0x11, FOUR + b"\x03\x00\x04abcd"), "192.0.2.7"),
    (v2(0x21, 0x21, SIX), "2001:db8::7"),
    (v2(0x20, 0x00, b""), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x31, bytes(216)), None),
]
BAD = [
    b"", b"a LOGIN joe secret\r\n", b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP4 joe 192.0.2.1 5000 143\r\n",
    b"PROXY TCP9 192.0.2.7 192.0.2.1 5000 143\r\n", b"PROXY TCP4 " + b"1" * 200, b"PROXY TCP4 192.0.2.7",
    v2(0x31, 0x11, FOUR), v2(0x22, 0x11, FOUR), v2(0x21, 0x11, b"abc"), v2(0x21, 0x21, FOUR),
    v2(0x21, 0x11, FOUR)[:-1], SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 60000) + bytes(60000),
]  # fmt: skip


@pytest.mark.parametrize("piece", [1, 3, 5000])
@pytest.mark.parametrize("header, address", GOOD)
def test_addresses_are_found_and_nothing_behind_is_taken(
    header: bytes, address: str | None, piece: int
) -> None:
    peer = Peer(header + b"a NOOP\r\n", piece)
    assert read_header(peer) == address
    assert peer.data == b"a NOOP\r\n"


@pytest.mark.parametrize("piece", [1, 5000])
@pytest.mark.parametrize("header", BAD)
def test_what_is_no_header_is_refused(header: bytes, piece: int) -> None:
    with pytest.raises(BadHeader):
        read_header(Peer(header, piece))
