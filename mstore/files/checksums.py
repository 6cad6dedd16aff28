"""CRC-32 of many short pieces of one length, by a few vector operations.

A CRC is linear: each byte adds, by exclusive or, what depends on its value and its place alone. That is
looked up in a table with 256 values for each place.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def crc32_each(pieces: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The CRC-32 (as ``zlib`` has it) of each row of a two-dimensional array of bytes."""
    length = pieces.shape[1]
    return crc32_added(pieces, 0, length) ^ np.uint32(zlib.crc32(bytes(length)))


def crc32_added(parts: npt.NDArray[np.uint8], at: int, length: int) -> npt.NDArray[np.uint32]:
    """What each row of bytes, from ``at`` on in ``length`` bytes, adds to their CRC-32 by exclusive or:
    to that of the same with zeros there."""
    places = np.ascontiguousarray(parts.T)
    tables = _tables(length)
    sums = np.zeros(places.shape[1], np.uint32)
    for place in np.flatnonzero(places.any(axis=1)).tolist():  # a zero adds nothing
        sums ^= tables[at + place].take(places[place])
    return sums


@cache
def _tables(length: int) -> Array:
    """What each byte value adds at each place of pieces so long: 1 KB for each place."""
    empty = zlib.crc32(b"\0")
    last = np.array([zlib.crc32(bytes([value])) ^ empty for value in range(256)], np.uint32)
    tables = np.empty((length, 256), np.uint32)
    added = last
    for place in range(length - 1, -1, -1):
        tables[place] = added
        added = added >> np.uint32(8) ^ last[added & np.uint32(0xFF)]  # one byte more behind it
    return tables
