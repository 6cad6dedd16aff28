"""Reading messages: by pread, in bounded pieces, from the page cache at once and from the disk beside others.

A read that the page cache can serve is done on the spot (``RWF_NOWAIT``); one that would wait for the disk
goes through ``blocking.call``. A message read as a whole is checked against its frame, so damage never passes
for mail. Who finds a segment gone looks again where compaction has brought the message."""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import Corrupt, Expunged
from mstore.base.flags import TOMBSTONE
from mstore.files import raw
from mstore.files.layout import FRAME, FRAME_MAGIC
from mstore.files.segment import HEADER_BYTES
from mstore.store.room import Spare

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

CHUNK_BYTES = 256 << 10
_WINDOW_BYTES = 256 << 10
_WINDOW_ROWS = 4096
_GAP_BYTES = 8192
_CHECKED_BYTES = 128 << 10
_MAGIC = struct.Struct("<I")
_CRC_UID = struct.Struct("<II")
_CRC_AT = FRAME.offset_of("message_crc")

_BUFFER = Spare(HEADER_BYTES + CHUNK_BYTES)


def pread_soon(fd: int, count: int, offset: int) -> bytearray | bytes:
    """Read from the page cache at once, from the disk while other sessions run."""
    buffer = bytearray(count)
    done = _read_now(fd, buffer, offset)
    if done == count:
        return buffer
    return buffer[:done] if done >= 0 else blocking.call(raw.pread, fd, count, offset)


def read_into(fd: int, buffer: memoryview, offset: int) -> memoryview:
    """Fill a buffer, as ``pread_soon`` does; gives what was read: shorter where the file ends, and not the
    buffer where the disk had to be waited for."""
    done = _read_now(fd, buffer, offset)
    if done >= 0:
        return buffer[:done]
    return memoryview(bytearray(blocking.call(raw.pread, fd, len(buffer), offset)))


def _read_now(fd: int, buffer: bytearray | memoryview, offset: int) -> int:
    """Fill a buffer from the page cache; -1 when the disk has to be waited for, less where the file ends."""
    try:
        done = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        if done == len(buffer) or os.preadv(fd, [bytearray(1)], offset + done, os.RWF_NOWAIT) == 0:
            return done
    except OSError:
        pass
    return -1


class Moved(Exception):
    """A message was to be read where it lies no longer: compaction brought it elsewhere, or removed it."""


def pin(mailbox: Mailbox, segment: int) -> int:
    """A descriptor of a segment, which stays open until it is unpinned.

    Raises: Moved when there is no such segment: ``follow`` finds out why.
    """
    try:
        return mailbox.segments.pin(segment)
    except FileNotFoundError:
        raise Moved from None


def follow(mailbox: Mailbox, row: int, segment: int) -> None:
    """Look where a message lies now that was not found in a segment; returns when it lies elsewhere.

    Raises: Expunged when it is gone for good, what ``Mailbox.gone`` says when the mailbox is, Corrupt when
    its segment alone is gone.
    """
    mailbox.refresh()
    full = mailbox.index.columns.full
    if full.segment.item(row) != segment:
        return
    if not mailbox.path.exists():
        raise mailbox.gone()
    if full.flags.item(row) & TOMBSTONE:
        raise Expunged("the message has been expunged")
    if not mailbox.segments.exists(segment):
        raise Corrupt(f"segment {segment} is missing")


def read(mailbox: Mailbox, row: int, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a message; fewer where it ends.

    Raises: StorageFailed, Corrupt, Expunged.
    """
    size = mailbox.index.columns.full.size.item(row)
    count = size - offset if length is None else min(length, size - offset)
    if count <= 0:
        return b""
    return bytes(_read_piece(mailbox, row, offset, count, memoryview(bytearray(HEADER_BYTES + count))))


def chunks(mailbox: Mailbox, row: int, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Bytes of a message in pieces."""
    return map(bytes, views(mailbox, row, offset, length))


def views(mailbox: Mailbox, row: int, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
    """Bytes of a message in pieces, each only until the next is asked for: all are read into one buffer."""
    size = mailbox.index.columns.full.size.item(row)
    end = size if length is None else min(size, offset + length)
    buffer = _BUFFER.take()
    try:
        while offset < end:
            count = min(CHUNK_BYTES, end - offset)
            yield _read_piece(mailbox, row, offset, count, buffer)
            offset += count
    finally:
        _BUFFER.give_back(buffer)


def _read_piece(mailbox: Mailbox, row: int, offset: int, count: int, buffer: memoryview) -> memoryview:
    """So many bytes of a message; the buffer has room for them and the header of a frame."""
    while True:
        full = mailbox.index.columns.full
        segment, start = full.segment.item(row), full.offset.item(row)
        try:
            fd = pin(mailbox, segment)
            break
        except Moved:
            follow(mailbox, row, segment)
    ahead = HEADER_BYTES if offset == 0 else 0
    try:
        data = read_into(fd, buffer[: ahead + count], start + offset - ahead)
    finally:
        mailbox.segments.unpin(segment)
    if len(data) != ahead + count:
        raise Corrupt(f"segment {segment} is cut short")
    if not ahead:
        return data
    return _checked(data, full.uid.item(row), segment, is_all=count == full.size.item(row))


def _checked(frame: memoryview, uid: int, segment: int, is_all: bool = True) -> memoryview:
    """The message in a frame, of which the end may be missing unless this ``is_all``.

    Raises: Corrupt.
    """
    content = frame[HEADER_BYTES:]
    crc, its_uid = _CRC_UID.unpack_from(frame, _CRC_AT)
    if _MAGIC.unpack_from(frame)[0] != FRAME_MAGIC or its_uid != uid:
        raise Corrupt(f"message {uid} is damaged in segment {segment}")
    if is_all and len(content) <= _CHECKED_BYTES and zlib.crc32(content) != crc:
        raise Corrupt(f"message {uid} is damaged in segment {segment}")
    return content


def read_many(mailbox: Mailbox, rows: npt.NDArray[Any], header_only: bool = False) -> Iterator[list[bytes]]:
    """The messages of ascending rows (or their headers), in windows of bounded size.

    Neighbours in a segment are read by one system call where little lies between them. Whole messages are
    checked as ``read`` does.
    Raises: StorageFailed, Corrupt, Expunged.
    """
    rows = np.asarray(rows)
    run = _Run(mailbox, not header_only)
    done = 0
    while True:
        try:
            for window in _windows(mailbox, rows[done:], header_only, run):
                done += len(window)
                yield window
            return
        except Moved:
            window = run.take()
            done += len(window)
        if window:
            yield window
        row = int(rows[done])
        follow(mailbox, row, run.segment)


def _windows(
    mailbox: Mailbox, rows: npt.NDArray[Any], header_only: bool, run: _Run
) -> Iterator[list[bytes]]:
    full = mailbox.index.columns.full
    starts = full.offset[rows].astype(np.int64)
    lengths = (full.header_length if header_only else full.size)[rows].astype(np.int64)
    if not header_only:  # each with its frame, which tells whether it is sound
        starts -= HEADER_BYTES
        lengths += HEADER_BYTES
    segments = full.segment[rows]
    ends = starts + lengths
    apart = (
        (segments[1:] != segments[:-1]) | (starts[1:] < ends[:-1]) | (starts[1:] - ends[:-1] > _GAP_BYTES)
    )
    bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(rows)]
    held = 0
    numbers, begin, end = segments.tolist(), starts.tolist(), ends.tolist()
    uids = full.uid[rows].tolist()
    for first, last in itertools.pairwise(bounds):
        while first < last:
            stop = _stop(end, begin[first], first, last)
            run.read(numbers[first], begin[first:stop], end[first:stop], uids[first:stop])
            held += end[stop - 1] - begin[first]
            first = stop
            if held >= _WINDOW_BYTES or len(run.found) >= _WINDOW_ROWS:
                yield run.take()
                blocking.breathe()
                held = 0
    if run.found:
        yield run.take()


def _stop(ends: list[int], begin: int, first: int, last: int) -> int:
    """How many neighbours fit into one window; at least one."""
    if ends[last - 1] - begin <= _WINDOW_BYTES:
        return last
    low, high = first + 1, last
    while low < high:
        middle = (low + high) // 2
        if ends[middle] - begin <= _WINDOW_BYTES:
            low = middle + 1
        else:
            high = middle
    return low


class _Run:
    """Reads neighbours of one segment by one call, into a buffer that serves for all."""

    __slots__ = ("_buffer", "_framed", "_mailbox", "found", "segment")

    def __init__(self, mailbox: Mailbox, framed: bool) -> None:
        self._mailbox = mailbox
        self._framed = framed
        """Frames are read, of which the messages are wanted."""
        self._buffer = memoryview(bytearray(4096))
        self.found: list[bytes] = []
        self.segment = 0
        """The one read from last."""

    def take(self) -> list[bytes]:
        """What was read since the last time."""
        found, self.found = self.found, []
        return found

    def read(self, segment: int, begins: list[int], ends: list[int], uids: list[int]) -> None:
        """Read from the first beginning to the last end, and cut.

        Raises: Moved, StorageFailed, Corrupt.
        """
        base = begins[0]
        count = ends[-1] - base
        if count > len(self._buffer):
            self._buffer = memoryview(bytearray(count))
        segments = self._mailbox.segments
        self.segment = segment
        fd = pin(self._mailbox, segment)
        try:
            data = self._buffer[:count]
            if not _read_cached(fd, data, base):
                data = memoryview(blocking.call(raw.pread, fd, count, base))
        finally:
            segments.unpin(segment)
        if len(data) != count:
            raise Corrupt(f"segment {segment} is cut short")
        if self._framed:
            self._take_framed(data, base, begins, ends, uids)
            return
        if len(begins) == 1:
            self.found.append(bytes(data))
            return
        self.found.extend(
            [bytes(data[start - base : end - base]) for start, end in zip(begins, ends, strict=True)]
        )

    def _take_framed(
        self, data: memoryview, base: int, begins: list[int], ends: list[int], uids: list[int]
    ) -> None:
        for begin, end, uid in zip(begins, ends, uids, strict=True):
            frame = data[begin - base : end - base]
            self.found.append(bytes(_checked(frame, uid, self.segment)))


def _read_cached(fd: int, data: memoryview, offset: int) -> bool:
    try:
        return os.preadv(fd, [data], offset, os.RWF_NOWAIT) == len(data)
    except OSError:
        return False
