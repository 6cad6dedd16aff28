"""Segments: append-only files of messages, each behind a 64-byte frame header; the truth about messages.

A frame carries all that the index needs, so the index can be made again from segments alone. Frames of one
transaction form a group (marked first and last), adopted whole or not at all when its author died before
publishing it. Segments are read by pread and never mapped. Once written, a frame never changes. Packed
segments (``packed.<m>``, numbered from 2**31 on) hold copies of frames that a compaction has brought
together: they are whole from birth and never added to. No number is ever used for a second segment.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mstore.base.errors import StorageFailed
from mstore.files import raw
from mstore.files.layout import (
    FIRST_IN_GROUP,
    FRAME,
    FRAME_MAGIC,
    LAST_IN_GROUP,
    SEGMENT,
    SEGMENT_MAGIC,
    VERSION,
)

ROLL_BYTES = 32 << 20
HEADER_BYTES = FRAME.size
PACKED = 1 << 31
"""Segments with this number or above are packed ones."""
_NAME = re.compile(r"(messages|packed)\.([0-9]+)\Z")
_MOST_OPEN = 6
_FRAME_TAIL = struct.Struct("<" + "".join(field.code for field in FRAME.fields[2:]))
_FRAME_HEAD = struct.Struct("<II")


class Frame(NamedTuple):
    """A frame as found in a segment."""

    segment: int
    offset: int
    """Of the message's first byte."""
    length: int
    flags: int
    internal_date: int
    email_id: int
    message_crc: int
    uid: int
    header_length: int
    place: int
    mark: int
    save_date: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def format_frame(
    length: int,
    flags: int,
    internal_date: int,
    email_id: int,
    message_crc: int,
    uid: int,
    header_length: int,
    place: int,
    count: int,
    save_date: int,
) -> bytes:
    """A frame header; ``place`` counts from 0 in a group of ``count``."""
    mark = (FIRST_IN_GROUP if place == 0 else 0) | (LAST_IN_GROUP if place == count - 1 else 0)
    tail = _FRAME_TAIL.pack(
        length,
        flags,
        internal_date,
        email_id,
        message_crc,
        uid,
        header_length,
        place & 0xFFFF,
        mark,
        save_date,
    )
    return _FRAME_HEAD.pack(FRAME_MAGIC, zlib.crc32(tail)) + tail


def parse_frame(header: bytes, segment: int, offset: int) -> Frame | None:
    """The frame whose header (at ``offset``) this is; None when it is not one."""
    if len(header) < HEADER_BYTES:
        return None
    magic, crc = _FRAME_HEAD.unpack_from(header)
    tail = header[8:HEADER_BYTES]
    if magic != FRAME_MAGIC or crc != zlib.crc32(tail):
        return None
    return Frame(segment, offset + HEADER_BYTES, *_FRAME_TAIL.unpack(tail))


def scan(fd: int, segment: int, start: int, end: int, resume: bool = False) -> Iterator[Frame]:
    """The frames from ``start`` on, up to the first that is torn, foreign or longer than the file.

    ``resume`` goes on behind damage, looking for the next frame header.
    """
    while start < end:
        frame = parse_frame(raw.pread(fd, HEADER_BYTES, start), segment, start)
        if frame is None or frame.end > end:
            if not resume:
                return
            start = _next_magic(fd, start + 1, end)
            continue
        yield frame
        start = frame.end


def _next_magic(fd: int, start: int, end: int) -> int:
    magic = FRAME_MAGIC.to_bytes(4, "little")
    while start < end:
        piece = raw.pread(fd, 1 << 20, start)
        at = piece.find(magic)
        if at >= 0:
            return start + at
        if len(piece) < 1 << 20:
            break
        start += len(piece) - 3
    return end


def is_whole(fd: int, frame: Frame) -> bool:
    """True when the message behind a frame has the checksum its header gives."""
    crc, at = 0, frame.offset
    while at < frame.end:
        piece = raw.pread(fd, min(1 << 20, frame.end - at), at)
        if not piece:
            return False
        crc, at = zlib.crc32(piece, crc), at + len(piece)
    return crc == frame.message_crc


class SegmentInfo(NamedTuple):
    """What the header of a segment says."""

    number: int
    uid_validity: int
    uid_floor: int
    mailbox_id: int


def format_header(info: SegmentInfo) -> bytes:
    """The header of a segment."""
    data = bytearray(
        SEGMENT.write(magic=SEGMENT_MAGIC, crc=0, version=VERSION, created=int(time.time()), **info._asdict())
    )
    struct.pack_into("<I", data, 4, zlib.crc32(data[8:]))
    return bytes(data)


def parse_header(data: bytes) -> SegmentInfo | None:
    """What a segment's header says; None when it is damaged."""
    if len(data) < SEGMENT.size:
        return None
    header = SEGMENT.read(data)
    if (
        header.magic != SEGMENT_MAGIC
        or header.crc != zlib.crc32(data[8 : SEGMENT.size])
        or header.version != VERSION
    ):
        return None
    return SegmentInfo(header.number, header.uid_validity, header.uid_floor, header.mailbox_id)


def number_of(name: str) -> int | None:
    """The number of the segment whose file has this name; None when it is no segment."""
    found = _NAME.match(name)
    if found is None:
        return None
    number = int(found.group(2)) + (PACKED if found.group(1) == "packed" else 0)
    return number if number <= 0xFFFFFFFF else None


def segment_name(number: int) -> str:
    """The name of a segment's file."""
    return f"packed.{number - PACKED}" if number >= PACKED else f"messages.{number}"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments that are appended to, ascending."""
    return [number for number in every_segment(directory) if number < PACKED]


def packed_numbers(directory: Path) -> list[int]:
    """The numbers of the packed segments, ascending."""
    return [number for number in every_segment(directory) if number >= PACKED]


def every_segment(directory: Path) -> list[int]:
    """The numbers of all segments there are, ascending: packed ones last."""
    numbers = [number_of(name) for name in raw.list_directory(directory)]
    return sorted(number for number in numbers if number is not None)


class Segments:
    """The segments of one mailbox, with a few descriptors kept open."""

    __slots__ = ("_fds", "_forgotten", "_pinned", "_read_only", "directory")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._fds: dict[int, int] = {}
        self._read_only: set[int] = set()
        """Those last opened for reading alone."""
        self._pinned: dict[int, int] = {}
        self._forgotten: set[int] = set()

    def path(self, number: int) -> Path:
        """Where a segment is."""
        return self.directory / segment_name(number)

    def fd(self, number: int) -> int:
        """A descriptor of a segment; FileNotFoundError when there is none of that number."""
        fd = self._fds.get(number)
        return fd if fd is not None else self._keep(number, raw.open_best(self.path(number)))

    def _keep(self, number: int, fd: int) -> int:
        if raw.is_writable(fd):
            self._read_only.discard(number)
        else:
            self._read_only.add(number)
        for oldest in list(self._fds):
            if len(self._fds) < _MOST_OPEN:
                break
            if not self._pinned.get(oldest):
                raw.close(self._fds.pop(oldest))
        self._fds[number] = fd
        return fd

    def fd_to_write(self, number: int) -> int:
        """A descriptor for writing; one that was opened while the disk was read-only is opened again.

        Raises: StorageFailed while somebody still reads by that one.
        """
        fd = self.fd(number)
        if number not in self._read_only:
            return fd
        if self._pinned.get(number):
            cause = OSError(errno.EROFS, os.strerror(errno.EROFS))
            raise StorageFailed("the disk was read-only until just now; try again") from cause
        raw.close(self._fds.pop(number))
        return self.fd(number)

    def pin(self, number: int) -> int:
        """A descriptor that stays open until ``unpin``, for a use that lets other sessions run."""
        fd = self.fd(number)
        self._pinned[number] = self._pinned.get(number, 0) + 1
        return fd

    def unpin(self, number: int) -> None:
        """End a use begun by ``pin``."""
        left = self._pinned.pop(number) - 1
        if left:
            self._pinned[number] = left
        elif number in self._forgotten:
            self._forgotten.discard(number)
            raw.close(self._fds.pop(number))

    def forget(self) -> None:
        """Keep no descriptor but those in use just now, and those no longer than they are.

        Segments were removed: a descriptor would keep their bytes on the disk.
        """
        self.close()
        self._forgotten.update(self._fds)

    def exists(self, number: int) -> bool:
        """True when there is a segment of that number."""
        return number in self._fds or self.path(number).exists()

    def status(self, number: int) -> os.stat_result | None:
        """The state of a segment's file as it is under its name now; None when there is none.

        A descriptor of a file that was removed or replaced meanwhile is given up.
        """
        try:
            status = os.fstat(self.fd(number))
            if status.st_nlink == 0 and not self._pinned.get(number):
                raw.close(self._fds.pop(number))
                status = os.fstat(self.fd(number))
            return status
        except FileNotFoundError:
            return None

    def create(self, info: SegmentInfo) -> int:
        """Begin a segment, or begin again one in which no whole frame stands.

        Durable: the file with its header, and its name.
        """
        fd = raw.open_file(self.path(info.number), raw.REPLACE)
        try:
            raw.pwrite(fd, format_header(info), 0)
            raw.sync(fd)
            raw.sync_directory(self.directory)
        except BaseException:
            raw.close(fd)
            raise
        known = self._fds.pop(info.number, None)
        self._forgotten.discard(info.number)
        if known is not None:
            raw.close(known)
        return self._keep(info.number, fd)

    def close(self) -> None:
        """Close every descriptor that is not in use just now."""
        for number in list(self._fds):
            if not self._pinned.get(number):
                raw.close(self._fds.pop(number))
