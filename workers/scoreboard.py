"""Shared memory between a daemon and its workers: a slot of 8-byte fields for each, written by one process.

Counters survive the death of a worker: the next one in the slot goes on counting, so sums over the slots are
those of the daemon's life. Gauges and the heartbeat are reset when a slot is taken.
"""

from __future__ import annotations

import mmap
import time

HEARTBEAT = "heartbeat"
GAUGES = (HEARTBEAT, "sessions", "sessions_idle")
COUNTERS = (
    "connections",
    "connections_refused",
    "logins",
    "login_failures",
    "commands",
    "deliveries",
    "bytes_in",
    "bytes_out",
    "errors",
)
FIELDS = (*GAUGES, *COUNTERS)
_OFFSETS = {name: place for place, name in enumerate(FIELDS)}


class Slot:
    """What one worker writes; sessions add to its counters."""

    __slots__ = ("_base", "_cells")

    def __init__(self, cells: memoryview, base: int) -> None:
        self._cells = cells
        self._base = base

    @property
    def number(self) -> int:
        """Which slot of the scoreboard this is."""
        return self._base // len(FIELDS)

    def add(self, name: str, amount: int = 1) -> None:
        """Count; an unknown name is a KeyError."""
        self._cells[self._base + _OFFSETS[name]] += amount

    def set(self, name: str, value: int) -> None:
        """Set a gauge."""
        self._cells[self._base + _OFFSETS[name]] = value

    def get(self, name: str) -> int:
        """The value now."""
        value: int = self._cells[self._base + _OFFSETS[name]]
        return value

    def beat(self) -> None:
        """Say that the worker is alive."""
        self.set(HEARTBEAT, int(time.monotonic() * 1000))

    def clear(self) -> None:
        """Reset the gauges of a worker that is gone; the counters stay."""
        for name in GAUGES:
            self.set(name, 0)

    def take(self) -> None:
        """Begin anew, keeping the counters."""
        self.clear()
        self.beat()

    @property
    def heartbeat_s(self) -> float:
        """When the worker was last known to be alive, on the steady clock of all processes."""
        return self.get(HEARTBEAT) / 1000


class Scoreboard:
    """All slots of a daemon."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, max(1, slots * len(FIELDS) * 8))
        self._cells = memoryview(self._memory).cast("Q")
        self.slots = [Slot(self._cells, place * len(FIELDS)) for place in range(slots)]

    def total(self, name: str) -> int:
        """The sum of a field over all slots."""
        return sum(slot.get(name) for slot in self.slots)
