"""The messages that were expunged lately: their rows as they were, and when, for as long as their bytes are
to be kept (``retain-expunged``).

They lie in the index, behind the record of expunges, and grow with the journal: the time of an expunge is
that of its group. A table that is to be written has all of them (``Retained``). One that sessions use knows
only how many bytes were expunged on which day (``Days``), which is enough to say what may be given back.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from mstore.base.errors import Corrupt
from mstore.files.column import Arrays, Columns
from mstore.files.layout import FRAME, RETAINED, RETAINED_DAY, RETAINED_ENTRY, RETAINED_MAGIC

DAY_MS = 86_400_000
ENTRY = RETAINED_ENTRY.dtype
_DAY = RETAINED_DAY.dtype
_COPIED = tuple(name for name in ENTRY.names or () if name in Arrays.__slots__ and name != "modseq")
Entries = Any
"""Entries of the record as a structured array."""


class Days:
    """How many bytes of messages, frame headers included, were expunged on each day since 1970 (UTC)."""

    __slots__ = ("_bytes",)

    def __init__(self, found: dict[int, int] | None = None) -> None:
        self._bytes = found or {}

    def note(self, time_ms: int, count: int) -> None:
        """So many bytes were expunged at that time."""
        day = time_ms // DAY_MS
        self._bytes[day] = self._bytes.get(day, 0) + count

    def since(self, time_ms: int) -> int:
        """The bytes expunged since then, and earlier on the same day."""
        first = time_ms // DAY_MS
        return sum([count for day, count in self._bytes.items() if day >= first])

    def __len__(self) -> int:
        return len(self._bytes)

    def stored(self) -> bytes:
        """The days as the index has them."""
        return b"".join(RETAINED_DAY.pack(day, count) for day, count in sorted(self._bytes.items()))


class Retained:
    """The expunged messages of one mailbox whose bytes may be there still."""

    __slots__ = ("_fresh", "_known")

    def __init__(self, known: Entries | None = None) -> None:
        self._known = np.empty(0, ENTRY) if known is None else known
        self._fresh: list[Entries] = []

    def __len__(self) -> int:
        return len(self._known) + sum(len(some) for some in self._fresh)

    def entries(self) -> Entries:
        """All of them, in the order of their UIDs."""
        if self._fresh:
            known = np.concatenate([self._known, *self._fresh])
            self._known, self._fresh = known[known["uid"].argsort(kind="stable")], []
        return self._known

    def since(self, time_ms: int) -> Entries:
        """Those expunged at that time or later."""
        entries = self.entries()
        return entries[entries["expunged"] >= time_ms]

    def note(self, columns: Columns, rows: Any, modseq: int, time_ms: int) -> None:
        """Remember rows that are expunged just now, with the flags they have."""
        new = np.zeros(len(rows), ENTRY)
        for name in _COPIED:
            new[name] = getattr(columns.full, name)[rows]
        new["modseq"], new["expunged"] = modseq, time_ms
        self._fresh.append(new)

    def relocate(self, uids: Any, segment: int, offsets: Any) -> None:
        """Some of these messages, and others, lie in another segment now."""
        entries = self.entries()
        if not len(entries):
            return
        places = entries["uid"].searchsorted(uids)
        known = places < len(entries)
        known[known] = entries["uid"][places[known]] == uids[known]
        entries["segment"][places[known]] = segment
        entries["offset"][places[known]] = offsets[known]

    def drop(self, before_ms: int, now_ms: int, segments: list[int]) -> None:
        """Forget those expunged before a time, and those in none of the segments that there are.

        One from the future, as a clock that was wrong makes it, counts as expunged now: else it would stay.
        """
        entries = self.entries()
        entries["expunged"] = np.minimum(entries["expunged"], now_ms)
        keep = entries["expunged"] >= before_ms
        keep &= np.isin(entries["segment"], np.array(segments, np.uint32))
        self._known = entries[keep]

    def stored(self) -> bytes:
        """The record as the index has it; nothing when there are none."""
        entries = self.entries()
        if not len(entries):
            return b""
        sizes = entries["size"].astype(np.int64) + FRAME.size
        numbers, place = np.unique(entries["expunged"] // DAY_MS, return_inverse=True)
        sums = np.bincount(place, weights=sizes).astype(np.int64)
        days = Days(dict(zip(numbers.tolist(), sums.tolist(), strict=True)))
        rows: bytes = entries.tobytes()
        head = RETAINED.pack(RETAINED_MAGIC, 0, len(entries), len(days), zlib.crc32(rows))
        head += days.stored()
        return head[:4] + struct.pack("<I", zlib.crc32(head[8:])) + head[8:] + rows


def parse_days(data: memoryview) -> tuple[Days, memoryview, int]:
    """What the record in an index says of each day, the bytes of its entries, and their checksum.

    Raises: Corrupt.
    """
    if len(data) >= RETAINED.size:
        head = RETAINED.read(data)
        at = RETAINED.size + head.days * RETAINED_DAY.size
        end = at + head.count * RETAINED_ENTRY.size
        is_whole = end <= len(data) and head.magic == RETAINED_MAGIC
        if is_whole and zlib.crc32(data[8:at]) == head.crc:
            found = np.frombuffer(data, _DAY, head.days, RETAINED.size)
            days = dict(zip(found["day"].tolist(), found["bytes"].tolist(), strict=True))
            return Days(days), data[at:end], head.entries_crc
    raise Corrupt("the record of retained messages is damaged")


def parse_entries(rows: memoryview, crc: int) -> Retained:
    """The entries in an index.

    Raises: Corrupt.
    """
    if zlib.crc32(rows) != crc:
        raise Corrupt("the record of retained messages is damaged")
    return Retained(np.frombuffer(bytes(rows), ENTRY).copy())
