"""The columns of a mailbox in memory: one array per field, with slack for rows to come.

They lie straight over the index file, mapped copy-on-write (or read into memory where it is small or the file
system refuses maps: this module is that seam), so opening a million rows parses nothing. The file is never
written through them. Rows only ever get added at the end; the number of a row is its own for life.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.files import raw
from mstore.files.layout import COLUMNS, JOURNALED, ROW

Array = npt.NDArray[Any]
_MAP_BYTES = 1 << 20
DTYPES = {
    column.name: np.dtype("<" + {"Q": "u8", "q": "i8", "I": "u4", "i": "i4"}[column.code])
    for column in COLUMNS
}
WIDTHS = {column.name: struct.calcsize("<" + column.code) for column in COLUMNS}
LEAST_SLACK = 16


def capacity_for(rows: int) -> int:
    """Room for some more rows than there are, in steps that keep every column aligned to 64 bytes."""
    return (rows + max(LEAST_SLACK, rows // 8) + 15) & ~15


def map_file(fd: int, size: int) -> Any:
    """The content of a file as a writable buffer whose changes never reach the file."""
    if size >= _MAP_BYTES:
        try:
            return mmap.mmap(fd, size, access=mmap.ACCESS_COPY)
        except OSError:
            pass
    data = bytearray()
    while len(data) < size:
        piece = raw.pread(fd, size - len(data), len(data))
        if not piece:
            break
        data += piece
    return data


def rows_in_ranges(firsts: Array, ends: Array) -> npt.NDArray[np.int64]:
    """All numbers of the half-open ranges, in order, without a loop."""
    lengths = ends.astype(np.int64) - firsts
    keep = lengths > 0
    firsts, lengths = firsts[keep].astype(np.int64), lengths[keep]
    if len(firsts) == 1:
        return np.arange(firsts[0], firsts[0] + lengths[0], dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    return np.repeat(firsts - starts, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def give_back(buffer: Any, offset: int, size: int) -> None:
    """Take no memory for a stretch of a mapped file until it is read again; changes to it are lost."""
    if isinstance(buffer, mmap.mmap):
        first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (offset + size) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            buffer.madvise(mmap.MADV_DONTNEED, first, last - first)


class Arrays:
    """The arrays at their full capacity; for those who know how many rows are in use."""

    __slots__ = tuple(column.name for column in COLUMNS)
    modseq: Array
    flags: Array
    internal_date: Array
    save_date: Array
    sent_date: Array
    offset: Array
    email_id: Array
    derived: Array
    thread_id: Array
    uid: Array
    size: Array
    segment: Array
    header_length: Array
    sent_zone: Array


class Columns:
    """All columns: ``columns.flags`` is the array of the rows in use, ``columns.full.flags`` has slack
    behind."""

    __slots__ = ("_map", "_offsets", "capacity", "count", "full")

    def __init__(self, capacity: int = LEAST_SLACK) -> None:
        self._map: mmap.mmap | None = None
        self._offsets: dict[str, int] = {}
        self.count = 0
        self.capacity = capacity
        self.full = Arrays()
        for name, dtype in DTYPES.items():
            setattr(self.full, name, np.zeros(capacity, dtype))

    @classmethod
    def over(cls, buffer: Any, offsets: dict[str, int], rows: int, capacity: int) -> Columns:
        """Columns that lie over a buffer; a column the file does not have is all zeros."""
        self = cls.__new__(cls)
        self.count, self.capacity, self.full = rows, capacity, Arrays()
        self._map, self._offsets = buffer if isinstance(buffer, mmap.mmap) else None, offsets
        for name, dtype in DTYPES.items():
            at = offsets.get(name)
            setattr(
                self.full,
                name,
                np.zeros(capacity, dtype) if at is None else np.frombuffer(buffer, dtype, capacity, at),
            )
        return self

    def _make_room(self, rows: int) -> None:
        needed = self.count + rows
        if needed <= self.capacity:
            return
        self.capacity = capacity_for(max(needed, self.count + self.count // 2))
        for name, dtype in DTYPES.items():
            bigger = np.empty(self.capacity, dtype)
            bigger[: self.count] = getattr(self.full, name)[: self.count]
            bigger[self.count :] = 0
            setattr(self.full, name, bigger)
        self._map = None

    def forget(self, name: str) -> None:
        """Give back the memory of a column that is needed no more."""
        setattr(self.full, name, np.zeros(0, DTYPES[name]))
        if self._map is not None and name in self._offsets:
            give_back(self._map, self._offsets[name], self.capacity * WIDTHS[name])

    def append(self, rows: int, payload: bytes, at: int, modseq: int | npt.NDArray[np.uint64]) -> None:
        """Add rows whose columns lie in ``payload`` from ``at`` on, in the order of the journal.

        They have one MODSEQ, or each its own.
        """
        self._make_room(rows)
        full, row = self.full, self.count
        if rows == 1:
            (
                full.flags[row],
                full.internal_date[row],
                full.save_date[row],
                full.sent_date[row],
                full.offset[row],
                full.email_id[row],
                full.derived[row],
                full.thread_id[row],
                full.uid[row],
                full.size[row],
                full.segment[row],
                full.header_length[row],
                full.sent_zone[row],
            ) = ROW.unpack_from(payload, at)
            full.modseq[row] = modseq
        else:
            for column in JOURNALED:
                values = np.frombuffer(payload, DTYPES[column.name], rows, at)
                getattr(full, column.name)[row : row + rows] = values
                at += rows * WIDTHS[column.name]
            full.modseq[row : row + rows] = modseq
        self.count = row + rows

    def take(self, other: Columns, rows: Array) -> None:
        """Add copies of rows of another table."""
        self._make_room(len(rows))
        for name in DTYPES:
            getattr(self.full, name)[self.count : self.count + len(rows)] = getattr(other.full, name)[rows]
        self.count += len(rows)

    def __getattr__(self, name: str) -> Array:
        if name not in DTYPES:
            raise AttributeError(name)
        array: Array = getattr(self.full, name)[: self.count]
        return array


def format_rows(arrays: dict[str, Array]) -> bytes:
    """The payload of rows given as arrays by name, as ``append`` takes it."""
    return b"".join(
        np.ascontiguousarray(arrays[column.name], DTYPES[column.name]).tobytes() for column in JOURNALED
    )
