from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mstore.base import measure
from mstore.base.errors import StorageFailed
from mstore.files import raw
from tests.kit.faults import faults


class Stingy(raw.System):
    """Writes at most three bytes at a time."""

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return super().pwrite(fd, bytes(data)[:3], offset)

    def pwritev(self, fd: int, buffers: list[bytes], offset: int) -> int:
        return super().pwrite(fd, buffers[0][:3], offset)

    def copy_range(self, source: int, target: int, count: int, source_at: int, target_at: int) -> int:
        return super().copy_range(source, target, min(count, 3), source_at, target_at)


def test_short_writes_are_continued(tmp_path: Path) -> None:
    before = raw.install(Stingy())
    try:
        fd = raw.open_file(tmp_path / "a", raw.CREATE)
        raw.pwrite(fd, b"0123456789", 0)
        assert raw.pwritev(fd, [b"abcde", b"fghij"], 10) == 20
        raw.copy_range(fd, fd, 10, 5, 20)
    finally:
        raw.install(before)
    assert (tmp_path / "a").read_bytes() == b"0123456789abcdefghij56789abcde"
    raw.close(fd)


def test_many_buffers_are_written_in_order(tmp_path: Path) -> None:
    fd = raw.open_file(tmp_path / "a", raw.CREATE)
    assert raw.pwritev(fd, [b"%04d" % number for number in range(2000)], 0) == 8000
    assert (tmp_path / "a").read_bytes() == b"".join(b"%04d" % number for number in range(2000))
    other = raw.open_file(tmp_path / "b", raw.CREATE)
    with pytest.raises(StorageFailed):
        raw.copy_range(fd, other, 10, 7995, 0)
    raw.close(other)
    raw.close(fd)


def test_syncs_are_measured_and_failed_ones_are_not(tmp_path: Path) -> None:
    found: list[str] = []
    before = measure.install(lambda name, seconds: found.append(name) if seconds >= 0 else None)
    try:
        raw.sync_directory(tmp_path)
        assert found == [measure.SYNC]
        with pytest.raises(StorageFailed):
            raw.sync_directory(tmp_path / "none")
        assert found == [measure.SYNC]
    finally:
        measure.install(before)


@pytest.mark.parametrize("call", ["open", "pwrite", "sync", "truncate", "rename", "sync_directory"])
def test_every_failure_becomes_a_sentence(tmp_path: Path, call: str) -> None:
    with faults() as system:
        system.fail(call, code=errno.EIO)
        with pytest.raises(StorageFailed, match="Input/output error"):
            raw.write_file(tmp_path / "file", [(0, b"content")], 7)
            raw.sync_directory(tmp_path)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    raw.write_file(tmp_path / "file", [(0, b"one"), (8, b"two")], 16)
    assert (tmp_path / "file").read_bytes() == b"one\0\0\0\0\0two\0\0\0\0\0"
    with faults() as system:
        system.fail("sync")
        with pytest.raises(StorageFailed):
            raw.write_file(tmp_path / "file", [(0, b"other")], 5)
    assert (tmp_path / "file").read_bytes().startswith(b"one")


def test_conditions_that_callers_want_to_know_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        raw.open_file(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        raw.open_best(tmp_path / "none")
    raw.mkdir(tmp_path / "d")
    with pytest.raises(FileExistsError):
        raw.mkdir(tmp_path / "d")
    raw.unlink(tmp_path / "none")
    raw.rmdir(tmp_path / "none")
    raw.rmdir(tmp_path / "d")
    (tmp_path / "a").touch()
    raw.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileExistsError):
        raw.link(tmp_path / "a", tmp_path / "b")
    assert len(raw.boot_id()) == 16 == len(os.urandom(16))


def test_pieces_are_written_and_read_each_at_its_place(tmp_path: Path) -> None:
    fd = raw.open_file(tmp_path / "file", raw.CREATE)
    raw.pwrite_each(fd, b"aabbcc", 2, [0, 10, 4])
    assert raw.pread(fd, 20, 0) == b"aa\0\0cc\0\0\0\0bb"
    assert raw.pread_each(fd, 2, [10, 0, 11, 50]) == b"bbaab"

    class Short(raw.System):
        def pwrite(self, fd: int, data: raw.Buffer, offset: int) -> int:
            return super().pwrite(fd, data[:1], offset)

    before = raw.install(Short())
    try:
        raw.pwrite_each(fd, b"xxyy", 2, [0, 4])
    finally:
        raw.install(before)
    assert raw.pread(fd, 6, 0) == b"xx\0\0yy"
    raw.close(fd)
