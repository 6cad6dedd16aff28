"""How much memory a worker holds, and when that is so much that another one should take its place."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from mstore.base import clock

FIRST_S = 5.0
"""A worker is let be for so long after its start."""
AGAIN_S = 60.0
"""And for so long after it has said that it holds too much."""


class MemoryLimit:
    """Watches the memory of this process that is its own: what is mapped from files does not count."""

    def __init__(self, limit_bytes: int, tell: Callable[[int], None]) -> None:
        """``tell`` is called with the bytes held when they are more than the limit; 0 for no limit.

        To be made in the worker, and before it is confined: what it reads is out of reach afterwards.
        Raises: OSError
        """
        self._limit_bytes = limit_bytes
        self._tell = tell
        self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if limit_bytes else -1
        self._due_s = clock.steady() + FIRST_S
        self.exceeded = False

    def held_bytes(self) -> int:
        """What is held now."""
        _, resident, shared, *_ = os.pread(self._fd, 200, 0).split()
        return (int(resident) - int(shared)) * resource.getpagesize()

    def check(self) -> None:
        """Look, and tell, now and then."""
        if not self._limit_bytes or clock.steady() < self._due_s:
            return
        held = self.held_bytes()
        if held > self._limit_bytes:
            self.exceeded = True
            self._due_s = clock.steady() + AGAIN_S
            self._tell(held)
