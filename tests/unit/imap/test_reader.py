"""Literals: asked for or not, within limits; behind every refusal stands the next command."""

from pathlib import Path

import pytest

from mstore.base.errors import StorageFailed
from mstore.files.spool import Part, Spool
from mstore.imap import reader
from mstore.imap.errors import Bad, Bye, No
from mstore.imap.reader import Limits, Reader
from mstore.net.stream import Disconnected, Stream
from tests.unit.net.test_stream import Pieces

SMALL = Limits(line_bytes=100, literals_bytes=20, discard_bytes=1000)


def read(
    line: bytes, *pieces: bytes, limits: Limits = SMALL, root: Path = Path("/tmp")
) -> tuple[Reader, Pieces, Stream]:
    transport = Pieces(*pieces)
    stream = Stream(transport)
    made = Reader(stream, limits, lambda: Spool(root))
    made.read(line)
    stream.flush()
    return made, transport, stream


def test_a_synchronising_literal_is_asked_for() -> None:
    made, transport, _ = read(b"a X {3}\r\n", b"abc", b" {2}\r\n", b"de", b" f\r\n")
    assert made.literals == [b"abc", b"de"]
    assert made.data == b"a X {3}\r\n {2}\r\n f\r\n"
    assert transport.sent == [b"+ OK\r\n", b"+ OK\r\n"]


def test_a_literal_that_comes_unasked_is_not_asked_for() -> None:
    made, transport, stream = read(b"a X {3+}\r\n", b"abc\r\nb NEXT\r\n")
    assert made.literals == [b"abc"]
    assert transport.sent == []
    assert stream.read_line() == b"b NEXT\r\n"


def test_a_literal_may_be_empty() -> None:
    assert read(b"a X {0+}\r\n", b"\r\n")[0].literals == [b""]


def test_a_refused_command_asks_for_no_literal() -> None:
    transport = Pieces(b"b NEXT\r\n")
    stream = Stream(transport)
    with pytest.raises(Bad, match="nonsense"):
        Reader(stream, SMALL, lambda: Spool("/tmp"), Bad("nonsense")).read(b"a X {3}\r\n")
    assert stream.read_line() == b"b NEXT\r\n"
    assert transport.sent == []


def test_what_comes_unasked_is_read_though_refused() -> None:
    stream = Stream(Pieces(b"0123456789" * 3 + b" {4+}\r\nabcd\r\nb NEXT\r\n"))
    with pytest.raises(Bad, match="literal too long"):
        Reader(stream, SMALL, lambda: Spool("/tmp")).read(b"a X {30+}\r\n")
    assert stream.read_line() == b"b NEXT\r\n"


def test_many_small_literals_have_one_limit() -> None:
    stream = Stream(Pieces(b"0123456789 {10+}\r\n0123456789 {1+}\r\nx\r\nb NEXT\r\n"))
    with pytest.raises(Bad, match="literal too long"):
        Reader(stream, SMALL, lambda: Spool("/tmp")).read(b"a X {10+}\r\n")
    assert stream.read_line() == b"b NEXT\r\n"


def test_the_lines_of_a_command_have_one_limit() -> None:
    stream = Stream(Pieces(b"x" + b"y" * 70 + b" {1+}\r\nx" + b"z" * 70 + b"\r\nb NEXT\r\n"))
    with pytest.raises(Bad, match="command too long"):
        Reader(stream, SMALL, lambda: Spool("/tmp")).read(b"a X {1+}\r\n")
    assert stream.read_line() == b"b NEXT\r\n"


def test_a_literal_too_long_to_be_thrown_away_ends_the_session() -> None:
    with pytest.raises(Bye) as caught:
        read(b"a X {1001+}\r\n", b"x")
    assert caught.value.code == b"TOOBIG"
    with pytest.raises(Bye):
        read(b"a X {99999999999999999999+}\r\n", b"x")


def test_a_message_too_big_is_refused_with_toobig() -> None:
    limits = Limits(100, 20, 10**6, message_bytes=50)
    for line in (b"a APPEND b {51}\r\n", b"a APPEND b {51+}\r\n"):
        with pytest.raises(No) as caught:
            read(line, b"x" * 51, b"\r\n", limits=limits)
        assert caught.value.code == b"TOOBIG"


def test_a_large_message_goes_into_a_spool(tmp_path: Path) -> None:
    size = reader.SPOOL_ABOVE_BYTES + 10
    limits = Limits(100, 20, 10**6, message_bytes=10**6)
    pieces = [b"m" * 50000] * (size // 50000) + [b"m" * (size % 50000), b"\r\n"]
    made, _, _ = read(b"a APPEND b {%d}\r\n" % size, *pieces, limits=limits, root=tmp_path)
    (spool,) = made.literals
    assert isinstance(spool, Spool)
    assert spool.size == size
    made.close()
    assert made.literals == []


def test_a_full_disk_refuses_the_message_and_keeps_the_session(tmp_path: Path) -> None:
    class Full(Spool):
        def append(self, data: bytes) -> None:
            raise StorageFailed("no space left on device")

    size = reader.SPOOL_ABOVE_BYTES + 1
    pieces = [b"m" * 50000] * (size // 50000) + [b"m" * (size % 50000), b"\r\n", b"b NEXT\r\n"]
    stream = Stream(Pieces(*pieces))
    made = Reader(stream, Limits(100, 20, 10**6, 10**6), lambda: Full(tmp_path))
    with pytest.raises(StorageFailed):
        made.read(b"a APPEND b {%d+}\r\n" % size)
    assert stream.read_line() == b"b NEXT\r\n"


def test_a_client_that_goes_in_mid_literal_is_gone() -> None:
    with pytest.raises(Disconnected):
        read(b"a X {3+}\r\n", b"ab")
    with pytest.raises(Disconnected):
        read(b"a X {3+}\r\n", b"abc")


def test_what_announces_a_literal() -> None:
    assert reader.announces_literal(b"a {3}\r\n")
    assert reader.announces_literal(b"a {3+}\n")
    for line in (b"a {3}", b"a {}\r\n", b"a {-1}\r\n", b"a {3} \r\n", b"a {3-}\r\n", b"a {x}\r\n"):
        assert not reader.announces_literal(line)


MESSAGES = Limits(line_bytes=10000, literals_bytes=20, discard_bytes=1 << 30, message_bytes=1 << 20)


def test_small_messages_beyond_what_is_held_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "HELD_BYTES", 250_000)
    pieces = [b"%d" % number * 100_000 for number in range(5)]
    sent = b"".join(b"%b {100000+}\r\n" % piece for piece in pieces[:-1]) + pieces[-1] + b"\r\n"
    made, _, _ = read(b"a X {100000+}\r\n", sent, limits=MESSAGES, root=tmp_path)
    assert [type(literal) for literal in made.literals] == [bytes, bytes, Part, Part, Part]
    assert [
        bytes(getattr(literal, "buffer", lambda one=literal: one)()) for literal in made.literals
    ] == pieces
    part = made.literals[3]
    assert isinstance(part, Part) and part.size == 100_000 and b"".join(part.chunks()) == pieces[3]
    made.close()
    assert not made.literals


def test_large_messages_of_one_command_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_SPOOLS", 1)
    large = b"x" * 300_000
    sent = large + b" {300000+}\r\n" + large + b"\r\nnext"
    stream = Stream(Pieces(sent))
    with pytest.raises(No, match="Too many large"):
        Reader(stream, MESSAGES, lambda: Spool(tmp_path)).read(b"a X {300000+}\r\n")
    assert stream.read_exact(4) == b"next"


def test_all_messages_of_one_command_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MESSAGES_BYTES", 10)
    small = Limits(line_bytes=100, literals_bytes=2, discard_bytes=1000, message_bytes=8)
    stream = Stream(Pieces(b"12345678 {5}\r\n"))
    with pytest.raises(No, match="Too much"):
        Reader(stream, small, lambda: Spool(tmp_path)).read(b"a X {8+}\r\n")
