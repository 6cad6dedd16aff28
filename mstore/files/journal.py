"""The journal: checksummed groups of records, appended under the lock and followed without one.

One transaction is one group; a reader applies whole valid groups and stops at anything else, which is either
a group being written just now or the torn end that a crash left: the next writer cuts it off. The checksum
covers generation and position, so a group is valid only where it was meant to stand. A group that must be on
disk before anybody may see it (an expunge) is written as pending, synced, and then released by its magic.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mstore.base.errors import Corrupt
from mstore.files import raw
from mstore.files.layout import (
    DERIVED_AT,
    EXPUNGE_GUARD,
    EXPUNGED,
    FLAGGED,
    GROUP,
    GROUP_MAGIC,
    JOURNAL,
    JOURNAL_MAGIC,
    KEYWORD,
    MOVED,
    PENDING_MAGIC,
    RECENT,
    RECORD,
    RELOCATED,
    SEALED,
    SEEN_BY,
    SWEPT,
    TAIL_MOVED,
    TYPE_DERIVED_AT,
    TYPE_EXPUNGED,
    TYPE_FLAGGED,
    TYPE_KEYWORD,
    TYPE_RECENT,
    TYPE_RELOCATED,
    TYPE_SEALED,
    TYPE_SEEN_BY,
    TYPE_SWEPT,
    TYPE_TAIL_MOVED,
    TYPE_UID_NEXT,
    UID_NEXT,
    VERSION,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

START = JOURNAL.size
NO_BOOT = b"\xff" * 16
"""Instead of a boot id: the names of the generation may not be on disk yet."""
SEAL_BYTES = GROUP.size + RECORD.size + SEALED.size
_MOST_GROUP_BYTES = 1 << 30
_SEED = struct.Struct("<QQI")
_RECORD = struct.Struct("<HHI")
_PAIR = struct.Struct("<II")
_GROUP_MARKS = tuple(number.to_bytes(4, "little") for number in (GROUP_MAGIC, PENDING_MAGIC))
Record = tuple[int, int, bytes]
"""Type, flags and payload."""


class Group(NamedTuple):
    """A group as found in a journal."""

    modseq: int
    time_ms: int
    records: list[Record]
    end: int


def format_record(kind: int, payload: bytes, flags: int = 0) -> bytes:
    """A record with its header and padding."""
    length = len(payload)
    return _RECORD.pack(kind, flags, length) + payload + bytes(-length & 7)


def format_group(
    generation: int,
    position: int,
    modseq: int,
    records: list[Record],
    pending: bool = False,
    time_ms: int | None = None,
) -> bytes:
    """A group as it stands at ``position`` of a journal, and of that time, milliseconds since 1970; else of
    now."""
    if time_ms is None:
        time_ms = time.time_ns() // 1_000_000
    body = b"".join([format_record(kind, payload, flags) for kind, flags, payload in records])
    length = GROUP.size + len(body)
    rest = struct.pack("<IQq", len(records), modseq, time_ms) + body
    crc = zlib.crc32(rest, zlib.crc32(_SEED.pack(generation, position, length)))
    return struct.pack("<III", PENDING_MAGIC if pending else GROUP_MAGIC, length, crc) + rest


def parse_group(data: bytes, at: int, position: int, generation: int) -> tuple[Group, bool] | None:
    """The group at ``at`` (``position`` of the file) and whether it is pending; None when there is none."""
    if len(data) - at < GROUP.size:
        return None
    magic, length, crc, count, modseq, time_ms = GROUP.unpack_from(data, at)
    if magic not in (GROUP_MAGIC, PENDING_MAGIC) or not GROUP.size <= length <= min(
        len(data) - at, _MOST_GROUP_BYTES
    ):
        return None
    seed = zlib.crc32(_SEED.pack(generation, position, length))
    if zlib.crc32(memoryview(data)[at + 12 : at + length], seed) != crc:
        return None
    end, records = at + length, []
    at += GROUP.size
    for _ in range(count):
        kind, flags, size = _RECORD.unpack_from(data, at)
        at += RECORD.size
        if at + size > end:
            raise Corrupt("a journal record is longer than its group")
        records.append((kind, flags, data[at : at + size]))
        at += size + (-size & 7)
    return Group(modseq, time_ms, records, position + length), magic == PENDING_MAGIC


def carry(data: bytes, position: int, generation: int, to_position: int, to_generation: int) -> bytes:
    """The groups that stand at ``position`` of a journal as they stand in another; ends at what is none.

    They keep their lengths: what differs is the checksum, which covers the place.
    """
    carried = bytearray()
    at = 0
    while (found := parse_group(data, at, position + at, generation)) is not None and not found[1]:
        end = found[0].end - position
        seed = zlib.crc32(_SEED.pack(to_generation, to_position + at, end - at))
        crc = zlib.crc32(memoryview(data)[at + 12 : end], seed)
        carried += struct.pack("<III", GROUP_MAGIC, end - at, crc) + data[at + 12 : end]
        at = end
    return bytes(carried)


def salvage(data: bytes, position: int, generation: int) -> Iterator[tuple[Group, bool]]:
    """Every valid group in a stretch of a journal, and whether damage lies before it."""
    at, gap = 0, False
    while at < len(data):
        found = parse_group(data, at, position + at, generation)
        if found is None:
            gap, at = True, at + 8
            nearest = [place for place in (data.find(mark, at) for mark in _GROUP_MARKS) if place >= 0]
            if not nearest:
                return
            at = min(nearest)
            continue
        yield found[0], gap
        gap, at = False, found[0].end - position


# -- records by what they say; for the payloads see ``layout``


def _format_pairs(firsts: npt.NDArray[np.uint32], lasts: npt.NDArray[np.uint32]) -> bytes:
    import numpy as np  # Who only reads catalogs, as completion does, is spared it.

    pairs = np.empty(len(firsts) * 2, "<u4")
    pairs[::2], pairs[1::2] = firsts, lasts
    return pairs.tobytes()


def flagged_one(uid: int, set_bits: int, clear_bits: int) -> Record:
    """One message's flags change."""
    return TYPE_FLAGGED, 0, FLAGGED.pack(set_bits, clear_bits, 1) + _PAIR.pack(uid, uid)


def flagged(
    firsts: npt.NDArray[np.uint32], lasts: npt.NDArray[np.uint32], set_bits: int, clear_bits: int
) -> Record:
    """The flags of all messages in UID ranges change."""
    return TYPE_FLAGGED, 0, FLAGGED.pack(set_bits, clear_bits, len(firsts)) + _format_pairs(firsts, lasts)


def expunged(firsts: npt.NDArray[np.uint32], lasts: npt.NDArray[np.uint32], moved: bool = False) -> Record:
    """All messages in UID ranges are gone; ``moved``: to where they are durable already."""
    head = EXPUNGED.pack(EXPUNGE_GUARD, len(firsts))
    return TYPE_EXPUNGED, MOVED if moved else 0, head + _format_pairs(firsts, lasts)


def keyword_defined(bit: int, name: bytes) -> Record:
    """A flag bit gets a name."""
    return TYPE_KEYWORD, 0, KEYWORD.pack(bit) + name


def recent_moved(first_recent: int) -> Record:
    """Messages below a UID are no longer \\Recent."""
    return TYPE_RECENT, 0, RECENT.pack(first_recent)


def seen_by(reader: int, firsts: npt.NDArray[np.uint32], lasts: npt.NDArray[np.uint32], seen: bool) -> Record:
    """A reader has seen all messages in UID ranges, or has not."""
    return TYPE_SEEN_BY, 0, SEEN_BY.pack(reader, seen, len(firsts)) + _format_pairs(firsts, lasts)


def sealed(generation: int, position: int = START) -> Record:
    """The story goes on in another generation."""
    return TYPE_SEALED, 0, SEALED.pack(generation, position)


def derived_at(uids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.uint64]) -> Record:
    """Where the blobs of messages stand."""
    return TYPE_DERIVED_AT, 0, DERIVED_AT.pack(len(uids)) + _format_places(uids, offsets)


def _format_places(uids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.uint64]) -> bytes:
    import numpy as np

    padded = np.zeros(len(uids) + len(uids) % 2, "<u4")
    padded[: len(uids)] = uids
    return padded.tobytes() + offsets.astype("<u8").tobytes()


def relocated(
    segment: int, uids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.uint64], dead_bytes: int
) -> Record:
    """Messages lie in another segment now."""
    head = RELOCATED.pack(segment, len(uids), dead_bytes)
    return TYPE_RELOCATED, 0, head + _format_places(uids, offsets)


def tail_moved(segment: int, offset: int) -> Record:
    """Another segment is written to."""
    return TYPE_TAIL_MOVED, 0, TAIL_MOVED.pack(segment, offset)


def uid_next_moved(uid_next: int) -> Record:
    """No UID below this is free."""
    return TYPE_UID_NEXT, 0, UID_NEXT.pack(uid_next)


def swept(dead_bytes: int) -> Record:
    """Segments were removed."""
    return TYPE_SWEPT, 0, SWEPT.pack(dead_bytes)


def release(fd: int, position: int) -> None:
    """Let a pending group take effect."""
    raw.pwrite(fd, struct.pack("<I", GROUP_MAGIC), position)


# -- the file


class JournalInfo(NamedTuple):
    """What the header of a journal says."""

    uid_validity: int
    generation: int
    modseq: int
    boot: bytes
    base: int = 0
    """Where in the journal before the groups end that the index has, 0 when none are carried over."""


def format_header(info: JournalInfo) -> bytes:
    """The header of a journal."""
    header = bytearray(
        JOURNAL.write(magic=JOURNAL_MAGIC, crc=0, version=VERSION, created=int(time.time()), **info._asdict())
    )
    struct.pack_into("<I", header, 4, zlib.crc32(header[8:]))
    return bytes(header)


def write_journal(path: Path, info: JournalInfo) -> None:
    """Begin a journal.

    Not durable: it says nothing that the index beside it does not, and groups are read without it.
    """
    passing = f"{path}.new"
    fd = raw.open_file(passing, raw.REPLACE)
    try:
        raw.pwrite(fd, format_header(info), 0)
    finally:
        raw.close(fd)
    raw.rename(passing, path)


def settle_header(path: Path, info: JournalInfo) -> None:
    """Give a journal that nobody writes to yet another header."""
    fd = raw.open_file(path, raw.WRITE)
    try:
        raw.pwrite(fd, format_header(info), 0)
    finally:
        raw.close(fd)


class Journal:
    """One generation's journal: how far this process has followed it, and its end for a writer."""

    __slots__ = (
        "_closed_as",
        "_is_for_writing",
        "_name",
        "confirmed",
        "end",
        "fd",
        "info",
        "path",
        "unresolved",
    )

    def __init__(self, path: Path, end: int = START) -> None:
        self.path = path
        self._name = os.fspath(path)
        self.fd = raw.open_best(path)
        self._is_for_writing = False
        """The descriptor is known to be one for writing."""
        self.end = end
        self.unresolved = False
        """Something that is no valid group stands behind ``end``: look again, even if the size stays."""
        self._closed_as: tuple[int, ...] | None = None
        self.confirmed = False
        """The journal before is known to be sealed for this one."""
        try:
            self.info = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> JournalInfo:
        data = raw.pread(self.fd, START, 0)
        if len(data) < START:
            raise Corrupt(f"{self.path.name} is too short")
        header = JOURNAL.read(data)
        if header.magic != JOURNAL_MAGIC or header.version != VERSION or header.crc != zlib.crc32(data[8:]):
            raise Corrupt(f"{self.path.name} has a damaged header")
        return JournalInfo(header.uid_validity, header.generation, header.modseq, header.boot, header.base)

    def reopen(self) -> None:
        """Get a descriptor again after ``close``.

        FileNotFoundError when the generation is gone, or another of its number was begun meanwhile.
        """
        if self.fd < 0:
            self.fd = raw.open_best(self.path)
            if self._read_header() != self.info:
                self.close()
                raise FileNotFoundError(f"{self.path.name} is another one")

    def is_as_closed(self) -> bool:
        """Whether the file is the one that was closed, and as it was then; asked without a descriptor."""
        try:
            return self._closed_as is not None and self._closed_as == _stamp(os.stat(self._name))
        except OSError:
            return False

    def stamp(self) -> tuple[int, ...] | None:
        """What ``stat`` says of the file, if it was followed to its end and nothing stands behind that.

        As long as it says so there is nothing new: a group makes the file longer, or was behind its end.
        """
        if self.fd < 0:
            return self._closed_as
        status = os.fstat(self.fd)
        is_followed = status.st_size == self.end and status.st_nlink and not self.unresolved
        return _stamp(status) if is_followed else None

    def reopen_to_write(self) -> None:
        """Have a descriptor for writing: the one there is may be from when the disk was read-only."""
        if self._is_for_writing:
            return
        if self.fd >= 0 and not raw.is_writable(self.fd):
            self.close()
        self.reopen()
        self._is_for_writing = raw.is_writable(self.fd)

    def read_new(self, size: int) -> list[Group]:
        """The valid groups between what was followed so far and ``size``; moves ``end`` behind them."""
        data = raw.pread(self.fd, size - self.end, self.end)
        groups: list[Group] = []
        at, start, generation = 0, self.end, self.info.generation
        self.unresolved = False
        while at < len(data):
            found = parse_group(data, at, start + at, generation)
            if found is None or found[1]:
                self.unresolved = True
                break
            groups.append(found[0])
            at = found[0].end - start
        self.end = start + at
        return groups

    def close(self) -> None:
        """Close the descriptor; ``reopen`` gets it back."""
        if self.fd >= 0:
            self._closed_as = self.stamp()
            raw.close(self.fd)
            self.fd, self._is_for_writing = -1, False


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_ctime_ns
