"""APPEND: line ends are put right, in memory and in a spool, across the edges of pieces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mstore.files.spool import Spool
from mstore.imap.commands.append import has_ascii_header, normalize


def session(root: Path) -> Any:
    settings = SimpleNamespace(spool_path=root, message_size_limit=10**8)
    return SimpleNamespace(service=SimpleNamespace(settings=settings))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\r\nb\r\n", None),
        (b"a\nb\r\n\n", b"a\r\nb\r\n\r\n"),
        (b"a\rb", None),
        (b"\n", b"\r\n"),
        (b"\r\n\n", b"\r\n\r\n"),
    ],
)
def test_bare_line_feeds_become_line_ends(content: bytes, expected: bytes | None, tmp_path: Path) -> None:
    result = normalize(content, session(tmp_path))
    if expected is None:
        assert result is content
    else:
        assert result == expected


@pytest.mark.parametrize("first", [b"x" * 262143 + b"\r", b"x" * 262143 + b"\n", b"x" * 262144])
@pytest.mark.parametrize("second", [b"\nrest\r\n", b"\nrest\n", b"rest\r\n"])
def test_the_edges_of_pieces_make_no_difference(first: bytes, second: bytes, tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(first)
        spool.append(second)
        whole = first + second
        expected = whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        result = normalize(spool, session(tmp_path))
        assert isinstance(result, Spool)
        assert bytes(result.buffer()) == expected
        if whole == expected:
            assert result is spool
        else:
            result.close()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", True),
        (b"Subject: a\r\n\r\n\xe4", True),
        (b"\r\n\xe4\r\n\r\n", True),
        (b"Subject: \xc3\xa4\r\n\r\n", False),
        (b"Subject: a\r\nX: \xe4\r\n\r\nx", False),
        (b"\xe4", False),
        (b"a\r\n\xe4", False),
    ],
)
def test_the_header_alone_is_asked_to_be_ascii(content: bytes, expected: bool, tmp_path: Path) -> None:
    assert has_ascii_header(content) is expected
    with Spool(tmp_path) as spool:
        assert has_ascii_header(spool.append_part(content)) is expected
        assert has_ascii_header(spool) is expected


@pytest.mark.parametrize("place", [0, 262_143, 262_144, 600_000])
def test_a_long_header_is_looked_at_to_its_end(place: int, tmp_path: Path) -> None:
    header = bytearray(b"X: y\r\n" * 100_001 + b"\r\n")
    for content, expected in ((bytes(header) + b"\xe4", True), (None, False)):
        if content is None:
            header[place] = 0xE4
            content = bytes(header) + b"x"
        with Spool(tmp_path) as spool:
            spool.append(content)
            assert has_ascii_header(spool) is expected
        assert has_ascii_header(content) is expected
