"""Work that waits for others (a directory service, PAM, another server), a few at a time of each kind.

Each kind has threads of its own, so one that hangs delays nobody else, and a queue that ends: who would have
to wait for longer than a client does is told at once that it is not possible just now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from mstore.base import blocking
from mstore.base.errors import Unavailable

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long a login may wait for its turn; the client of authproxyd waits 30 s for the whole answer."""
MOST_WAITING = 1000


class Bounded:
    """The threads of one kind of work."""

    def __init__(self, kind: str, limit: int, patience_s: float = PATIENCE_S) -> None:
        self._kind = kind
        self._limit = limit
        self._patience_s = patience_s
        self._under_way = 0

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread of this kind, and give its result or raise its error.

        Raises: Unavailable when too many others are waiting.
        """
        if self._under_way >= self._limit + MOST_WAITING:
            raise Unavailable(f"{self._kind}: too many logins are waiting")
        self._under_way += 1
        try:
            found: T = blocking.call_apart(
                self._kind, self._limit, self._run, time.monotonic(), function, args
            )
            return found
        finally:
            self._under_way -= 1

    def _run(self, asked_s: float, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        if time.monotonic() - asked_s > self._patience_s:
            raise Unavailable(f"{self._kind}: too slow for the logins that are waiting")
        return function(*args)
