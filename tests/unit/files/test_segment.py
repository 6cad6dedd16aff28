from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from mstore.files.segment import (
    HEADER_BYTES,
    PACKED,
    SegmentInfo,
    Segments,
    format_frame,
    format_header,
    is_whole,
    number_of,
    packed_numbers,
    parse_frame,
    parse_header,
    scan,
    segment_numbers,
)
from tests.kit.dying import open_files

INFO = SegmentInfo(4, 7, 1, 0xABC)


def frame(uid: int, content: bytes, place: int = 0, count: int = 1) -> bytes:
    return format_frame(len(content), 5, 1000, 77, zlib.crc32(content), uid, 2, place, count, 2000) + content


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    found = Segments(tmp_path)
    fd = found.create(INFO)
    os.pwrite(fd, b"".join(frame(uid, b"%d" % uid * 20, uid - 1, 3) for uid in (1, 2, 3)), HEADER_BYTES)
    return found


def test_a_frame_tells_all_that_the_index_needs() -> None:
    found = parse_frame(frame(9, b"hello", 1, 3), 4, 640)
    assert found is not None
    assert (found.uid, found.length, found.offset, found.end, found.segment) == (9, 5, 704, 709, 4)
    assert (found.flags, found.internal_date, found.save_date, found.email_id) == (5, 1000, 2000, 77)
    assert (found.place, found.mark, found.header_length) == (1, 0, 2)
    assert parse_frame(frame(9, b"x"), 4, 0).mark == 3  # type: ignore[union-attr]
    header = frame(9, b"hello")
    for at in range(HEADER_BYTES):
        assert parse_frame(header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :], 4, 0) is None


def test_a_scan_stops_at_what_is_torn(segments: Segments) -> None:
    fd = segments.fd(4)
    size = os.fstat(fd).st_size
    assert [found.uid for found in scan(fd, 4, HEADER_BYTES, size)] == [1, 2, 3]
    assert all(is_whole(fd, found) for found in scan(fd, 4, HEADER_BYTES, size))
    os.ftruncate(fd, size - 1)
    assert [found.uid for found in scan(fd, 4, HEADER_BYTES, size - 1)] == [1, 2]


def test_a_scan_may_go_on_behind_damage(segments: Segments) -> None:
    fd = segments.fd(4)
    size = os.fstat(fd).st_size
    os.pwrite(fd, b"??", HEADER_BYTES + HEADER_BYTES + 20)
    assert [found.uid for found in scan(fd, 4, HEADER_BYTES, size)] == [1]
    assert [found.uid for found in scan(fd, 4, HEADER_BYTES, size, resume=True)] == [1, 3]
    os.pwrite(fd, b"!", HEADER_BYTES + HEADER_BYTES + 5)
    assert not is_whole(fd, next(scan(fd, 4, HEADER_BYTES, size)))


def test_headers_name_their_segment(segments: Segments) -> None:
    data = os.pread(segments.fd(4), HEADER_BYTES, 0)
    assert parse_header(data) == INFO
    assert parse_header(data[:-1]) is None
    assert parse_header(b"\0" + data[1:]) is None
    assert parse_header(format_header(INFO._replace(uid_floor=9)))._asdict()["uid_floor"] == 9  # type: ignore[union-attr]
    assert (number_of("messages.12"), number_of("messages.x"), number_of("messages.1.new")) == (
        12,
        None,
        None,
    )


def test_few_descriptors_stay_open_but_never_those_in_use(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    for number in range(1, 12):
        segments.create(SegmentInfo(number, 7, 1, 1))
    pinned = segments.pin(1)
    for number in range(1, 12):
        segments.fd(number)
    assert len(open_files(f"{tmp_path}/")) <= 7
    assert os.pread(pinned, 4, 0) == b"MSsg"
    segments.close()
    assert os.pread(pinned, 4, 0) == b"MSsg"
    segments.unpin(1)
    segments.close()
    with pytest.raises(OSError):
        os.pread(pinned, 4, 0)


def test_packed_segments_have_numbers_and_names_of_their_own(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    for number in (3, PACKED, PACKED + 12):
        segments.create(SegmentInfo(number, 7, 1, 1))
    assert sorted(os.listdir(tmp_path)) == ["messages.3", "packed.0", "packed.12"]
    assert (segment_numbers(tmp_path), packed_numbers(tmp_path)) == ([3], [PACKED, PACKED + 12])
    assert (number_of("packed.7"), number_of("packed.7.new"), number_of(f"packed.{PACKED}")) == (
        PACKED + 7, None, None,
    )  # fmt: skip


def test_a_removed_segment_is_let_go_of_when_its_last_reader_is_done(segments: Segments) -> None:
    pinned = segments.pin(4)
    segments.create(SegmentInfo(5, 7, 1, 1))
    unused = segments.fd(5)
    segments.path(4).unlink()
    segments.forget()
    with pytest.raises(OSError):
        os.fstat(unused)
    assert os.pread(pinned, 4, 0) == b"MSsg"
    segments.unpin(4)
    with pytest.raises(FileNotFoundError):
        segments.pin(4)
    with pytest.raises(OSError):
        os.fstat(pinned)


def test_who_writes_never_writes_into_a_file_without_a_name(segments: Segments) -> None:
    segments.fd(4)
    data = segments.path(4).read_bytes()
    segments.path(4).unlink()
    assert segments.status(4) is None
    segments.path(4).write_bytes(data)
    status = segments.status(4)
    assert status is not None and status.st_ino == segments.path(4).stat().st_ino
