"""Time, in one place: the wall clock, a steady clock for measuring, and how long a time is in words."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since 1970, UTC."""
    return time.time()


def steady() -> float:
    """Seconds on a clock that never goes back; only differences mean something."""
    return time.monotonic()


def format_timestamp(seconds: float) -> str:
    """A time as ``2026-01-31T12:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def format_age(seconds: float) -> str:
    """A length of time in its largest unit, short enough for a process title: ``45s 12m 5h 3d``."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= length:
            return f"{whole // length}{unit}"
    return f"{whole}s"
