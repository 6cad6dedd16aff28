"""Line ends of what comes in."""

import pytest

from mstore.mail.crlf import LineEnds, normalise

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
