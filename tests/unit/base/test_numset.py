"""Number sets: parsing, resolving, applying to arrays, formatting."""

import numpy as np
import pytest

from mstore.base.errors import Invalid
from mstore.base.numset import NumSet, format_numset, parse_numset


@pytest.mark.parametrize("text", [b"1", b"*", b"1:*", b"*:4,5:7", b"2,4:7,9,12:*", b"4294967295", b"5:1"])
def test_a_set_is_formatted_as_it_was_written(text: bytes) -> None:
    assert parse_numset(text).format() == text


@pytest.mark.parametrize(
    "text", [b"", b"0", b"01", b"1,", b",1", b"1:", b":1", b"1:2:3", b"a", b"1 2", b"4294967296", b"1:0"]
)
def test_what_is_no_set_is_invalid(text: bytes) -> None:
    with pytest.raises(Invalid):
        parse_numset(text)


def test_ranges_are_sorted_merged_and_star_is_the_last() -> None:
    assert parse_numset(b"*:4,5:7").resolve(10) == [(4, 10)]
    assert parse_numset(b"2,4:7,9,12:*").resolve(15) == [(2, 2), (4, 7), (9, 9), (12, 15)]
    assert parse_numset(b"1,2,3,5").resolve(9) == [(1, 3), (5, 5)]
    assert parse_numset(b"3291:*").resolve(100) == [(100, 3291)]


def test_positions_follow_the_numbers_that_are_there() -> None:
    uids = np.array([3, 5, 8, 9, 20], np.uint32)
    assert parse_numset(b"5:9").positions(uids).tolist() == [1, 2, 3]
    assert parse_numset(b"1:4,9,20:25").positions(uids).tolist() == [0, 3, 4]
    assert parse_numset(b"*").positions(uids).tolist() == [4]
    assert parse_numset(b"100:*").positions(uids).tolist() == [4]
    assert parse_numset(b"10:19,21:30").positions(uids).tolist() == []
    assert parse_numset(b"1:4294967295").positions(uids).tolist() == [0, 1, 2, 3, 4]
    assert parse_numset(b"1:*").positions(np.empty(0, np.uint32)).tolist() == []


def test_numbers_stay_below_the_count() -> None:
    assert parse_numset(b"2:3,7:*").numbers(8).tolist() == [2, 3, 7, 8]
    assert parse_numset(b"9:12").numbers(10).tolist() == [9, 10]
    assert parse_numset(b"20").numbers(10).tolist() == []
    assert parse_numset(b"*").numbers(0).tolist() == []


def test_highest_and_contains() -> None:
    numbers = parse_numset(b"2,9:*,4")
    assert numbers.highest() == 9
    assert numbers.contains(4, 10)
    assert not numbers.contains(5, 10)


def test_a_single_number_is_known_as_such() -> None:
    written = [b"7", b"4294967295", b"7:7", b"*", b"1:7", b"7,8", b"*:7"]
    assert [parse_numset(text).single() for text in written] == [7, 4294967295, 7, 0, 0, 0, 0]
    assert NumSet(()).single() == 0


def test_numbers_are_formatted_as_the_shortest_set_in_their_order() -> None:
    assert format_numset([1, 2, 3, 7, 9, 10]) == b"1:3,7,9:10"
    assert format_numset([9, 3, 4]) == b"9,3:4"
    assert format_numset([5]) == b"5"
    assert format_numset([]) == b""
    assert parse_numset(format_numset([1, 2, 5])) == NumSet([(1, 2), (5, 5)])
