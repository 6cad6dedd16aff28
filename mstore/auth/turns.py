"""Turns: of each name (an address, an account) so many may go on at a time, and so many may wait.

First come, first served among those of one name; those of different names do not wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mstore.base import blocking
from mstore.base.errors import Busy


class _Line:
    """Those of one name."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.under_way = 0
        self.waiting: deque[blocking.Event] = deque()


class Turns:
    """Hands turns out, among the sessions of one process."""

    def __init__(self, at_a_time: int, most_waiting: int, longest_s: float) -> None:
        self._at_a_time = at_a_time
        self._most_waiting = most_waiting
        self._longest_s = longest_s
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        """How many names have somebody who goes on or waits."""
        return len(self._lines)

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """Have a turn.

        Raises: Busy when too many wait already, or the turn does not come in time.
        """
        line = self._lines.setdefault(name, _Line())
        try:
            if line.under_way >= self._at_a_time:
                self._wait(line)  # whoever ends hands his turn over
            else:
                line.under_way += 1
            try:
                yield
            finally:
                self._hand_over(line)
        finally:
            if not line.under_way and not line.waiting:
                self._lines.pop(name, None)

    def _wait(self, line: _Line) -> None:
        if len(line.waiting) >= self._most_waiting:
            raise Busy("too many wait already")
        event = blocking.make_event()
        line.waiting.append(event)
        try:
            event.wait(self._longest_s)
        except BaseException:
            if event.is_set():
                self._hand_over(line)
            else:
                line.waiting.remove(event)
            raise
        if not event.is_set():
            line.waiting.remove(event)
            raise Busy("the turn did not come in time")

    @staticmethod
    def _hand_over(line: _Line) -> None:
        if line.waiting:
            line.waiting.popleft().set()
        else:
            line.under_way -= 1
