"""Which UIDs were expunged lately, and with which MODSEQ: what a client that comes back has missed.

The record is bounded: the oldest expunges are forgotten, and ``forgotten`` is the MODSEQ up to which they
may be. Who asks for what happened before that has to be told of every UID that is not there (RFC 7162
§3.2.6). It lies in the index, and grows with the journal.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from mstore.base.errors import Corrupt
from mstore.files.column import Array
from mstore.files.layout import EXPUNGE_ENTRY

MOST = 4096
"""So many runs of neighbouring messages are remembered at most."""
_ENTRY = EXPUNGE_ENTRY.dtype


class Expunges:
    """The expunges that are remembered, oldest first."""

    __slots__ = ("_entries", "forgotten")

    def __init__(self, stored: bytes = b"", forgotten: int = 0) -> None:
        self._entries = bytearray(stored)
        self.forgotten = forgotten
        """Of expunges with this MODSEQ or a lower one some may not be remembered."""

    def __len__(self) -> int:
        return len(self._entries) // EXPUNGE_ENTRY.size

    def note(self, pairs: Array, modseq: int) -> None:
        """Remember the UIDs from the first to the last of each pair (flat, ascending) as expunged."""
        firsts, lasts = pairs[::2], pairs[1::2]
        if len(firsts) > MOST:
            self.forget(modseq)
            return
        entries = self._entries
        if len(firsts) == 1:
            entries += EXPUNGE_ENTRY.pack(modseq, firsts.item(), lasts.item())
        else:
            new = np.empty(len(firsts), _ENTRY)
            new["modseq"], new["first"], new["last"] = modseq, firsts, lasts
            entries += new.tobytes()
        if len(self) > MOST:
            self._drop(len(self) - MOST // 2)

    def _drop(self, count: int) -> None:
        """Forget so many of the oldest."""
        size = count * EXPUNGE_ENTRY.size
        last = EXPUNGE_ENTRY.read(self._entries, size - EXPUNGE_ENTRY.size)
        self.forgotten = max(self.forgotten, last.modseq)
        del self._entries[:size]

    def forget(self, modseq: int) -> None:
        """What happened up to this MODSEQ is not known."""
        self.forgotten = max(self.forgotten, modseq)
        self._entries.clear()

    def since(self, modseq: int) -> Array | None:
        """First and last UID, row by row, of what was expunged after a MODSEQ: ascending and apart.

        None when that is too long ago to be known.
        """
        if modseq < self.forgotten:
            return None
        table: Any = np.frombuffer(bytes(self._entries), _ENTRY)
        table = table[table["modseq"] > np.uint64(modseq)]
        pairs = np.stack((table["first"], table["last"]), axis=1).astype(np.int64)
        return merge(pairs)

    def stored(self) -> bytes:
        """The entries as the index has them."""
        return bytes(self._entries)


def parse_expunges(stored: bytes, forgotten: int, crc: int) -> Expunges:
    """The record that an index has.

    Raises: Corrupt.
    """
    if zlib.crc32(stored) != crc:
        raise Corrupt("the record of expunges is damaged")
    return Expunges(stored, forgotten)


def merge(pairs: Array) -> Array:
    """Ranges, closed at both ends, in ascending order; those that overlap or touch made one."""
    if len(pairs) < 2:
        return pairs
    pairs = pairs[pairs[:, 0].argsort(kind="stable")]
    ends = np.maximum.accumulate(pairs[:, 1])
    begins = np.concatenate(([True], pairs[1:, 0] > ends[:-1] + 1))
    places = np.flatnonzero(begins)
    lasts = ends[np.concatenate((places[1:] - 1, [len(pairs) - 1]))]
    merged: Array = np.stack((pairs[places, 0], lasts), axis=1)
    return merged
