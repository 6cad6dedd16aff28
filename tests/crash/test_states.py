"""The power goes at every step of everything an account does: whatever of the unsynced part is lost, nothing
that was promised is, and the store goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.crash.__main__ import explore_one
from tests.crash.explore import Explorer, scratch
from tests.crash.workloads import WORKLOADS, Workload, mixed


@pytest.fixture
def explorer() -> Iterator[Explorer]:
    place = scratch()
    yield Explorer(place, exhaustive=5, samples=4, wanted=120)
    shutil.rmtree(place)


@pytest.mark.parametrize("workload", [*WORKLOADS, mixed(1), mixed(2)], ids=lambda workload: workload.name)
def test_the_power_goes_at_any_time(explorer: Explorer, workload: Workload) -> None:
    explore_one(explorer, workload)
    assert not explorer.violations, "\n".join(map(str, explorer.violations[:5]))
    assert len(explorer.states) >= 10
