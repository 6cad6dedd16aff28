"""kill -9 of any worker or daemon under load: replaced within two seconds, nothing acknowledged is lost."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.corpus import message
from tests.kit.clients import WrongAnswer
from tests.kit.instance import DAEMONS, SERVICES, Instance, wait_for

REPLACED_S = 2.0
"""In the median: others may have the machine for a while."""


class Load:
    """Deliveries over LMTP and IMAP APPEND that go on, whatever dies; remembers what was acknowledged."""

    def __init__(self, store: Instance) -> None:
        self.acknowledged: dict[str, list[int]] = {"joe": [], "ann": []}
        self.tried = {"joe": 0, "ann": 0}
        self._store, self._end = store, threading.Event()
        self._threads = [threading.Thread(target=self._lmtp), threading.Thread(target=self._append)]

    @contextmanager
    def going(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join(40)
                assert not thread.is_alive()

    def _lmtp(self) -> None:
        def connect() -> Callable[[bytes], None]:
            client = self._store.lmtp()
            return lambda text: client.deliver(["joe"], text)

        self._go("joe", connect)

    def _append(self) -> None:
        def connect() -> Callable[[bytes], None]:
            return self._store.imap("ann").append

        self._go("ann", connect)

    def _go(self, user: str, connect: Callable[[], Callable[[bytes], None]]) -> None:
        hand_over: Callable[[bytes], None] | None = None
        while not self._end.is_set():
            try:
                hand_over = hand_over or connect()
                self.tried[user] += 1
                number = self.tried[user]
                hand_over(message(number, 4000))
                self.acknowledged[user].append(number)
            except (OSError, WrongAnswer):
                hand_over = None
                time.sleep(0.02)
            time.sleep(0.002)


@pytest.mark.timeout(900)
def test_what_is_killed_is_replaced_and_nothing_acknowledged_is_lost(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store(["joe", "ann"], workers=2)
    store.tolerated.append(r"SIGKILL|signal 9|killed")
    store.start()
    load = Load(store)
    with load.going():
        workers_s = [_kill_worker(store, service, place) for service in SERVICES for place in (0, 1, 0, 1)]
        daemons_s = [_kill_daemon(store, daemon) for daemon in DAEMONS * 2]
        time.sleep(0.3)
    assert statistics.median(workers_s) < REPLACED_S, f"workers were replaced after {workers_s} s"
    assert statistics.median(daemons_s) < REPLACED_S, f"daemons answered again {daemons_s} s late"
    for user, numbers in load.acknowledged.items():
        assert len(numbers) > 20, f"only {len(numbers)} messages of {user} were acknowledged"
        _assert_all_there(store, user, numbers, load.tried[user])
    store.stop()


def test_storemgr_killed_takes_everything_with_it_and_starts_again(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store()
    store.tolerated.append(r"SIGKILL|signal 9|killed|parent|storemgr")
    store.start()
    store.deliver("joe", message(1, 3000))
    store.kill()
    wait_for(lambda: not store.pids(), 30, lambda: f"left: {store.describe(store.pids())}")
    store.start()
    client = store.imap("joe")
    assert client.select() == 1
    client.logout()
    store.stop()


def _kill_worker(store: Instance, service: str, place: int) -> float:
    """Kill one of the workers; gives how long it took to replace it, in seconds."""
    before = store.worker_pids(service)
    victim = before[place]
    os.kill(victim, signal.SIGKILL)
    took_s = wait_for(
        lambda: len(now := store.worker_pids(service)) == len(before) and victim not in now,
        30,
        lambda: f"{service} has {store.describe(store.worker_pids(service))}",
    )
    store.wait_ready()
    return took_s


def _kill_daemon(store: Instance, daemon: str) -> float:
    """Kill a daemon; gives how long it took until all answered again, in seconds, beyond three times what
    its program takes to say its version, before that or behind it: on a machine that is busy it takes as long
    as it takes."""
    before_s = _time_plain_start(store, daemon)
    victim, old_workers = store.daemon_pid(daemon), store.worker_pids(daemon)
    os.kill(victim, signal.SIGKILL)
    took_s = wait_for(
        lambda: store.daemon_pid(daemon) not in (0, victim) and store.is_ready(),
        30,
        lambda: f"{daemon} was not replaced:\n{store.log_text()[-3000:]}",
    )
    wait_for(
        lambda: not set(old_workers) & set(store.pids()),
        30,
        lambda: f"old workers of {daemon} live: {store.describe(old_workers)}",
    )
    return took_s - 3 * max(before_s, _time_plain_start(store, daemon))


def _time_plain_start(store: Instance, daemon: str) -> float:
    """How long the program of a daemon takes to say its version, in seconds."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", f"workers.{daemon}", "-v"],
        env=store.environment(), capture_output=True, check=True, timeout=200,
    )  # fmt: skip
    return time.monotonic() - began


def _assert_all_there(store: Instance, user: str, numbers: list[int], tried: int) -> None:
    client = store.imap(user)
    count = client.select()
    answer = client.command(b"UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    uids = [int(uid) for uid in re.findall(rb"FETCH \(UID (\d+) ", answer)]
    found = [int(number) for number in re.findall(rb"<(\d+)\.4000@bench", answer)]
    assert len(uids) == len(found) == count
    assert uids == sorted(set(uids))
    assert not set(numbers) - set(found), f"acknowledged and lost: {sorted(set(numbers) - set(found))}"
    assert len(found) <= tried
    bodies = client.bodies()
    for number, body in zip(found, bodies, strict=True):
        assert body.endswith(message(number, 4000)), f"message {number} is not what was sent"
    client.logout()


@pytest.mark.parametrize("service", SERVICES)
def test_a_silent_worker_is_not_needed_by_the_others(store: Instance, service: str) -> None:
    """A worker that is stopped takes only its own sessions with it."""
    victim = store.worker_pids(service)[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        assert _answered_by_others(store, service)
    finally:
        os.kill(victim, signal.SIGCONT)


def _answered_by_others(store: Instance, service: str) -> bool:
    """Connections are spread by the kernel: within some tries one is served by the worker that goes on."""
    from tests.kit.clients import raw

    address = {"imapd": store.imap_address, "pop3d": store.pop3_address, "lmtpd": store.lmtp_path}[service]
    for _ in range(40):
        with raw(address, 0.5) as connection:
            try:
                if connection.recv(100):
                    return True
            except TimeoutError:
                continue
    return False
