"""What the segments of a mailbox hold: how much of each is in use, and what is dead.

Dead is what no live row refers to: messages that were expunged, copies that compaction has left behind. The
table keeps the sum (``dead_bytes``), and how much of it was expunged when, so that a writer sees at once when
a compaction is due: what is retained for now is dead as well, but not to be had.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mstore.base.flags import TOMBSTONE
from mstore.files.index import Index
from mstore.files.retained import Entries
from mstore.files.segment import HEADER_BYTES, PACKED, every_segment, segment_name

LEAST_DEAD_BYTES = 8 << 20
"""For less than this nobody is troubled."""


class Use(NamedTuple):
    """What is in use of one segment."""

    number: int
    size: int
    """Of its file; of the segment that is written to, up to where its next frame goes."""
    live_bytes: int
    """Frames that rows refer to, their headers included."""
    rows: int
    retained_bytes: int = 0
    """Frames of expunged messages that are retained for now, their headers included."""
    retained: int = 0

    @property
    def dead_bytes(self) -> int:
        return max(0, self.size - HEADER_BYTES - self.live_bytes)

    @property
    def spare_bytes(self) -> int:
        """What is dead and not retained."""
        return max(0, self.dead_bytes - self.retained_bytes)

    @property
    def kept_bytes(self) -> int:
        """What is live or retained."""
        return self.live_bytes + self.retained_bytes

    @property
    def kept(self) -> int:
        """How many messages that is."""
        return self.rows + self.retained

    @property
    def message_bytes(self) -> int:
        """The same bytes without the headers of frames."""
        return self.kept_bytes - HEADER_BYTES * self.kept


def retained_since(retain_s: int) -> int:
    """What was expunged at this time (milliseconds since 1970) or later is retained."""
    return int((time.time() - retain_s) * 1000)


def is_due(index: Index, retain_s: int = 0) -> bool:
    """Whether so much is dead, and not retained, that a compaction is worth its while."""
    dead, most = index.dead_bytes, max(LEAST_DEAD_BYTES, index.size_bytes // 2)
    if retain_s and dead > most:
        dead -= index.retained_days.since(retained_since(retain_s))
    return dead > most


def measure(directory: Path, index: Index, retained: Entries | None = None) -> dict[int, Use]:
    """How the segments below the end of the tail, and the packed ones, are used by the rows of a table, and
    by what is ``retained``."""
    live = _live(index)
    held = {} if retained is None else _retained(retained)
    uses = {}
    for number in every_segment(directory):
        if index.tail_segment < number < PACKED:
            continue  # begun by a writer that died
        try:
            size = os.stat(directory / segment_name(number)).st_size
        except FileNotFoundError:
            continue
        if number == index.tail_segment:
            size = min(size, index.tail_offset)
        uses[number] = Use(number, size, *live.get(number, (0, 0)), *held.get(number, (0, 0)))
    return uses


def dead_bytes(uses: Iterable[Use], packed_next: int) -> int:
    """What is dead in segments; a packed one that was never made known does not count."""
    return sum(use.dead_bytes for use in uses if use.number < packed_next)


def _live(index: Index) -> dict[int, tuple[int, int]]:
    """Bytes and rows of what is live in each segment that rows refer to; with few and small copies, since it
    is done with the mailbox locked, be it ever so large."""
    full, count = index.columns.full, index.columns.count  # rows may be added meanwhile
    if not count:
        return {}
    segments = full.segment[:count]
    starts = np.concatenate([[0], np.flatnonzero(segments[1:] != segments[:-1]) + 1])
    live = full.flags[:count].view(np.uint8)[::8] & np.uint8(TOMBSTONE) == 0
    numbers, place = np.unique(segments[starts], return_inverse=True)
    rows = _sum(place, live.view(np.uint8), starts, len(numbers))
    held = _sum(place, full.size[:count] * live, starts, len(numbers)) + HEADER_BYTES * rows
    return {
        number: (size, frames)
        for number, size, frames in zip(numbers.tolist(), held.tolist(), rows.tolist(), strict=True)
        if frames
    }


def _retained(entries: Entries) -> dict[int, tuple[int, int]]:
    """Bytes and number of retained messages in each segment."""
    numbers, place = np.unique(entries["segment"], return_inverse=True)
    rows = np.bincount(place, minlength=len(numbers))
    sizes = np.bincount(place, entries["size"], len(numbers)).astype(np.int64) + HEADER_BYTES * rows
    return {
        number: (size, count)
        for number, size, count in zip(numbers.tolist(), sizes.tolist(), rows.tolist(), strict=True)
    }


def _sum(
    place: npt.NDArray[Any], values: npt.NDArray[Any], starts: npt.NDArray[Any], length: int
) -> npt.NDArray[np.int64]:
    runs = np.add.reduceat(values, starts, dtype=np.int64)
    return np.bincount(place, weights=runs, minlength=length).astype(np.int64)
