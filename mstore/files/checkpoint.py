"""The index file: the table of a mailbox as of the beginning of a journal, and what each reader has seen;
written whole and never changed."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mstore.base import blocking
from mstore.base.errors import Corrupt
from mstore.base.flags import DELETED, SEEN
from mstore.files import raw
from mstore.files.column import DTYPES, WIDTHS, Array, Columns, capacity_for, give_back, map_file
from mstore.files.expunges import parse_expunges
from mstore.files.index import Index
from mstore.files.layout import (
    COLUMN_ENTRY,
    COLUMNS,
    EXPUNGE_ENTRY,
    INDEX,
    INDEX_MAGIC,
    READER_ENTRY,
    VERSION,
)
from mstore.files.readers import ReaderSets, find_entry, format_entry, parse_bits, parse_entries
from mstore.files.retained import Retained, parse_days
from mstore.files.retained import parse_entries as parse_retained

_VERIFY_BYTES = 256 << 10
_AT_ONCE_BYTES = 1 << 20
_PIECE_ROWS = 64 << 10
_SUM_BYTES = 2 << 20
_SYNC_BYTES = 8 << 20
_SCALARS = (
    "generation",
    "uid_validity",
    "uid_next",
    "highest_modseq",
    "first_recent",
    "unseen",
    "deleted",
    "size_bytes",
    "dead_bytes",
    "tail_segment",
    "tail_offset",
    "packed_next",
)


def write_index(path: Path, index: Index, generation: int, last_use: bool = False) -> None:
    """Write the live rows of a table, and the readers' sets it keeps, as the index of a generation.

    In pieces, between which other sessions run. With ``last_use`` the memory of each column is given back
    once it is written, so that a large table is not in memory twice.
    Durable: the file, under this name; who gives it another one syncs the directory.
    """
    live = index.live_rows() if index.tombstones else None
    fd = raw.open_file(path, raw.REPLACE)
    try:
        _IndexWriter(fd, index, live, last_use).write(generation)
    finally:
        raw.close(fd)


class _IndexWriter:
    """Writes one index file: columns, readers' sets, and last the header."""

    def __init__(self, fd: int, index: Index, live: Array | None, last_use: bool) -> None:
        self._fd = fd
        self._index = index
        self._live = live
        self._last_use = last_use
        self._rows = index.messages
        self._is_large = self._rows * sum(WIDTHS.values()) > _AT_ONCE_BYTES
        self._unsynced = 0

    def write(self, generation: int) -> None:
        index, rows = self._index, self._rows
        capacity = capacity_for(rows)
        keywords = b"".join(struct.pack("<H", len(name)) + name for name in index.keywords)
        header_bytes = (INDEX.size + COLUMN_ENTRY.size * len(COLUMNS) + len(keywords) + 63) & ~63
        at, entries = header_bytes, []
        uids = index.columns.uid
        for column in COLUMNS:
            width = WIDTHS[column.name]
            crc = self._write_column(getattr(index.columns.full, column.name), at)
            entries.append(COLUMN_ENTRY.pack(column.name.encode(), at, width, crc))
            at += capacity * width
            if self._last_use and column.name != "uid":
                index.columns.forget(column.name)
        readers_at, readers, expunges_at = self._write_readers(uids, at)
        expunges = index.expunges.stored()
        expunges_crc = self._put(expunges, expunges_at)
        end = expunges_at + len(expunges)
        retained = b"" if index.retained is None else index.retained.stored()
        if retained:
            at = (end + 7) & ~7
            self._put(retained, at)
            end = at + len(retained)
        values = {name: getattr(index, name) for name in _SCALARS} | {"generation": generation}
        head = bytearray(
            INDEX.write(
                magic=INDEX_MAGIC,
                crc=0,
                version=VERSION,
                columns=len(COLUMNS),
                header_bytes=header_bytes,
                keywords=len(index.keywords),
                rows=rows,
                capacity=capacity,
                readers=readers,
                readers_at=readers_at,
                expunges=len(index.expunges),
                expunges_at=expunges_at,
                expunges_crc=expunges_crc,
                forgotten=index.expunges.forgotten,
                retained=bool(retained),
                created=int(time.time()),
                **values,
            )
        )
        head += b"".join(entries) + keywords
        head += bytes(header_bytes - len(head))
        struct.pack_into("<I", head, 4, zlib.crc32(head[8:]))
        raw.pwrite(self._fd, head, 0)
        raw.truncate(self._fd, end)
        raw.sync(self._fd)

    def _write_column(self, full: Array, at: int) -> int:
        """Write the live rows of a column; gives their checksum."""
        crc = 0
        for start in range(0, self._rows, _PIECE_ROWS):
            stop = min(start + _PIECE_ROWS, self._rows)
            piece = full[start:stop] if self._live is None else full[self._live[start:stop]]
            data = piece.view(np.uint8).data
            crc = self._put(data, at, crc)
            at += len(data)
        return crc

    def _write_readers(self, uids: Array, at: int) -> tuple[int, int, int]:
        """Write the readers' sets and their table; gives its place, its length and its end."""
        entries = []
        if self._index.kept is not None:
            retained = self._index.retained
            over = np.empty(0, np.uint32) if retained is None else retained.entries()["uid"]
            for reader, stored in self._index.kept.stored(uids, self._live, over):
                entries.append(format_entry(reader, at, stored))
                self._put(stored, at)
                at += len(stored)
                blocking.breathe()
        table_at = (at + 7) & ~7
        table = b"".join(entries)
        if table:
            self._put(table, table_at)
        return table_at, len(entries), table_at + len(table)

    def _put(self, data: Any, at: int, crc: int = 0) -> int:
        if not self._is_large:
            return _put(self._fd, data, at, crc)
        self._unsynced += len(data)
        if self._unsynced > _SYNC_BYTES:
            self._unsynced = 0
            raw.sync(self._fd)  # little by little: a writer's own sync is not to wait for all of it
        return blocking.call(_put, self._fd, data, at, crc)


def _put(fd: int, data: Any, at: int, crc: int) -> int:
    raw.pwrite(fd, data, at)
    return zlib.crc32(data, crc)


def _sum(data: memoryview) -> int:
    """The checksum of a stretch; of a large one while other sessions run."""
    if len(data) <= _AT_ONCE_BYTES:
        return zlib.crc32(data)
    crc = 0
    for start in range(0, len(data), _SUM_BYTES):
        crc = blocking.call(zlib.crc32, data[start : start + _SUM_BYTES], crc)
    return crc


def read_index(path: Path, verify: bool = False, reader: int | None = None, keep: bool = False) -> Index:
    """The table an index file holds: the owner's, or a reader's.

    ``verify`` checks all of it however large, letting other sessions run meanwhile. With ``keep`` it holds
    the sets of all readers, and is good for being written again.
    Raises: Corrupt, FileNotFoundError.
    """
    fd = raw.open_file(path, raw.READ)
    try:
        size = raw.size_of(fd)
        buffer = map_file(fd, size)
    finally:
        raw.close(fd)
    header, head = _read_head(path, buffer)
    offsets = {}
    check = verify or size <= _VERIFY_BYTES
    data = memoryview(buffer)
    table = head[INDEX.size : INDEX.size + header.columns * COLUMN_ENTRY.size]
    for padded, offset, width, crc in COLUMN_ENTRY.struct.iter_unpack(table):
        name = padded.rstrip(b"\0").decode("ascii")
        if name not in DTYPES:
            continue
        if width != WIDTHS[name] or offset + header.capacity * width > size or header.rows > header.capacity:
            raise Corrupt(f"{path.name} is cut short")
        offsets[name] = offset
        if check and _sum(data[offset : offset + header.rows * width]) != crc:
            raise Corrupt(f"{path.name} has a damaged column {name}")
        if verify:
            give_back(buffer, offset, header.capacity * width)
    index = Index(header.uid_validity, Columns.over(buffer, offsets, header.rows, header.capacity))
    for name in _SCALARS:
        setattr(index, name, getattr(header, name))
    index.keywords = _parse_keywords(head, INDEX.size + header.columns * COLUMN_ENTRY.size, header.keywords)
    end = header.expunges_at + header.expunges * EXPUNGE_ENTRY.size
    if header.readers_at + header.readers * READER_ENTRY.size > size or end > size:
        raise Corrupt(f"{path.name} is cut short")
    stored = bytes(data[header.expunges_at : end])
    index.expunges = parse_expunges(stored, header.forgotten, header.expunges_crc)
    retained = Retained()
    if header.retained:
        index.retained_days, rows, crc = parse_days(data[_retained_at(header) :])
        if keep or check:
            retained = parse_retained(rows, crc)
    if keep or (check and header.readers):
        kept = _read_sets(buffer, header, retained, verify)
        if keep:
            index.keep_all(kept, retained)
    if reader is not None:
        seen = find_entry(buffer, header.readers_at, header.readers, reader)
        index.see_as(reader, None if seen is None else parse_bits(seen, header.rows))
    return index


def read_retained(path: Path) -> Retained:
    """The record of retained messages in an index that may be damaged elsewhere.

    Raises: Corrupt, FileNotFoundError.
    """
    fd = raw.open_file(path, raw.READ)
    try:
        buffer = map_file(fd, raw.size_of(fd))
    finally:
        raw.close(fd)
    header, _ = _read_head(path, buffer)
    if not header.retained:
        return Retained()
    return parse_retained(*parse_days(memoryview(buffer)[_retained_at(header) :])[1:])


def _retained_at(header: Any) -> int:
    at: int = header.expunges_at + header.expunges * EXPUNGE_ENTRY.size
    return (at + 7) & ~7


def _read_head(path: Path, buffer: Any) -> tuple[Any, bytes]:
    """The header of an index and the bytes of the header area."""
    if len(buffer) < INDEX.size:
        raise Corrupt(f"{path.name} is too short")
    header = INDEX.read(buffer)
    if header.magic != INDEX_MAGIC or header.version != VERSION:
        raise Corrupt(f"{path.name} is not an index of this version")
    head = bytes(buffer[: header.header_bytes])
    if (
        len(head) != header.header_bytes
        or header.header_bytes < INDEX.size
        or header.crc != zlib.crc32(head[8:])
    ):
        raise Corrupt(f"{path.name} has a damaged header")
    return header, head


def _read_sets(buffer: Any, header: Any, retained: Retained, patient: bool) -> ReaderSets:
    uids = retained.entries()["uid"].copy()
    kept = ReaderSets(header.rows, uids)
    for reader, stored in parse_entries(buffer, header.readers_at, header.readers):
        parse_bits(stored, header.rows + len(uids))
        if patient:
            blocking.breathe()
        kept.put(reader, stored)
    return kept


def _parse_keywords(head: bytes, at: int, count: int) -> list[bytes]:
    names = []
    for _ in range(count):
        (length,) = struct.unpack_from("<H", head, at)
        names.append(head[at + 2 : at + 2 + length])
        at += 2 + length
    return names


def totals(index: Index) -> dict[str, int]:
    """The totals of a table counted afresh."""
    live = index.live_rows()
    flags = index.columns.full.flags[live]
    seen, deleted = np.uint64(SEEN), np.uint64(DELETED)
    sizes: Any = index.columns.full.size[live]
    return {
        "messages": len(live),
        "unseen": len(live) - int(np.count_nonzero(flags & seen)),
        "deleted": int(np.count_nonzero(flags & deleted)),
        "size_bytes": int(sizes.sum(dtype=np.uint64)),
    }


def check_totals(index: Index, name: str) -> None:
    """Compare the totals of a table with what its rows say.

    Raises: Corrupt.
    """
    for total, value in totals(index).items():
        if getattr(index, total) != value:
            raise Corrupt(f"{name} says {getattr(index, total)} for {total}; its rows say {value}")
