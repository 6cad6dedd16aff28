"""Refusals that all take equally long, so that their time tells nothing.

A name that nobody has is refused faster, or slower, than a wrong password by everything that a site may ask:
PAM, a password file, a server elsewhere, or one mechanism after another. So no refusal is given before the
slowest of late would have been. Who waits holds no thread.
"""

from __future__ import annotations

import time

from mstore.auth.driver import Mechanism
from mstore.auth.verdict import Verdict
from mstore.base import blocking

SHORTEST_S = 0.5
LONGEST_S = 4.0
"""What takes longer than this is somebody's trouble, not a measure."""
_DECAY = 0.98


class Paced:
    """A mechanism whose refusals take equally long."""

    def __init__(self, mechanism: Mechanism, shortest_s: float = SHORTEST_S) -> None:
        self._mechanism = mechanism
        self._shortest_s = shortest_s
        self._slowest_s = shortest_s

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login.

        Raises: Unavailable, Corrupt when it cannot be judged.
        """
        began_s = time.monotonic()
        verdict = self._mechanism.verify(login, password, peer, service)
        if verdict.ok:
            return verdict
        took_s = time.monotonic() - began_s
        if took_s <= LONGEST_S:
            self._slowest_s = max(took_s, self._shortest_s, self._slowest_s * _DECAY)
        if took_s < self._slowest_s:
            blocking.sleep(self._slowest_s - took_s)
        return verdict

    def close(self) -> None:
        """Close the mechanism."""
        self._mechanism.close()
