"""What ``ps`` shows of the processes: the grammar is in docs/monitoring.md, and others' programs read it."""

from __future__ import annotations

from mstore.base import clock

SHORTEST_S = 0.5


class Rate:
    """How fast a counter grows, from its value now and then."""

    def __init__(self) -> None:
        self._total = 0
        self._looked_s = clock.steady()
        self._per_s = 0.0

    def per_s(self, total: int) -> float:
        """The mean since this was last asked, or what was said then if that was only just now."""
        now = clock.steady()
        if now - self._looked_s >= SHORTEST_S:
            self._per_s = max(0, total - self._total) / (now - self._looked_s)
            self._total, self._looked_s = total, now
        return self._per_s


def format_title(name: str, *parts: str) -> str:
    """``m-store: NAME [PART, PART …]``, without the parts that are empty."""
    return f"m-store: {name} [{', '.join(part for part in parts if part)}]"


def format_activity(sessions: int, idle: int, commands_per_s: float) -> str:
    """What the sessions of a process do: ``12 sessions, 3 idle, 40 commands/s``."""
    return f"{sessions} sessions, {idle} idle, {commands_per_s:.0f} commands/s"
