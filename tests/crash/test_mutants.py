"""Each sync of the store is needed: left out, or done too late, and some power cut is survived no longer.

This is a test of the tests. The log of a real run is changed into that of a store that forgot something."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.crash.__main__ import explore_one
from tests.crash.explore import Explorer, Mutant, scratch
from tests.crash.workloads import WORKLOADS
from tests.kit.powercut import Event

BY_NAME = {workload.name: workload for workload in WORKLOADS}
SYNCS = {
    ("sync", "frames.sync"): "append",
    ("sync", "segment.create"): "append",
    ("sync_directory", "segment.create"): "append",
    ("sync", "transaction._write"): "expunge",
    ("sync", "mailbox.flush"): "flags",
    ("sync", "checkpoint.write"): "checkpoint and flags",
    ("sync", "checkpointer._checkpoint"): "beside a checkpoint",
    ("sync_directory", "generation.switch"): "checkpoint and flags",
    ("sync", "compact._pack"): "compaction",
    ("sync_directory", "compact._pack"): "compaction",
    ("sync", "catalog._append"): "create",
    ("sync_directory", "mailbox.create"): "create",
    ("sync_directory", "account._sweep"): "delete",
    ("sync", "directory.note_deletion"): "delete and retain",
    ("sync", "catalog._write_anew"): "a new account",
    ("sync_directory", "catalog._write_anew"): "a new account",
    ("sync_directory", "store._found"): "a new account",
}
"""Which sync, and what shows that it is needed."""


@pytest.fixture
def explorer() -> Iterator[Explorer]:
    place = scratch()
    yield Explorer(place, exhaustive=3, samples=1, stops_early=True)
    shutil.rmtree(place)


def left_out(kind: str, site: str) -> Mutant:
    return lambda log: [event for event in log if not (event[0] == kind and event[2] == site)]


@pytest.mark.parametrize(("sync", "workload"), SYNCS.items(), ids=lambda value: " ".join(value))
def test_a_sync_left_out_is_noticed(explorer: Explorer, sync: tuple[str, str], workload: str) -> None:
    explore_one(explorer, BY_NAME[workload], left_out(*sync))
    assert explorer.violations


def later(site: str) -> Mutant:
    """The sync comes behind the write that should have waited for it."""

    def mutant(log: list[Event]) -> list[Event]:
        result: list[Event] = []
        late: list[Event] = []
        for event in log:
            if event[0] == "sync" and event[2] == site:
                late.append(event)
                continue
            result.append(event)
            if late and event[:2] == ("mark", "seen"):
                result += late
                late = []
        return result + late

    return mutant


def test_messages_published_before_their_sync_are_noticed(explorer: Explorer) -> None:
    explore_one(explorer, BY_NAME["append"], later("frames.sync"))
    assert explorer.violations


def test_an_expunge_released_before_its_sync_is_noticed(explorer: Explorer) -> None:
    explore_one(explorer, BY_NAME["expunge"], later("transaction._write"))
    assert explorer.violations


def test_an_acknowledgement_before_the_names_are_synced_is_noticed(explorer: Explorer) -> None:
    explore_one(explorer, BY_NAME["subscribe"], left_out("sync", "catalog._append"))
    assert explorer.violations


def test_nothing_is_wrong_when_nothing_is_left_out(explorer: Explorer) -> None:
    explore_one(explorer, BY_NAME["append"], list)
    assert not explorer.violations
