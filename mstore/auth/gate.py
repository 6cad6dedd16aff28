"""What stands before every judgement: who asks too often waits, or is turned away.

authproxyd asks the gate before a password, a key or a token is looked at, and tells it what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Turned:
    """Somebody is turned away unheard."""

    text: str = "too many failed logins, try again later"
    code: str = "UNAVAILABLE"
    """The response code for the client (RFC 5530)."""
    end: bool = True
    """The daemon should end the client's connection."""


CLOSING = Turned("authentication is not possible just now, try again")
"""Told to those that still wait when authproxyd ends."""


class Gate(Protocol):
    """Admits those who want to be judged. Called by all sessions of authproxyd; never waits itself."""

    def admit(self, peer: str, login: str) -> float | Turned:
        """How many seconds somebody must wait before being judged, or that he is not.

        ``peer`` is the client's address, ``local`` where there is none; ``login`` the name as given, empty
        where there is none yet (a token).
        """
        ...

    def note(self, peer: str, login: str, ok: bool) -> None:
        """What came of it."""
        ...


class OpenGate:
    """Lets everybody through at once."""

    def admit(self, peer: str, login: str) -> float | Turned:
        """No delay."""
        return 0.0

    def note(self, peer: str, login: str, ok: bool) -> None:
        """Remembers nothing."""
