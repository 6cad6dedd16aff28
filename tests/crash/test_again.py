"""Two misfortunes in a row: the power goes again while the store recovers; or a process is killed, another
goes on, and then the power goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.crash.__main__ import explore_again, explore_killed, explore_killed_again, explore_one
from tests.crash.explore import Explorer, scratch
from tests.crash.workloads import WORKLOADS, goes_on_a_little

BY_NAME = {workload.name: workload for workload in WORKLOADS}


@pytest.fixture
def explorer() -> Iterator[Explorer]:
    place = scratch()
    yield Explorer(place, exhaustive=2, samples=1, keeping=2)
    shutil.rmtree(place)


@pytest.mark.parametrize(
    "name", ["flags and appends", "checkpoint and flags", "move", "compaction", "compaction of all"]
)
def test_the_power_goes_again(explorer: Explorer, name: str) -> None:
    explorer.wanted = 60
    explore_one(explorer, BY_NAME[name])
    before = len(explorer.states)
    explore_again(explorer, BY_NAME[name])
    assert not explorer.violations, "\n".join(map(str, explorer.violations[:5]))
    assert len(explorer.states) > before


def test_the_power_goes_after_one_was_killed_who_recovered(explorer: Explorer) -> None:
    explorer.exhaustive = explorer.samples = 0
    explorer.keeping = 1
    explorer.wanted = 60
    explore_one(explorer, BY_NAME["expunge"])
    explorer.wanted = None
    amid = range(15, 29)  # the new generation gets its names
    assert explore_killed_again(explorer, BY_NAME["expunge"], goes_on_a_little, amid) == len(amid)
    assert not explorer.violations, "\n".join(map(str, explorer.violations[:5]))


@pytest.mark.parametrize("name", ["append over a segment's end", "expunge", "checkpoint and flags", "move"])
def test_the_power_goes_after_a_process_was_killed(explorer: Explorer, name: str) -> None:
    explorer.wanted = 60
    assert explore_killed(explorer, BY_NAME[name], every=11) >= 1
    assert not explorer.violations, "\n".join(map(str, explorer.violations[:5]))
