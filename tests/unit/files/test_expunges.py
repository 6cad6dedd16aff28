"""The record of expunges: what it remembers, what it forgets, and how it says so."""

import zlib

import numpy as np
import pytest

from mstore.base.errors import Corrupt
from mstore.files.expunges import MOST, Expunges, merge, parse_expunges


def pairs(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint32)


def test_what_was_expunged_since_is_told_in_order_and_once() -> None:
    record = Expunges()
    record.note(pairs(7, 9), 10)
    record.note(pairs(1, 2, 5, 6), 11)
    record.note(pairs(20, 20), 12)
    assert record.since(0).tolist() == [[1, 2], [5, 9], [20, 20]]
    assert record.since(10).tolist() == [[1, 2], [5, 6], [20, 20]]
    assert record.since(11).tolist() == [[20, 20]]
    assert record.since(12).tolist() == []


def test_the_oldest_are_forgotten() -> None:
    record = Expunges()
    for number in range(1, MOST + 2):
        record.note(pairs(number * 2, number * 2), number + 100)
    assert len(record) <= MOST
    assert record.forgotten > 100
    assert record.since(record.forgotten - 1) is None
    assert len(record.since(record.forgotten)) == len(record)
    assert record.since(MOST + 100).tolist() == [[MOST * 2 + 2, MOST * 2 + 2]]


def test_a_single_expunge_of_too_many_runs_is_not_remembered() -> None:
    record = Expunges()
    record.note(pairs(1, 1), 5)
    record.note(np.repeat(np.arange(1, MOST + 2, dtype=np.uint32) * 2, 2), 6)
    assert len(record) == 0
    assert record.since(5) is None
    assert record.since(6).tolist() == []


def test_it_survives_being_stored() -> None:
    record = Expunges()
    record.note(pairs(3, 4, 8, 8), 10)
    record.forgotten = 4
    stored = record.stored()
    again = parse_expunges(stored, record.forgotten, zlib.crc32(stored))
    assert again.since(3) is None
    assert again.since(4).tolist() == [[3, 4], [8, 8]]
    with pytest.raises(Corrupt):
        parse_expunges(stored[:-1] + b"\1", 4, zlib.crc32(stored))


def test_ranges_that_overlap_or_touch_become_one() -> None:
    assert merge(np.array([[5, 6], [1, 2], [3, 3], [10, 20], [12, 15]])).tolist() == [
        [1, 3],
        [5, 6],
        [10, 20],
    ]
    assert merge(np.empty((0, 2), np.int64)).tolist() == []
