"""Cuts the power many times: ``python -m tests.crash [--states N] [--processes N] [--seed N]``."""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import time
from typing import Any

from tests.crash.explore import (
    FIRST_BOOT,
    Explorer,
    Mutant,
    Script,
    make_origin,
    next_boot,
    run,
    run_and_die,
    scratch,
)
from tests.crash.workloads import WORKLOADS, Workload, empty, goes_on, goes_on_a_little, mixed, short_segments
from tests.crash.world import check
from tests.kit.powercut import Recorder, build


def explore_one(explorer: Explorer, workload: Workload, mutant: Mutant | None = None) -> None:
    """Let one workload run, and look at all it may leave."""
    root = explorer.place / "live"
    with short_segments():
        make_origin(root, workload.origin, workload.retains)
        try:
            done = run(workload.name, root, workload.script, retains=workload.retains)
            check(not done.world.errors, f"{workload.name}: {done.world.errors}")
            explorer.explore(done, mutant)
        finally:
            shutil.rmtree(root)


def explore_again(explorer: Explorer, workload: Workload) -> None:
    """Cut the power again, while the store recovers from some of the states that the first cut left."""
    root = explorer.place / "live"
    states, explorer.kept, explorer.keeping = explorer.kept, [], 0
    with short_segments():
        for state in states:
            build(state, root)
            try:
                recorder = Recorder(root, next_boot(FIRST_BOOT))
                name = f"recovery after {workload.name}"
                explorer.explore(run(name, root, goes_on, recorder, workload.retains))
            finally:
                shutil.rmtree(root)
            if explorer.is_full:
                return


def explore_killed(explorer: Explorer, workload: Workload, every: int, first: int = 0) -> int:
    """Kill a process at some of its calls, let another go on, cut the power; gives the number of runs."""
    root = explorer.place / "live"
    with short_segments():
        for last in range(first, 10_000, every):
            make_origin(root, workload.origin, workload.retains)
            try:
                done = run_and_die(workload.name, root, workload.script, goes_on, last, b"", workload.retains)
            finally:
                shutil.rmtree(root)
            if done is None:
                return (last - first) // every
            explorer.explore(done)
            if explorer.is_full:
                return (last - first) // every + 1
    raise AssertionError("it never ends")


def explore_killed_again(explorer: Explorer, workload: Workload, then: Script, calls: range) -> int:
    """Kill the process that recovers from some of the states that a cut left, at some of its calls, let
    another go on, and cut the power again; gives the number of runs."""
    root = explorer.place / "live"
    states, explorer.kept, explorer.keeping = explorer.kept, [], 0
    runs = 0
    with short_segments():
        for state in states:
            for last in calls:
                build(state, root)
                try:
                    name = f"recovery after {workload.name}"
                    done = run_and_die(name, root, empty, then, last, next_boot(FIRST_BOOT), workload.retains)
                finally:
                    shutil.rmtree(root)
                if done is None:
                    break
                runs += 1
                explorer.explore(done)
                if explorer.is_full or (explorer.stops_early and explorer.violations):
                    return runs
    return runs


def _share(number: int, of: int, states: int, seed: int, results: Any) -> None:
    place = scratch()
    explorer = Explorer(place, exhaustive=9, samples=40, seed=seed, most_states=states // of)
    try:
        fixed = [workload for place, workload in enumerate(WORKLOADS) if place % of == number]
        mixes = (mixed(seed * 1_000_000 + number + of * n) for n in range(1_000_000))
        for workload in (*fixed, *mixes):
            before, begun = len(explorer.states), time.monotonic()
            explorer.keeping = 3 if workload.origin else 0
            explore_one(explorer, workload)
            kept = explorer.kept[:1]
            explore_again(explorer, workload)
            explorer.kept, exhaustive, explorer.exhaustive = kept, explorer.exhaustive, 0
            explore_killed_again(explorer, workload, goes_on_a_little, range(0, 10_000, 3))
            explorer.exhaustive = exhaustive
            taken = time.monotonic() - begun
            print(f"{workload.name}: {len(explorer.states) - before} states, {taken:.1f} s", flush=True)
            if len(explorer.states) >= states // of:
                break
    finally:
        shutil.rmtree(place)
    results.put((explorer.states, explorer.looked, explorer.violations))


def main() -> int:
    """Print the number of states, and every violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--states", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    results: Any = multiprocessing.Queue()
    shares = [
        multiprocessing.Process(
            target=_share, args=(n, options.processes, options.states, options.seed, results)
        )
        for n in range(options.processes)
    ]
    for share in shares:
        share.start()
    found = [results.get() for _ in shares]
    for share in shares:
        share.join()
    states = set().union(*(states for states, _, _ in found))
    looked = sum(looked for _, looked, _ in found)
    violations = [violation for _, _, violations in found for violation in violations]
    for violation in violations[:50]:
        print(violation)
    print(
        f"{len(states)} distinct states, {looked} mailboxes and accounts opened and put to work, "
        f"{len(violations)} violations, {time.monotonic() - begun:.0f} s"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
