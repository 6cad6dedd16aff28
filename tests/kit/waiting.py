"""Waiting for tests whose sessions are threads: what is spawned runs in one, and nobody sleeps for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mstore.base import blocking


def wait_for(condition: Callable[[], object], patience_s: float = 40.0) -> None:
    """Wait until something is so, which another thread or process brings about; fails when it never is."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


class Threads(blocking.Plain):
    """Runs what is spawned in a thread of its own; notes how long somebody wanted to sleep, and does not."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self._threads: list[threading.Thread] = []

    def sleep(self, seconds: float) -> bool:
        self.slept_s.append(seconds)
        time.sleep(min(seconds, 0.001))
        return True

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)  # only now: another thread may be in join, which is for those that run

    def join(self) -> None:
        """Wait for everything that was spawned."""
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive()


@contextmanager
def waiting_by_threads() -> Iterator[Threads]:
    """Wait in this way within the block."""
    threads = Threads()
    blocking.install(threads)
    try:
        yield threads
        threads.join()
    finally:
        blocking.install(blocking.Plain())
