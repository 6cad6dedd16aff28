"""The index file: the table of a mailbox as of the beginning of a journal, written whole and never
changed."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mstore.base.errors import Corrupt
from mstore.base.flags import DELETED, SEEN
from mstore.files import raw
from mstore.files.column import DTYPES, WIDTHS, Columns, capacity_for, map_file
from mstore.files.index import Index
from mstore.files.layout import COLUMN_ENTRY, COLUMNS, INDEX, INDEX_MAGIC, VERSION

_VERIFY_BYTES = 256 << 10
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


def write_index(path: Path, index: Index, generation: int) -> int:
    """Write the live rows of a table as the index of a generation; gives the bytes of the columns in use.

    Durable: the file; its name is, once the caller has synced the directory.
    """
    columns, live = index.columns, index.live_rows()
    rows = len(live)
    whole = rows == columns.count
    capacity = capacity_for(rows)
    keywords = b"".join(struct.pack("<H", len(name)) + name for name in index.keywords)
    header_bytes = (INDEX.size + COLUMN_ENTRY.size * len(COLUMNS) + len(keywords) + 63) & ~63
    at, entries, buffers = header_bytes, [], []
    for column in COLUMNS:
        full = getattr(columns.full, column.name)
        data = np.ascontiguousarray(full[:rows] if whole else full[live])
        view = data.view(np.uint8).data if rows else b""
        entries.append(COLUMN_ENTRY.pack(column.name.encode(), at, WIDTHS[column.name], zlib.crc32(view)))
        buffers.append((at, view))
        at += capacity * WIDTHS[column.name]
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
            created=int(time.time()),
            **values,
        )
    )
    head += b"".join(entries) + keywords
    head += bytes(header_bytes - len(head))
    struct.pack_into("<I", head, 4, zlib.crc32(head[8:]))
    raw.write_file(path, [(0, head), *buffers], at)
    return rows * sum(WIDTHS.values())


def read_index(path: Path, verify: bool = False) -> Index:
    """The table an index file holds; ``verify`` checks every column however large.

    Raises: Corrupt, FileNotFoundError.
    """
    fd = raw.open_file(path, raw.READ)
    try:
        size = raw.size_of(fd)
        buffer = map_file(fd, size)
    finally:
        raw.close(fd)
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
        if check and zlib.crc32(data[offset : offset + header.rows * width]) != crc:
            raise Corrupt(f"{path.name} has a damaged column {name}")
    index = Index(header.uid_validity, Columns.over(buffer, offsets, header.rows, header.capacity))
    for name in _SCALARS:
        setattr(index, name, getattr(header, name))
    index.keywords = _parse_keywords(head, INDEX.size + header.columns * COLUMN_ENTRY.size, header.keywords)
    return index


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
