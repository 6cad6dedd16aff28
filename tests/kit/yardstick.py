"""Bounds of processor time that tell of the program, on slow machines as well."""

from __future__ import annotations

import time

_STEPS = 1_000_000
_USUAL_S = 0.037
"""What so many steps took where the bounds were chosen, a slow machine already."""


def allow(seconds: float) -> float:
    """So much processor time, and more where this machine is slower just now."""
    begun, total = time.thread_time(), 0
    for number in range(_STEPS):
        total += number & 7
    return seconds * max(1.0, (time.thread_time() - begun) / _USUAL_S)
