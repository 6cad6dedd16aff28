"""Compressed connections: whole at every send, bounded at every receive, refusing bombs and noise."""

import zlib
from collections.abc import Iterable

import pytest

from mstore.net import deflate
from mstore.net.deflate import Deflated
from mstore.net.stream import Stream
from tests.kit.scripted import ScriptedTransport


class Pieces:
    """A socket that gives pieces, counts what is asked of it, and keeps what is sent."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = list(pieces)
        self.sent: list[bytes] = []

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        assert len(piece) <= size
        return piece

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.sent.append(b"closed")


def compressed(data: bytes) -> bytes:
    maker = zlib.compressobj(9, zlib.DEFLATED, -15)
    return maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH)


def test_each_piece_sent_can_be_read_when_it_has_come() -> None:
    socket = Pieces([])
    connection = Deflated(socket)
    reader = zlib.decompressobj(-15)
    for text in (b"* OK\r\n", b"x" * 100_000, b"a OK done\r\n"):
        connection.sendall(text)
        assert reader.decompress(socket.sent[-1]) == text
    assert sum(map(len, socket.sent)) < 2000


def test_what_is_received_is_expanded_no_further_than_asked_for() -> None:
    data = compressed(b"A" * 1_000_000)
    connection = Deflated(Pieces([data[at : at + 7] for at in range(0, len(data), 7)]))
    total = 0
    while piece := connection.recv(4096):
        assert len(piece) <= 4096
        total += len(piece)
    assert total == 1_000_000


def test_bytes_that_bring_nothing_by_themselves_are_waited_beyond() -> None:
    data = compressed(b"a NOOP\r\n")
    connection = Deflated(Pieces([data[at : at + 1] for at in range(len(data))]))
    pieces = list(iter(lambda: connection.recv(100), b""))
    assert b"".join(pieces) == b"a NOOP\r\n" and b"" not in pieces


def test_noise_ends_the_connection_and_so_does_the_end_of_the_compression() -> None:
    with pytest.raises(OSError, match="does not send"):
        Deflated(Pieces([b"\xff\xff\xff plain text"])).recv(100)
    maker = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = Deflated(Pieces([maker.compress(b"a NOOP\r\n") + maker.flush(), b"more"]))
    assert ended.recv(100) == b"a NOOP\r\n"
    assert ended.recv(100) == b""


def test_a_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "SURPLUS_BYTES", 1 << 20)
    data = compressed(b"A" * (16 << 20))
    connection = Deflated(Pieces([data]))
    total = 0
    with pytest.raises(OSError, match="expands too far"):
        while piece := connection.recv(len(data)):
            total += len(piece)
    assert total < 4 << 20


def test_an_ordinary_long_session_is_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "SURPLUS_BYTES", 1000)
    maker = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [maker.compress(b"a%d NOOP\r\n" % n) + maker.flush(zlib.Z_SYNC_FLUSH) for n in range(2000)]
    connection = Deflated(Pieces(pieces))
    while connection.recv(100):
        pass


def test_what_was_written_before_goes_out_as_it_is() -> None:
    transport = ScriptedTransport([compressed(b"b NOOP\r\n")])
    stream = Stream(transport)
    stream.write(b"a OK\r\n")
    stream.start_deflate()
    assert transport.sent == [b"a OK\r\n"]
    assert stream.read_line() == b"b NOOP\r\n"
    stream.write(b"b OK\r\n")
    stream.flush()
    assert zlib.decompressobj(-15).decompress(transport.sent[1]) == b"b OK\r\n"
    stream.close()
