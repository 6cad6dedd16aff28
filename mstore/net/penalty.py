"""What failing to log in costs: each failure on a connection makes the next answer slower, then it ends."""

from __future__ import annotations

from mstore.base import blocking

LONGEST_S = 8.0
FAILURES_LIMIT = 5


class Penalty:
    """Counts the failed logins of one connection."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures = 0

    @property
    def is_over(self) -> bool:
        """Whether the client has had all the attempts that one connection gives."""
        return self.failures >= FAILURES_LIMIT

    def pay(self) -> None:
        """Count a failure and wait for it: 1 second, then 2, 4, 8. Call it before answering."""
        self.failures += 1
        blocking.sleep(min(2.0 ** (self.failures - 1), LONGEST_S))
