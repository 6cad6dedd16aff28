"""How often a process says that it lives: every second, and less often while there is nothing to tell.

Each of these wake-ups costs some hundred microseconds, and a site has a dozen such processes. All who wait
for a sign of life wait longer than the longest pause: ``SILENT_S`` of the supervisor, ``ALIVE_S`` of those
who read scoreboards.
"""

from __future__ import annotations

import math

from mstore.base import clock

BEAT_S = 1.0
REST_S = 4.0
QUIET_S = 5.0
"""Who has had nothing to tell for so long is at rest."""
LOOK_S = 10.0
REST_LOOK_S = 60.0
"""So often is looked at what takes longer: to sum up the memory of a process costs some milliseconds."""


class Resting:
    """The pause until the next time, of one process."""

    def __init__(self) -> None:
        self._busy_s = clock.steady()
        self._looked_s = -math.inf

    def note(self, is_busy: bool = True) -> None:
        """Something has happened, or has not."""
        if is_busy:
            self._busy_s = clock.steady()

    def pause_s(self) -> float:
        """How long to pause now."""
        return REST_S if self._is_at_rest() else BEAT_S

    def is_time_to_look(self) -> bool:
        """Whether it is time for what takes longer; it is said once, and expected to be done then."""
        now_s = clock.steady()
        if now_s - self._looked_s < (REST_LOOK_S if self._is_at_rest() else LOOK_S):
            return False
        self._looked_s = now_s
        return True

    def _is_at_rest(self) -> bool:
        return clock.steady() - self._busy_s >= QUIET_S
