"""What a process writes into its slot of the scoreboard besides what sessions count."""

from __future__ import annotations

import os
import threading

from mstore.base.measure import Observe
from workers.memory import Use
from workers.scoreboard import PID, WORKER, Slot


def make_observer(slot: Slot) -> Observe:
    """Adds durations that the store has measured, in whatever thread, to the histograms of a slot."""
    lock = threading.Lock()

    def observe(name: str, seconds: float) -> None:
        with lock:
            slot.observe(name, seconds)

    return observe


def note_load(slot: Slot, load: tuple[int, int]) -> None:
    """How many threads are at work, and how many tasks wait for one."""
    slot.set("pool_busy", load[0])
    slot.set("pool_queued", load[1])


def note_memory(slot: Slot, use: Use, worker: int = 0) -> None:
    """How much memory this process has; ``worker`` is its number, where it is one."""
    slot.set(PID, os.getpid())
    slot.set(WORKER, worker)
    slot.set("memory_pss", use.pss_bytes)
    slot.set("memory_rss", use.rss_bytes)
