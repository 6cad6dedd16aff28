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

    def sendall(self, data: bytes | memoryview) -> None:
        self.sent.append(bytes(data))

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


LAST = b"a UNAUTHENTICATE\r\n"


def endings() -> list[bytes]:
    """What a client sends that ends its compression behind a line, and goes on in plain text."""
    found = []
    sync, finish = zlib.Z_SYNC_FLUSH, zlib.Z_FINISH
    for modes in ((sync,), (zlib.Z_FULL_FLUSH,), (finish,), (sync, finish)):
        maker = zlib.compressobj(9, zlib.DEFLATED, -15)
        found.append(maker.compress(LAST) + b"".join(map(maker.flush, modes)) + b"b LOGIN joe secret\r\n")
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    found.append(stored.compress(LAST) + stored.flush(zlib.Z_SYNC_FLUSH) + b"b LOGIN joe secret\r\n")
    return found


@pytest.mark.parametrize("data", endings(), ids=("sync", "full", "finish", "sync-finish", "stored"))
@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 11, 1000])
def test_compression_ends_where_the_client_ends_it(data: bytes, step: int) -> None:
    transport = ScriptedTransport([data[at : at + step] for at in range(0, len(data), step)])
    stream = Stream(transport)
    stream.start_deflate()
    assert stream.read_line() == LAST
    assert not stream.has_input()
    stream.write(b"a OK\r\n")
    stream.end_deflate()
    reader = zlib.decompressobj(-15)
    assert reader.decompress(transport.sent[0]) == b"a OK\r\n" and reader.eof and not reader.unused_data
    assert stream.read_line() == b"b LOGIN joe secret\r\n"
    stream.write(b"b OK\r\n")
    stream.flush()
    assert transport.sent[1:] == [b"b OK\r\n"]
    assert stream.read_line() == b""


def test_compression_may_begin_again() -> None:
    data = endings()[0] + b"c COMPRESS DEFLATE\r\n"
    transport = ScriptedTransport([data, compressed(b"d NOOP\r\n")])
    stream = Stream(transport)
    stream.start_deflate()
    stream.read_line()
    stream.write(b"a OK\r\n")
    stream.end_deflate()
    assert stream.read_line() == b"b LOGIN joe secret\r\n"
    assert stream.read_line() == b"c COMPRESS DEFLATE\r\n"
    stream.write(b"c OK\r\n")
    stream.start_deflate()
    assert stream.read_line() == b"d NOOP\r\n"
    stream.write(b"d OK\r\n")
    stream.flush()
    assert transport.sent[1] == b"c OK\r\n"
    assert zlib.decompressobj(-15).decompress(transport.sent[2]) == b"d OK\r\n"


def test_tls_begins_on_the_socket_itself() -> None:
    wrapped = []
    transport = ScriptedTransport([endings()[0] + b"injected"])
    stream = Stream(transport, wrap_tls=lambda socket, context: wrapped.append(socket) or socket)
    stream.start_deflate()
    stream.read_line()
    stream.write(b"a OK\r\n")
    stream.end_deflate()
    assert stream.read_line() == b"b LOGIN joe secret\r\n"
    stream.start_tls(object())
    assert wrapped == [transport] and not stream.has_input()


def test_what_a_client_compresses_beyond_the_end_ends_the_connection() -> None:
    connection = Deflated(Pieces([compressed(LAST)[:-4], b"\0\0\xfe\xff" + b"more"]))
    assert connection.recv(100) == LAST
    connection.end()
    with pytest.raises(OSError):
        connection.recv(100)


def test_flushes_without_end_let_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    monkeypatch.setattr(deflate.blocking, "breathe", lambda: turns.append(1))
    maker = zlib.compressobj(9, zlib.DEFLATED, -15)
    empty = maker.flush(zlib.Z_FULL_FLUSH)
    connection = Deflated(Pieces([empty * 30_000 + compressed(b"a NOOP\r\n")]))
    assert connection.recv(1 << 20) == b"a NOOP\r\n"
    assert len(turns) >= 5
