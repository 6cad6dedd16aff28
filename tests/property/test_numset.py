"""Number sets against Python's own sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mstore.base.numset import NumSet, format_numset, parse_numset

ENDS = st.integers(0, 60)
SETS = st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=8).map(NumSet)
UIDS = st.sets(st.integers(1, 60), max_size=40).map(sorted)


def members(numbers: NumSet, last: int) -> set[int]:
    found: set[int] = set()
    for low, high in numbers.ranges:
        low, high = low or last, high or last
        found.update(range(min(low, high), max(low, high) + 1))
    return found


@given(SETS, UIDS)
def test_positions_are_those_of_the_members(numbers: NumSet, uids: list[int]) -> None:
    wanted = members(numbers, uids[-1]) if uids else set()
    positions = numbers.positions(np.array(uids, np.uint32)).tolist()
    assert [uids[position] for position in positions] == [uid for uid in uids if uid in wanted]


@given(SETS, st.integers(0, 60))
def test_numbers_are_the_members_up_to_the_count(numbers: NumSet, count: int) -> None:
    wanted = sorted(n for n in members(numbers, count) if 1 <= n <= count) if count else []
    assert numbers.numbers(count).tolist() == wanted


@given(SETS)
def test_parse_undoes_format(numbers: NumSet) -> None:
    assert parse_numset(numbers.format()) == numbers


@given(st.lists(st.integers(1, 50), unique=True, min_size=1))
def test_a_formatted_list_keeps_its_order(numbers: list[int]) -> None:
    listed = [n for low, high in parse_numset(format_numset(numbers)).ranges for n in range(low, high + 1)]
    assert listed == numbers
