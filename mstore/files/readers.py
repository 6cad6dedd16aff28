"""What each reader who is not the owner has seen of a mailbox: sets of rows, kept by the index file.

The table in memory has the \\Seen of one user only. The sets of all are needed by those who write an index:
they are held as they are stored, beside what the journal has said since, and each is unfolded alone, when it
is written, so that a thousand readers of a million messages cost little. Behind the rows of its index a set
goes on over the messages that are retained (``retained``), so that they can come back as they were."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.base.errors import Corrupt
from mstore.files.column import Array, rows_in_ranges
from mstore.files.layout import READER_ENTRY, SEEN_BY

Bits = npt.NDArray[np.bool_]
_CRC_BYTES = READER_ENTRY.size - 4


def format_bits(bits: Bits) -> bytes:
    """A set of rows as it is stored."""
    return zlib.compress(np.packbits(bits, bitorder="little").tobytes(), 1)


def parse_bits(stored: bytes, rows: int) -> Bits:
    """The set of rows that was stored; those it does not reach to are not in it.

    Raises: Corrupt.
    """
    size = (rows + 7) // 8
    try:
        data = zlib.decompressobj().decompress(stored, size or 1).ljust(size, b"\0")
    except zlib.error as error:
        raise Corrupt("a reader's set is damaged") from error
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:rows]
    return bits.astype(np.bool_)


class ReaderSets:
    """The sets of all readers of one mailbox, from an index and from what its journals say."""

    __slots__ = ("_retained", "_rows", "_said", "_stored")

    def __init__(self, rows: int = 0, retained: Array | None = None) -> None:
        """``rows`` has the index that the sets come from, and then messages ``retained`` with these UIDs."""
        self._rows = rows
        self._retained = _NO_UIDS if retained is None else retained
        self._stored: dict[int, bytes] = {}
        self._said: dict[int, list[bytes]] = {}

    def put(self, reader: int, stored: bytes) -> None:
        """Take a set as an index file has it."""
        self._stored[reader] = stored

    def note(self, reader: int, payload: bytes) -> None:
        """Take a record of the journal; in the order of the journal."""
        self._said.setdefault(reader, []).append(payload)

    def readers(self) -> list[int]:
        """Who has a set, ascending."""
        return sorted(self._stored.keys() | self._said.keys())

    def bits(self, reader: int, uids: Array) -> Bits:
        """Which of the rows with these UIDs a reader has seen; rows that an index has come first."""
        bits = np.zeros(len(uids), np.bool_)
        bits[: self._rows] = parse_bits(self._stored.get(reader, _NONE), self._rows)
        for payload in self._said.get(reader, ()):
            _, seen, count = SEEN_BY.unpack_from(payload)
            pairs = np.frombuffer(payload, "<u4", count * 2, SEEN_BY.size)
            rows = rows_in_ranges(uids.searchsorted(pairs[::2]), uids.searchsorted(pairs[1::2], "right"))
            bits[rows] = bool(seen)
        return bits

    def of_retained(self, reader: int, uids: Array, bits: Bits, retained: Array) -> Bits:
        """Which of the messages retained with these UIDs a reader had seen.

        ``bits`` are those of the rows with ``uids``: of what was expunged since the index was written.
        """
        before = parse_bits(self._stored.get(reader, _NONE), self._rows + len(self._retained))[self._rows :]
        found: Bits = np.isin(retained, self._retained[before]) | np.isin(retained, uids[bits])
        return found

    def stored(self, uids: Array, live: Array | None, retained: Array) -> Iterator[tuple[int, bytes]]:
        """Each reader's set as it is stored; ``live`` are the rows that go into the new index, if not all.

        Behind them come the messages ``retained`` with these UIDs.

        Who has seen nothing of what is there has none.
        """
        is_same = live is None and not len(retained) and not len(self._retained)
        for reader in self.readers():
            if is_same and reader not in self._said:
                yield reader, self._stored[reader]
                continue
            all_bits = self.bits(reader, uids)
            bits = all_bits if live is None else all_bits[live]
            if len(retained):
                bits = np.concatenate([bits, self.of_retained(reader, uids, all_bits, retained)])
            if bits.any():
                yield reader, format_bits(bits)


_NONE = zlib.compress(b"")
_NO_UIDS: Array = np.empty(0, np.uint32)


def format_entry(reader: int, offset: int, stored: bytes) -> bytes:
    """The entry of a set in the table of readers."""
    head = READER_ENTRY.pack(reader, offset, len(stored), 0)[:_CRC_BYTES]
    return head + zlib.crc32(stored, zlib.crc32(head)).to_bytes(4, "little")


def parse_entries(buffer: Any, at: int, count: int) -> Iterator[tuple[int, bytes]]:
    """The readers of an index file and their sets.

    Raises: Corrupt.
    """
    data = memoryview(buffer)
    if at + count * READER_ENTRY.size > len(data):
        raise Corrupt("the table of readers is cut short")
    for place in range(at, at + count * READER_ENTRY.size, READER_ENTRY.size):
        reader, offset, length, crc = READER_ENTRY.unpack_from(data, place)
        stored = bytes(data[offset : offset + length])
        if len(stored) != length or zlib.crc32(stored, zlib.crc32(data[place : place + _CRC_BYTES])) != crc:
            raise Corrupt("a reader's set is damaged")
        yield reader, stored


def find_entry(buffer: Any, at: int, count: int, reader: int) -> bytes | None:
    """One reader's set in an index file.

    Raises: Corrupt.
    """
    data = memoryview(buffer)
    if at + count * READER_ENTRY.size > len(data):
        raise Corrupt("the table of readers is cut short")
    for place in range(at, at + count * READER_ENTRY.size, READER_ENTRY.size):
        if READER_ENTRY.unpack_from(data, place)[0] == reader:
            return next(parse_entries(buffer, place, 1))[1]
    return None
