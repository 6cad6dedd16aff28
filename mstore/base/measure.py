"""How long things took that lie too deep to know whose counters they belong to: waits for locks, syncs.

A worker installs what adds them to its counters; elsewhere nobody asks. Called seldom, and from any thread.
"""

from __future__ import annotations

from collections.abc import Callable

LOCK_WAIT, SYNC = "lock_wait", "sync"

Observe = Callable[[str, float], None]


def _forget(name: str, seconds: float) -> None:
    """The default: nobody wants to know."""


_observe: Observe = _forget


def install(observe: Observe) -> Observe:
    """Report durations to this from now on, which must be safe in threads; gives what was used until now."""
    global _observe
    before, _observe = _observe, observe
    return before


def observe(name: str, seconds: float) -> None:
    """Something of this kind took so long."""
    _observe(name, seconds)
