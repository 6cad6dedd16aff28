"""Sets of message numbers as protocols write them: ``2,4:7,12:*`` (sequence-set and uid-set).

A set stays what the client wrote until it is applied: ``*`` is symbolic, a range of four thousand million
UIDs costs two integers. Applied to a sorted array of numbers it gives positions, by binary search, so the
work depends on what is there and not on what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.base.errors import Invalid

STAR = 0
"""Stands for ``*``, the largest number in use, in a range."""
MAX_NUMBER = 2**32 - 1

_SET = re.compile(
    rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?"
    rb"(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*"
)

Positions = npt.NDArray[np.int64]


class NumSet:
    """An immutable set of numbers from 1 to 2**32 - 1, with ``*`` still open."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self.ranges = tuple(ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"NumSet({self.format().decode()})"

    def single(self) -> int:
        """The number, where the set was written as one; otherwise 0."""
        ranges = self.ranges
        return ranges[0][0] if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else 0

    def highest(self) -> int:
        """The largest number written, ``*`` left aside; 0 when there is none."""
        return max(max(pair) for pair in self.ranges) if self.ranges else 0

    def resolve(self, last: int) -> list[tuple[int, int]]:
        """The ranges in ascending order, merged, each low to high, with ``last`` for ``*``."""
        if len(self.ranges) == 1:
            low, high = self.ranges[0]
            low, high = low or last, high or last
            return [(low, high) if low <= high else (high, low)]
        pairs = sorted((min(a or last, b or last), max(a or last, b or last)) for a, b in self.ranges)
        merged: list[tuple[int, int]] = []
        for low, high in pairs:
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return merged

    def contains(self, number: int, last: int) -> bool:
        """Whether a number is in the set when ``last`` is the largest in use."""
        return any(low <= number <= high for low, high in self.resolve(last))

    def positions(self, numbers: npt.NDArray[Any]) -> Positions:
        """The indexes at which a strictly ascending array holds a number of this set, ascending.

        ``*`` is the last of the numbers (RFC 3501 §9, seq-number). An empty array gives an empty one.
        """
        count = len(numbers)
        if not count:
            return np.empty(0, np.int64)
        pairs = self.resolve(int(numbers[-1]))
        kind = numbers.dtype.type
        if len(pairs) == 1:
            low, high = pairs[0]
            start = int(numbers.searchsorted(kind(low), "left"))
            stop = int(numbers.searchsorted(kind(high), "right"))
            return np.arange(start, stop, dtype=np.int64)
        bounds = np.array(pairs, dtype=numbers.dtype)
        starts = numbers.searchsorted(bounds[:, 0], "left")
        stops = numbers.searchsorted(bounds[:, 1], "right")
        lengths = stops - starts
        total = int(lengths.sum())
        if not total:
            return np.empty(0, np.int64)
        # Each run counts up by one; where a run begins, jump from the end of the run before it.
        filled = lengths > 0
        starts, lengths = starts[filled], lengths[filled]
        steps = np.ones(total, np.int64)
        steps[0] = starts[0]
        heads = lengths.cumsum()[:-1]
        steps[heads] = starts[1:] - (starts[:-1] + lengths[:-1] - 1)
        return steps.cumsum()

    def numbers(self, count: int) -> Positions:
        """The members among 1 to ``count`` (``*`` being ``count``), ascending: sequence numbers."""
        if count <= 0:
            return np.empty(0, np.int64)
        runs = [
            np.arange(low, min(high, count) + 1, dtype=np.int64)
            for low, high in self.resolve(count)
            if low <= count
        ]
        if not runs:
            return np.empty(0, np.int64)
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def format(self) -> bytes:
        """As written on the wire."""
        return b",".join(
            _format_end(low) if low == high else _format_end(low) + b":" + _format_end(high)
            for low, high in self.ranges
        )


LAST_RESULT = NumSet(())
"""Stands for ``$``, what a search has saved (RFC 5182 §2.1); known by identity, and empty by itself."""


def parse_numset(text: bytes) -> NumSet:
    """A sequence-set (RFC 3501 §9).

    Raises: Invalid.
    """
    if len(text) < 10 and text.isdigit() and text[0] != 48:
        number = int(text)
        return NumSet(((number, number),))
    if not _SET.fullmatch(text):
        raise Invalid("not a set of message numbers")
    ranges = []
    for part in text.split(b","):
        low, colon, high = part.partition(b":")
        first = STAR if low == b"*" else int(low)
        second = first if not colon else STAR if high == b"*" else int(high)
        if first > MAX_NUMBER or second > MAX_NUMBER:
            raise Invalid("message number above 4294967295")
        ranges.append((first, second))
    return NumSet(ranges)


def format_numset(numbers: npt.ArrayLike) -> bytes:
    """The shortest uid-set that lists these numbers in the order given, runs of successors as ranges."""
    array = np.asarray(numbers, dtype=np.int64)
    if len(array) < 2:
        return b"%d" % array.item() if len(array) else b""
    breaks = np.flatnonzero(np.diff(array) != 1)
    starts = array[np.concatenate(([0], breaks + 1))].tolist()
    stops = array[np.concatenate((breaks, [len(array) - 1]))].tolist()
    return b",".join(
        b"%d" % low if low == high else b"%d:%d" % (low, high)
        for low, high in zip(starts, stops, strict=True)
    )


def _format_end(number: int) -> bytes:
    return b"*" if number == STAR else b"%d" % number
