"""Taking a message off the connection: its end, its dots, its chunks."""

from __future__ import annotations

import random

import pytest

from mstore.lmtp.receive import read_chunk, read_content
from mstore.net.stream import Disconnected


class Pieces:
    """A source that gives its bytes in pieces of its choice."""

    def __init__(self, data: bytes, sizes: int | random.Random) -> None:
        self.data = data
        self.sizes = sizes

    def read_some(self, limit: int = 65536) -> bytes:
        size = self.sizes if isinstance(self.sizes, int) else self.sizes.randint(1, 9)
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def unread(self, data: bytes) -> None:
        self.data = data + self.data


class Collector:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self.pieces.append(data)


def receive(wire: bytes, sizes: int | random.Random = 1 << 20) -> tuple[bytes, bytes]:
    source, sink = Pieces(wire, sizes), Collector()
    read_content(source, sink)
    return b"".join(sink.pieces), source.data


WIRES = [
    (b".\r\n", b""),
    (b"\r\n.\r\n", b"\r\n"),
    (b"a\r\n.\r\n", b"a\r\n"),
    (b"..\r\n.\r\n", b".\r\n"),
    (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
    (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
    (b".a\r\n.\r\n", b"a\r\n"),
    (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),
    (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
    (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n"),
    (b"a\r.\r\nb\r\n.\r\n", b"a\r.\r\nb\r\n"),
    (b"a\r\n\r\n\r\n\r\n.\r\n", b"a\r\n\r\n\r\n\r\n"),
    (b"a\r\r\n.\r\n", b"a\r\r\n"),
    (b"a\r\n..\r\n..\r\n..\r\n.\r\n", b"a\r\n.\r\n.\r\n.\r\n"),
]


@pytest.mark.parametrize(("wire", "content"), WIRES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1000])
def test_only_a_line_of_one_dot_ends_a_message(wire: bytes, content: bytes, size: int) -> None:
    assert receive(wire + b"QUIT\r\n", size) == (content, b"QUIT\r\n")


def test_any_content_comes_through_however_it_is_cut() -> None:
    chance = random.Random(5)
    for _ in range(400):
        content = bytes(chance.choices(b"\r\n.ab", k=chance.randint(0, 30))).replace(b"\r", b"\r\n") + b"\r\n"
        wire = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
        assert receive(wire + b"NEXT", chance) == (content, b"NEXT")


@pytest.mark.parametrize("wire", [b"", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a\r\n.\n"])
def test_a_message_without_its_end_is_none(wire: bytes) -> None:
    with pytest.raises(Disconnected):
        receive(wire, 3)


def test_large_content_is_handed_on_as_it_comes() -> None:
    line = b"x" * 998 + b"\r\n"
    source, sink = Pieces(line * 5000 + b".\r\n", 65536), Collector()
    read_content(source, sink)
    assert max(map(len, sink.pieces)) <= 65536 + 4
    assert b"".join(sink.pieces) == line * 5000


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_chunk_is_counted_and_what_follows_stays(size: int) -> None:
    source, sink = Pieces(b"a\n.\r\nbQUIT\r\n", size), Collector()
    read_chunk(source, sink, 6)
    assert (b"".join(sink.pieces), source.data[:4]) == (b"a\n.\r\nb", b"QUIT")


def test_a_chunk_that_nobody_wants_is_dropped() -> None:
    source = Pieces(b"abcQUIT\r\n", 1000)
    read_chunk(source, None, 3)
    assert source.data == b"QUIT\r\n"


def test_a_connection_that_ends_within_a_chunk() -> None:
    with pytest.raises(Disconnected):
        read_chunk(Pieces(b"ab", 10), Collector(), 3)
