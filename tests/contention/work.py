"""One process of a contention run: a worker's way of waiting, several sessions as greenlets, and their notes.

Run as ``python -m tests.contention.work DIRECTORY SEED NUMBER SESSIONS TURNS``. When all is done it says so,
waits until the others are done as well (a line on standard input), and looks whether what its sessions were
told is what is.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import gevent
from gevent.util import format_run_info

from mstore.base import blocking
from mstore.base.ids import AccountId
from mstore.base.log import Log
from mstore.files import raw
from mstore.store import checkpointer, compact, compactderived, copy, diskuse, frames, mailbox
from mstore.store.account import Account
from mstore.store.lifetimes import Lifetimes
from mstore.store.store import Store
from tests.contention.model import Note
from tests.contention.session import Session
from tests.kit.dying import Quick
from tests.kit.record import Record
from workers.cooperative import Cooperative

LIMIT_S = 60.0
"""Who gets nowhere for so long hangs; a slow machine may take longer for all of it."""
OWNER = Record(AccountId("00000000000000ac"), "main", 1 << 30, 1_000_000)
RETAINING = "r"
"""Ends the seeds of runs in which what is expunged is retained."""


class Dawdling(Quick):
    """A disk that takes its time, now more and now less; other sessions run meanwhile."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        time.sleep(self._random.choice((0, 0, 0.0005, 0.003)))

    def sync_directory(self, path: raw.PathLike) -> None:
        super().sync_directory(path)
        time.sleep(self._random.choice((0, 0.0005)))


def lower_thresholds() -> None:
    """Let everything that happens rarely happen often; fails when it is not where it was."""
    for module, name, value in (
        (mailbox, "_LEAST_TAIL_BYTES", 3000),
        (checkpointer, "_FEW_BYTES", 300),
        (frames, "ROLL_BYTES", 40_000),
        (copy, "ROLL_BYTES", 40_000),
        (compact, "ROLL_BYTES", 40_000),
        (compact, "_SMALL_BYTES", 10_000),
        *((module, "LEAST_DEAD_BYTES", 20_000) for module in (mailbox, diskuse, compact)),
        (compactderived, "LEAST_BYTES", 20_000),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        setattr(module, name, value)


def open_account(path: Path, seed: str) -> tuple[Store, Account]:
    """The account that all contend for; in some runs what is expunged is retained."""
    store = Store({"main": path}, Lifetimes(86400 if seed.endswith(RETAINING) else 0))
    return store, store.account(OWNER)


def main(directory: str, seed: str, number: int, sessions: int, turns: int) -> int:
    """Run the sessions of one process; the exit status is 0 when nothing was wrong."""
    path = Path(directory)
    log = os.open(path / f"log.{number}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    waiting = Cooperative(Log(log), threads=4)
    blocking.install(waiting)
    raw.install(Dawdling(f"{seed}-{number}"))
    lower_thresholds()
    store, account = open_account(path / "mail", seed)
    notes: list[Note] = []
    numbers = itertools.count(number * 1_000_000 + 1)
    workers = [Session(account, f"{seed}-{number}-{place}", numbers, notes) for place in range(sessions)]
    failures: list[str] = []

    def guard(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException:
            failures.append(traceback.format_exc())

    def all_of(jobs: list[Any]) -> None:
        turns, before = sum(worker.turns for worker in workers), -1
        done = gevent.joinall(jobs, timeout=LIMIT_S)
        while len(done) < len(jobs) and len(done) + turns > before:
            before, done = len(done) + turns, gevent.joinall(jobs, timeout=LIMIT_S)
            turns = sum(worker.turns for worker in workers)
        if len(done) < len(jobs):
            where = "\n".join(format_run_info(thread_stacks=False))
            failures.append(f"process {number}: {len(jobs) - len(done)} sessions hang\n{where}")

    all_of([gevent.spawn(guard, worker.run, turns) for worker in workers])
    if not waiting.finish(LIMIT_S):
        failures.append(f"process {number}: the background never ends")
    print("done", flush=True)
    blocking.call(sys.stdin.readline)  # what goes on in the background goes on
    all_of([gevent.spawn(guard, worker.end) for worker in workers])
    if not waiting.finish(LIMIT_S):  # the end writes as well, and may begin a checkpoint
        failures.append(f"process {number}: the background never ends")
    store.close()
    with open(path / f"notes.{number}", "wb") as file:
        pickle.dump(notes, file)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])))
