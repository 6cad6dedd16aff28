"""Line ends of what comes in."""

import pytest

from mstore.mail.crlf import LineEnds, has_bare_lf, normalise

CASES = [
    (b"", b""),
    (b"a\r\nb\r\n", b"a\r\nb\r\n"),
    (b"a\nb\n", b"a\r\nb\r\n"),
    (b"\n\r\n\n", b"\r\n\r\n\r\n"),
    (b"a\rb\r", b"a\rb\r"),
    (b"a\r\r\nb\n\r", b"a\r\r\nb\r\n\r"),
    (b"\n\r\r\n\n\r\n", b"\r\n\r\r\n\r\n\r\n"),
]


@pytest.mark.parametrize(("data", "fixed"), CASES)
def test_bare_lf_becomes_crlf_and_bare_cr_stays(data: bytes, fixed: bytes) -> None:
    assert normalise(data) == fixed
    assert normalise(fixed) is fixed


@pytest.mark.parametrize(("data", "fixed"), CASES)
def test_chunks_may_be_cut_anywhere(data: bytes, fixed: bytes) -> None:
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            ends = LineEnds()
            pieces = data[:first], data[first:second], data[second:]
            assert b"".join([ends.feed(piece) for piece in pieces]) == fixed


@pytest.mark.parametrize("size", [0, 3, 5000, 40_000])
def test_a_bare_line_feed_is_found_wherever_it_stands(size: int) -> None:
    line = b"x" * size + b"\r\n"
    assert not has_bare_lf(line * 3)
    assert not has_bare_lf(b"\r" + line + b"\r\r\n\r")
    for place in range(0, 2 * len(line), max(1, size // 7)):
        text = line[:place] if place <= len(line) else line + line[: place - len(line)]
        is_bare = not text.endswith(b"\r")
        assert has_bare_lf(text + b"\n" + line) == is_bare
        assert has_bare_lf(text + b"\n") == is_bare


@pytest.mark.parametrize("rest", [b"", b"a\r\n" * 3000])
def test_the_byte_before_counts(rest: bytes) -> None:
    assert has_bare_lf(b"\n" + rest)
    assert not has_bare_lf(b"\n" + rest, after_cr=True)
    assert has_bare_lf(b"\n\n" + rest, after_cr=True)
    assert has_bare_lf(b"x\n" + rest, after_cr=True)
    assert not has_bare_lf(b"\r\n" + rest, after_cr=True)


@pytest.mark.parametrize("place", [32767, 32768, 32769, 65535, 65536, 65537])
def test_it_is_found_on_the_edges_of_pieces(place: int) -> None:
    text = b"x" * place
    assert has_bare_lf(text + b"\n")
    assert has_bare_lf(text + b"\n" + text)
    assert not has_bare_lf(text[1:] + b"\r\n" + text)
    assert not has_bare_lf(text[1:] + b"\r\n")
