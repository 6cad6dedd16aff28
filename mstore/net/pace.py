"""How fast one session may give commands: who is faster waits, and loses nothing.

Every command makes the next one due an interval later. A session that has been quiet has a second's worth of
commands in hand, so that a client which sends some at once waits for none of them.
"""

from __future__ import annotations

from typing import Any

from mstore.base import blocking, clock
from mstore.net.service import Service

BURST_S = 1.0
"""So much time of quiet counts."""
SHORTEST_S = 0.01
"""A shorter wait is put on the next command: it would cost more than it holds back."""


class Pace:
    """The pace of one session; a float for each of them."""

    __slots__ = ("_due_s", "_interval_s", "_told")

    def __init__(self, per_second: int) -> None:
        self._interval_s = 1.0 / per_second
        self._due_s = 0.0
        self._told = False

    def keep(self, service: Service, session: Any) -> None:
        """Count a command that has been read, and wait until it is due, a second at most.

        What the client waits for is sent before; the log names the session the first time.
        Raises: StreamFailed when the client does not take that.
        """
        now_s = clock.steady()
        self._due_s = max(self._due_s, now_s - BURST_S) + self._interval_s
        wait_s = self._due_s - now_s
        if wait_s < SHORTEST_S:
            return
        service.counters.add("commands_slowed")
        if not self._told:
            self._told = True
            service.log.warning(
                "session-slowed", session=session.id, user=session.user, peer=session.stream.peer
            )
        session.stream.flush()
        blocking.sleep(wait_s)


def pace_of(per_second: int) -> Pace | None:
    """The pace of a new session; None where any is right."""
    return Pace(per_second) if per_second else None
