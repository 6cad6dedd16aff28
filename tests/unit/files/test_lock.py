from __future__ import annotations

import contextvars
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mstore.base import blocking, measure
from mstore.base.errors import Busy, NotFound
from mstore.files.lock import RANK_ACCOUNT, RANK_MAILBOX, RANK_UPKEEP, UPKEEP_BYTE, Lock, LockOrder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lock"
    path.touch()
    return path


def test_two_handles_of_one_process_exclude_each_other(path: Path) -> None:
    first, second = Lock(path, RANK_MAILBOX, "a"), Lock(path, RANK_MAILBOX, "b")
    with first.hold():
        assert first.is_held
        with pytest.raises(Busy):
            second.acquire(0)
    with second.hold(0):
        pass
    assert not first.is_held


def test_closing_another_descriptor_does_not_drop_it(path: Path) -> None:
    first, second = Lock(path, RANK_MAILBOX, "a"), Lock(path, RANK_MAILBOX, "b")
    with first.hold():
        os.close(os.open(path, os.O_RDWR))
        with pytest.raises(Busy):
            second.acquire(0)


def hold(path: Path, ready: Any, enough: Any) -> None:
    with Lock(path, RANK_MAILBOX).hold():
        ready.set()
        enough.wait(60)


def test_other_processes_are_waited_for_until_the_deadline(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, enough = context.Event(), context.Event()
    other = context.Process(target=hold, args=(path, ready, enough))
    other.start()
    ready.wait()
    started = time.monotonic()
    with pytest.raises(Busy):
        Lock(path, RANK_MAILBOX).acquire(0.05)
    assert time.monotonic() - started < 40
    ending = threading.Timer(0.3, enough.set)
    ending.start()
    with Lock(path, RANK_MAILBOX).hold(40):
        assert enough.is_set()
    ending.join()
    other.join()


def test_sessions_of_one_process_take_turns(path: Path) -> None:
    lock, inside, most = Lock(path, RANK_MAILBOX), 0, 0

    def session() -> None:
        nonlocal inside, most
        for _ in range(5):
            with lock.hold():
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=session) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_order_of_locks_is_asserted(tmp_path: Path) -> None:
    locks = {}
    for rank, key in ((RANK_ACCOUNT, "z"), (RANK_MAILBOX, "a"), (RANK_MAILBOX, "b")):
        path = tmp_path / f"{rank}{key}"
        path.touch()
        locks[key] = Lock(path, rank, key)
    with locks["z"].hold(), locks["a"].hold(), locks["b"].hold():
        pass
    for first, second in (("a", "z"), ("b", "a"), ("a", "a")):
        with locks[first].hold(), pytest.raises(LockOrder):
            locks[second].acquire()
    with locks["a"].hold():
        pass


def test_a_lock_that_is_gone(path: Path, tmp_path: Path) -> None:
    lock = Lock(path, RANK_MAILBOX)
    path.unlink()
    with pytest.raises(NotFound):
        lock.acquire()
    assert not lock.is_held
    path.touch()
    with lock.hold(0):
        pass


def test_a_directory_removed_while_one_waited_is_noticed(tmp_path: Path) -> None:
    directory = tmp_path / "box"
    directory.mkdir()
    (directory / "lock").touch()
    first, second = Lock(directory / "lock", RANK_MAILBOX), Lock(directory / "lock", RANK_MAILBOX)
    found: list[type] = []

    def wait() -> None:
        try:
            second.acquire(40)
        except NotFound as error:
            found.append(type(error))

    thread = threading.Thread(target=wait)
    with first.hold():
        thread.start()
        time.sleep(0.05)
        directory.rename(tmp_path / "trash")
    thread.join()
    assert found == [NotFound]


def test_waits_are_measured_and_nothing_else(path: Path) -> None:
    """Of whoever gets it and of whoever does not; a try that does not wait is no wait."""
    found: list[tuple[str, float]] = []
    before = measure.install(lambda name, seconds: found.append((name, seconds)))
    try:
        one, other = Lock(path, RANK_MAILBOX, "a"), Lock(path, RANK_MAILBOX, "b")
        with one.hold():
            with pytest.raises(Busy):
                other.acquire(0)
            assert not found
            with pytest.raises(Busy):
                other.acquire(0.05)
            with pytest.raises(Busy):  # by the mutex, as sessions of one process share a lock
                contextvars.Context().run(one.acquire, 0.05)
        assert [name for name, _ in found] == [measure.LOCK_WAIT] * 2
        assert all(0.04 < seconds < 40 for _, seconds in found)
        with one.hold():
            pass
        assert len(found) == 2
    finally:
        measure.install(before)


def test_each_byte_is_a_lock_of_its_own(path: Path) -> None:
    upkeep = Lock(path, RANK_UPKEEP, "a", UPKEEP_BYTE)
    with upkeep.hold(), Lock(path, RANK_MAILBOX, "a").hold(0), pytest.raises(LockOrder):
        Lock(path, RANK_UPKEEP, "b", UPKEEP_BYTE).acquire(0)
    with upkeep.hold(0), pytest.raises(Busy):
        Lock(path, RANK_UPKEEP, "b", UPKEEP_BYTE).acquire(0)


def test_giving_one_byte_back_keeps_the_other(path: Path) -> None:
    writers, upkeep = Lock(path, RANK_MAILBOX, "a"), Lock(path, RANK_UPKEEP, "a", UPKEEP_BYTE)
    upkeep.acquire(0)
    with writers.hold(0):
        pass
    with pytest.raises(Busy):
        Lock(path, RANK_UPKEEP, "b", UPKEEP_BYTE).acquire(0)
    upkeep.release()


def hammer(path: Path, turns: Any, enough: Any) -> None:
    """Take the lock again as soon as it is given back."""
    lock, end = Lock(path, RANK_MAILBOX), time.monotonic() + 60
    while not enough.is_set() and time.monotonic() < end:
        lock.acquire()
        turns.value += 1
        time.sleep(0.004)
        lock.release(keep_open=True)


def test_who_takes_it_again_and_again_leaves_it_to_others_in_between(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    turns, enough = context.Value("q", 0), context.Event()
    other = context.Process(target=hammer, args=(path, turns, enough))
    other.start()
    lock, before, end = Lock(path, RANK_MAILBOX), 0, time.monotonic() + 20
    series: list[list[int]] = []
    try:
        # Now and then this process is kept from its turn by others on the machine.
        while not series or (sorted(series[-1])[5] > 3 and time.monotonic() < end):
            waited = list[int]()
            for _ in range(11):
                while turns.value == before and other.is_alive():
                    time.sleep(0.0005)
                before = turns.value
                lock.acquire(40)
                waited.append(turns.value - before)
                before = turns.value
                lock.release(keep_open=True)
            series.append(waited)
        assert other.is_alive()
        assert sorted(series[-1])[5] <= 3, series
    finally:
        enough.set()
        other.join()


class TakenForASecond:
    """A mutex that another session of this process gives back a second after one has begun to wait for it."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            time.sleep(1)
        return blocking

    def release(self) -> None:
        pass


class Counting(blocking.Plain):
    """Sums how long it was asked to sleep: the clock goes on as well while others have the machine."""

    slept_s = 0.0

    def sleep(self, seconds: float) -> bool:
        self.slept_s += seconds
        return super().sleep(seconds)

    def mutex(self) -> blocking.Mutex:
        return TakenForASecond()


def test_the_deadline_is_one_for_sessions_and_processes_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, counting = Lock(path, RANK_MAILBOX, "a"), Counting()
    with outer.hold():
        monkeypatch.setattr(blocking, "_waiting", counting)
        with pytest.raises(Busy, match="another process"):
            Lock(path, RANK_MAILBOX, "b").acquire(3)
        assert counting.slept_s < 2.5
