"""The file etc/nologin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mstore.net.nologin import DEFAULT_TEXT, read_nologin


def test_no_file_means_open(tmp_path: Path) -> None:
    assert read_nologin(tmp_path / "nologin") is None
    assert read_nologin(tmp_path / "etc" / "nologin") is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"closed until noon\nsecond line\n", "closed until noon"),
        (b"no line end", "no line end"),
        (b"with CR\r\nx", "with CR"),
        (b"", DEFAULT_TEXT),
        (b"\nsecond", DEFAULT_TEXT),
        (b"caf\xc3\xa9 \x1b[1m", "caf? ?[1m"),
        (b"\xff\x00", "??"),
        (b"x" * 5000, "x" * 400),
    ],
)
def test_first_line_is_told(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "nologin"
    path.write_bytes(content)
    assert read_nologin(path) == text


def test_what_cannot_be_read_closes_as_well(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "nologin")
    assert read_nologin(tmp_path / "nologin") == DEFAULT_TEXT
