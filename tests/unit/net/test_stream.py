"""Streams: lines, counts, limits, batches of output, and what happens when the peer goes."""

import socket
import threading

import pytest

from mstore.net.stream import QUEUE_BYTES, Disconnected, LineTooLong, Stream, TimedOut


class Pieces:
    """Gives prepared pieces, then the end; keeps what is sent."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent: list[bytes] = []

    def recv(self, size: int, /) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def sendall(self, data: bytes | memoryview, /) -> None:
        self.sent.append(bytes(data))

    def settimeout(self, seconds: float | None, /) -> None:
        self.timeout = seconds

    def close(self) -> None:
        self.pieces = []


def test_lines_keep_their_ends_however_they_arrive() -> None:
    stream = Stream(Pieces(b"a\r\nb", b"b\n", b"\r", b"\nlast"))
    assert [stream.read_line() for _ in range(4)] == [b"a\r\n", b"bb\n", b"\r\n", b""]
    assert stream.read_line() == b""


def test_a_long_line_is_dropped_whole_and_the_next_is_read() -> None:
    stream = Stream(Pieces(b"tag " + b"x" * 100, b"y" * 100 + b" {5+}\r\nnext\r\n"))
    with pytest.raises(LineTooLong) as caught:
        stream.read_line(50)
    assert caught.value.head.startswith(b"tag xxx")
    assert caught.value.tail.endswith(b"y {5+}\r\n")
    assert stream.read_line(50) == b"next\r\n"


def test_a_line_is_too_long_by_one_byte_even_when_it_is_there_at_once() -> None:
    assert Stream(Pieces(b"1234\r\n")).read_line(6) == b"1234\r\n"
    with pytest.raises(LineTooLong):
        Stream(Pieces(b"12345\r\n")).read_line(6)


def test_a_line_without_end_needs_no_memory() -> None:
    pieces = Pieces(*[b"x" * 16384] * 100, b"\nok\n")
    stream = Stream(pieces)
    with pytest.raises(LineTooLong) as caught:
        stream.read_line(1000)
    assert len(caught.value.head) + len(caught.value.tail) <= 1024
    assert stream.read_line() == b"ok\n"


def test_counted_bytes_come_from_the_buffer_first() -> None:
    stream = Stream(Pieces(b"line\r\nabc", b"defgh", b"i", b"j"))
    assert stream.read_line() == b"line\r\n"
    assert stream.has_input()
    assert stream.read_exact(2) == b"ab"
    assert stream.read_exact(5) == b"cdefg"
    assert b"".join(stream.read_chunks(3, 2)) == b"hij"
    assert not stream.has_input()
    with pytest.raises(Disconnected):
        stream.read_exact(1)


def test_has_line_is_true_only_for_a_whole_line() -> None:
    stream = Stream(Pieces(b"a\r\nb"))
    stream.read_line()
    assert stream.has_input()
    assert not stream.has_line()


def test_unread_bytes_come_next() -> None:
    stream = Stream(Pieces(b"abcdef"))
    assert stream.read_some() == b"abcdef"
    stream.unread(b"def\n")
    assert stream.read_line() == b"def\n"


def test_output_goes_out_in_one_call_at_flush_or_when_it_is_much() -> None:
    pieces = Pieces()
    stream = Stream(pieces)
    stream.write(b"a")
    stream.writelines([b"b", b"c"])
    assert pieces.sent == []
    stream.flush()
    stream.flush()
    assert pieces.sent == [b"abc"]
    stream.write(b"x" * 40000)
    assert len(pieces.sent) == 2
    assert stream.bytes_out == 40003


def test_an_idle_stream_holds_no_bytes() -> None:
    stream = Stream(Pieces(b"one\r\n"))
    stream.read_line()
    assert stream._buffer == b""


def test_a_silent_peer_times_out() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(TimedOut):
        Stream(near, timeout_s=0.01).read_line()


def test_a_peer_that_has_gone_is_the_end_of_input_and_a_failure_of_output() -> None:
    near, far = socket.socketpair()
    far.close()
    stream = Stream(near)
    assert stream.read_line() == b""
    stream.write(b"x")
    with pytest.raises(Disconnected):
        stream.flush()
    stream.close()
    stream.close()


def test_interrupt_ends_a_read_that_waits() -> None:
    near, far = socket.socketpair()
    stream = Stream(near)
    result: list[bytes] = []
    reader = threading.Thread(target=lambda: result.append(stream.read_line()))
    reader.start()
    stream.interrupt()
    reader.join(40)
    assert result == [b""]
    stream.write(b"still")
    stream.flush()
    assert far.recv(10) == b"still"
    near.close()
    far.close()


def test_drain_lets_the_last_words_through() -> None:
    near, far = socket.socketpair()
    far.sendall(b"x" * 5000)
    far.shutdown(socket.SHUT_WR)
    stream = Stream(near)
    stream.write(b"* BYE\r\n")
    stream.drain()
    stream.close()
    assert far.recv(100) == b"* BYE\r\n"
    far.close()


def test_starting_tls_forgets_what_came_in_plain_text() -> None:
    class Context:
        def wrap_socket(self, transport: object, server_side: bool) -> object:
            assert server_side
            return Pieces(b"under tls\r\n")

    stream = Stream(Pieces(b"STARTTLS\r\nLOGIN mallory x\r\n"))
    stream.read_line()
    stream.start_tls(Context())
    assert stream.tls
    assert stream.read_line() == b"under tls\r\n"


@pytest.mark.parametrize("size", (10, QUEUE_BYTES))
def test_what_a_view_shows_is_sent_as_it_was(size: int) -> None:
    pieces = Pieces()
    stream = Stream(pieces)
    buffer = bytearray(b"a" * size)
    stream.write(b"first ")
    stream.write(memoryview(buffer))
    buffer[:] = b"b" * size
    stream.write(memoryview(buffer)[:5])
    stream.flush()
    assert b"".join(pieces.sent) == b"first " + b"a" * size + b"bbbbb"
