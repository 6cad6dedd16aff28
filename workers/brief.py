"""Whether what blocks for a moment as a rule may block the event loop itself.

A way to a thread and back costs more than the sync of a few kilobytes itself: two changes of the running
thread, some ten system calls, and the interpreter's lock. Where one session works and the others are silent,
nobody gains by it. So such a function runs at once when the loop has hardly turned since the last one, when
no other session runs any, and when these functions have lately been brief; otherwise in a thread. A disk that
makes us wait is left to the threads for a while, longer each time.
"""

from __future__ import annotations

import time
from typing import Any

BRIEF_S = 0.004
"""What takes longer has kept the others waiting."""
RIVAL_S = 0.05
"""Two that run theirs less than so long apart may want to run the next ones beside each other."""
TURNS, TURNS_PER_S = 8, 10
"""So often the loop turns for one session between two of its syncs, and so often for timers alone."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


class Brief:
    """Remembers how the last ones went; belongs to one event loop."""

    def __init__(self, loop: Any) -> None:
        """``loop.iteration`` counts its turns (libev's loop has it; without it nobody is ever alone)."""
        self._loop = loop
        self._counts = hasattr(loop, "iteration")
        self._who = 0
        self._when_s = 0.0
        self._rival_s = 0.0
        self._turns = 0
        self._until_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    def may_block(self, who: int) -> bool:
        """Whether this session (a number that tells it from others) may run its function in the loop."""
        if not self._counts:
            return False
        now_s = time.monotonic()
        since_s, turns = now_s - self._when_s, self._loop.iteration
        is_alone = turns - self._turns <= TURNS + TURNS_PER_S * since_s
        if who != self._who and since_s < RIVAL_S:
            self._rival_s = now_s
        has_rival = now_s - self._rival_s < RIVAL_S
        self._who, self._when_s, self._turns = who, now_s, turns
        return is_alone and not has_rival and now_s >= self._until_s

    def has_blocked(self) -> None:
        """The function that ``may_block`` has just allowed is done."""
        now_s = time.monotonic()
        if now_s - self._when_s <= BRIEF_S:
            self._pause_s = max(FIRST_PAUSE_S, self._pause_s / 2)
        else:
            self._until_s = now_s + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
