"""The frames of the socket for exchanges: torn, oversized, garbage."""

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.auth.frames import (
    CHALLENGE,
    CONTINUE,
    FIELDS,
    HELLO,
    MAX_BODY_BYTES,
    MAX_DATA_BYTES,
    NO,
    START,
    Frames,
    ProtocolError,
    pack,
    unpack,
)


class Pieces:
    """A connection that gives these pieces and then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""
        self.asked = 0

    def recv(self, n: int, /) -> bytes:
        self.asked += 1
        piece = self.pieces.pop(0) if self.pieces else b""
        if len(piece) > n:
            self.pieces.insert(0, piece[n:])
        return piece[:n]

    def sendall(self, data: bytes, /) -> None:
        self.sent += data

    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


HELLO_FRAME = pack(HELLO, [(b"version", b"1")])


@given(st.binary(max_size=MAX_DATA_BYTES))
def test_what_is_packed_is_read_again(data: bytes) -> None:
    frame = Frames(Pieces(pack(CONTINUE, [(b"data", data)]))).read(1)
    assert frame is not None and frame.kind == CONTINUE and frame.one(b"data") == data


def test_frames_may_come_torn_and_joined() -> None:
    two = HELLO_FRAME + pack(CONTINUE, [(b"data", b"x")])
    for pieces in ([two], [two[i : i + 1] for i in range(len(two))], [two[:3], two[3:17], two[17:]]):
        frames = Frames(Pieces(*pieces))
        kinds = [frame.kind for frame in (frames.read(1), frames.read(1)) if frame is not None]
        assert kinds == [HELLO, CONTINUE]
        assert frames.read(1) is None


@pytest.mark.parametrize("cut", range(1, len(HELLO_FRAME)))
def test_an_end_within_a_frame_is_an_error(cut: int) -> None:
    with pytest.raises(ProtocolError):
        Frames(Pieces(HELLO_FRAME[:cut])).read(1)


@pytest.mark.parametrize("head", [b"Z\0\0\0", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\0", b"\0\0\0\0", b"AUTHENTICATE joe x\r\n"])  # fmt: skip  # noqa: E501
def test_garbage_is_told_by_its_first_byte(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames(Pieces(head)).read(1)


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    many = [b"R" + (MAX_BODY_BYTES + 1).to_bytes(3, "big")] + [b"x" * 8192] * 5
    connection = Pieces(*many)
    with pytest.raises(ProtocolError):
        Frames(connection).read(1)
    assert connection.asked == 1


BAD_FIELDS = [
    (HELLO, b""),  # no version
    (HELLO, b"\x07version\0\x011\x07version\0\x011"),
    (HELLO, b"\x07version\0\x091"),  # longer than its frame
    (HELLO, b"\x07version\0\x09123456789"),  # longer than may be
    (HELLO, b"\x07version"),
    (HELLO, b"\xff"),
    (HELLO, b"\x05other\0\x011"),
    (HELLO, b"\x07version\0\x011\0\0\0"),  # a field without a name
    (CONTINUE, b"\x04data" + (MAX_DATA_BYTES + 1).to_bytes(2, "big") + b"x" * (MAX_DATA_BYTES + 1)),
    (START, b"\x07binding\0\0" * 200),
]


@pytest.mark.parametrize(("kind", "body"), BAD_FIELDS)
def test_fields_that_are_not_as_they_must_be_are_refused(kind: bytes, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(kind, body)


@given(st.sampled_from(sorted(FIELDS)), st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_an_error(kind: bytes, body: bytes) -> None:
    try:
        frame = unpack(kind, body)
    except ProtocolError:
        return
    assert set(frame.fields) <= set(FIELDS[kind])


@given(st.binary(max_size=400))
def test_any_bytes_are_read_to_an_end(data: bytes) -> None:
    frames = Frames(Pieces(data))
    try:
        while frames.read(1) is not None:
            pass
    except ProtocolError:
        pass


def test_what_is_too_long_is_not_packed() -> None:
    with pytest.raises(ProtocolError):
        pack(CHALLENGE, [(b"data", b"x" * (MAX_DATA_BYTES + 1))])
    with pytest.raises(ProtocolError):
        pack(START, [(b"binding", b"x" * 512)] * 100)


def test_what_is_held_goes_out_with_the_next_frame_or_before_waiting() -> None:
    connection = Pieces(HELLO_FRAME)
    frames = Frames(connection)
    frames.hold(b"one")
    frames.write(b"two", 1)
    assert connection.sent == b"onetwo"
    frames.hold(b"three")
    frames.read(1)
    assert connection.sent == b"onetwothree"


def test_a_frame_must_be_whole_in_time() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(HELLO_FRAME[:5])
    with pytest.raises(TimeoutError):
        Frames(theirs).read(0.05)
    ours.close()
    theirs.close()


def test_a_slow_drip_does_not_stretch_the_time() -> None:
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        for byte in pack(NO, [(b"code", b"x"), (b"text", b"y" * 500)]):
            if stop.wait(0.02):
                return
            ours.sendall(bytes((byte,)))

    thread = threading.Thread(target=drip)
    thread.start()
    with pytest.raises(TimeoutError):
        Frames(theirs).read(0.15)
    stop.set()
    thread.join()
    ours.close()
    theirs.close()


def test_secrets_are_not_shown() -> None:
    frame = unpack(CONTINUE, pack(CONTINUE, [(b"data", b"hunter2")])[4:])
    assert "hunter2" not in repr(frame)
