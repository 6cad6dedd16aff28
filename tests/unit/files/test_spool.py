"""The spool: small in memory, large in a file without a name, the same bytes either way."""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mstore.base.errors import StorageFailed, TooBig
from mstore.files import spool as subject
from mstore.files.spool import MEMORY_BYTES, Spool
from tests.kit.dying import open_files


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_small_message_stays_in_memory(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"abc")
        spool.append(b"defg")
        assert spool.size == 7
        assert spool.buffer() == b"abcdefg"
        assert type(spool.buffer()) is bytes
        assert b"".join(spool.chunks(2)) == b"abcdefg"
        assert list(spool.chunks()) == [b"abcdefg"]
        assert not open_files(f"{tmp_path}/")


def test_empty_spool_is_an_empty_buffer(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        assert spool.size == 0
        assert spool.buffer() == b""
        assert list(spool.chunks()) == []


@pytest.mark.parametrize("piece_bytes", [1000, MEMORY_BYTES - 1, MEMORY_BYTES + 1, 3 * MEMORY_BYTES])
def test_large_message_goes_to_a_file_without_a_name(tmp_path: Path, piece_bytes: int) -> None:
    data = os.urandom(3 * MEMORY_BYTES + 77)
    with Spool(tmp_path) as spool:
        for start in range(0, len(data), piece_bytes):
            spool.append(data[start : start + piece_bytes])
        assert os.listdir(tmp_path) == []
        assert spool.size == len(data)
        assert isinstance(spool.buffer(), mmap.mmap)
        assert spool.buffer() is spool.buffer()
        assert spool.buffer()[:] == data
        pieces = list(spool.chunks(100_000))
        assert max(map(len, pieces)) <= 100_000
        assert b"".join(pieces) == data


def test_appending_after_reading_is_seen_by_the_next_reader(tmp_path: Path) -> None:
    data = b"x" * (MEMORY_BYTES + 1)
    with Spool(tmp_path) as spool:
        spool.append(data)
        assert len(spool.buffer()) == len(data)
        spool.append(b"tail")
        assert spool.buffer()[-4:] == b"tail"
        assert b"".join(spool.chunks()) == data + b"tail"


def test_memory_held_stays_small(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        piece = b"y" * 65536
        for _ in range(64):
            spool.append(piece)
            assert spool._pending_bytes <= MEMORY_BYTES


def test_close_gives_the_descriptor_back_and_may_be_repeated(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(b"z" * (MEMORY_BYTES + 1))
    held = spool.buffer()
    assert open_files(f"{tmp_path}/")
    spool.close()
    spool.close()
    assert held[:2] == b"zz"
    del held
    assert not open_files(f"{tmp_path}/")


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    with Spool(tmp_path, limit_bytes=10) as spool:
        spool.append(b"0123456789")
        with pytest.raises(TooBig):
            spool.append(b"x")


def test_failing_write_is_reported(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool, file_size_limit(100_000), pytest.raises(StorageFailed) as caught:
        spool.append(b"x" * (MEMORY_BYTES + 1))
    assert isinstance(caught.value.__cause__, OSError)


def test_missing_directory_is_reported(tmp_path: Path) -> None:
    with Spool(tmp_path / "gone") as spool, pytest.raises(StorageFailed):
        spool.append(b"x" * (MEMORY_BYTES + 1))


def test_file_systems_without_o_tmpfile_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, mode)  # type: ignore[arg-type]

    real = os.open
    monkeypatch.setattr(subject.os, "open", refuse)
    with Spool(tmp_path) as spool:
        spool.append(b"q" * (MEMORY_BYTES + 5))
        assert os.listdir(tmp_path) == []
        assert len(spool.buffer()) == MEMORY_BYTES + 5
