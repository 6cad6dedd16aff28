"""What a recovery learns from the segments themselves when journals have lost the word of a compaction.

A packed segment holds copies of messages that were live when it was made; where a record that says so is lost
to damage, the frames tell their UIDs. Headers of segments that were torn or damaged are made again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mstore.base.flags import TOMBSTONE
from mstore.files import raw
from mstore.files.index import Index
from mstore.files.segment import (
    HEADER_BYTES,
    Frame,
    SegmentInfo,
    Segments,
    every_segment,
    format_header,
    is_whole,
    packed_numbers,
    parse_header,
    scan,
)
from mstore.store.diskuse import dead_bytes, measure

_UNKNOWN_PACKED = 1 << 16
"""More packed segments than can have been there, and be gone, when no index tells their numbers."""


def packed_frames(segments: Segments, first: int, below: int) -> dict[int, Frame]:
    """The whole frames of packed segments with UIDs from ``first`` on and below a limit, by UID."""
    frames = {}
    for number in packed_numbers(segments.directory):
        fd = segments.fd(number)
        for frame in scan(fd, number, HEADER_BYTES, raw.size_of(fd), resume=True):
            if first <= frame.uid < below and is_whole(fd, frame):
                frames[frame.uid] = frame
    return frames


def find_moved(index: Index, segments: Segments) -> None:
    """Let rows whose segment is gone refer to the copies in packed segments; what is nowhere stays lost."""
    columns = index.columns
    there = np.array(every_segment(segments.directory), np.uint32)
    gone = np.flatnonzero(~np.isin(columns.segment, there) & (columns.flags & np.uint64(TOMBSTONE) == 0))
    if not len(gone):
        return
    frames = packed_frames(segments, int(columns.uid[gone[0]]), int(columns.uid[gone[-1]]) + 1)
    for row in gone.tolist():
        frame = frames.get(columns.uid.item(row))
        if frame is None:
            continue
        if (frame.length, frame.email_id) == (columns.size.item(row), columns.email_id.item(row)):
            columns.full.segment[row], columns.full.offset[row] = frame.segment, frame.offset


def take_stock(index: Index, directory: Path, rebuilt: bool) -> None:
    """Count anew what is dead, and leave packed numbers alone that are or may have been taken."""
    taken = [number + 1 for number in packed_numbers(directory)]
    index.packed_next = max([index.packed_next, *taken]) + (_UNKNOWN_PACKED if rebuilt else 0)
    index.dead_bytes = dead_bytes(measure(directory, index).values(), index.packed_next)


def mend_headers(index: Index, segments: Segments) -> None:
    """Make headers of segments again that are torn or damaged.

    Durable: the headers.
    """
    try:
        mailbox_id = int(segments.directory.name, 16) & 0xFFFFFFFFFFFFFFFF
    except ValueError:
        mailbox_id = 0
    for number in every_segment(segments.directory):
        fd = segments.fd(number)
        if parse_header(raw.pread(fd, HEADER_BYTES, 0)) is not None:
            continue
        info = SegmentInfo(number, index.uid_validity, 1, mailbox_id)
        raw.pwrite(fd, format_header(info), 0)
        raw.sync(fd)


def uid_floor(segments: Segments) -> int:
    """The highest floor that a header tells: all UIDs below it were used or may have been."""
    floors = [1]
    for number in every_segment(segments.directory):
        info = parse_header(raw.pread(segments.fd(number), HEADER_BYTES, 0))
        if info is not None:
            floors.append(info.uid_floor)
    return max(floors)
