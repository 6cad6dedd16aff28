"""The mechanism ``getpwent``: the password field of ``getpwnam(3)``, of systems without shadow passwords.

Where the field holds ``x`` (shadow passwords), ``*`` or nothing, nobody gets in.
"""

from __future__ import annotations

import pwd

from mstore.auth.bounded import Bounded
from mstore.auth.driver import Driver, Sources
from mstore.auth.mechanisms.libcrypt import fits, missing_crypt
from mstore.auth.verdict import REFUSED, Verdict

LIMIT = 8


class Passwd:
    """Judges passwords by the password file, and whatever else the system takes for it."""

    def __init__(self) -> None:
        self._threads = Bounded("getpwent", LIMIT)

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login.

        Raises: Unavailable when too many others are waiting.
        """
        return Verdict(True) if self._threads.call(_fits, login, password) else REFUSED

    def close(self) -> None:
        """Nothing is open."""


def _fits(login: str, password: bytes) -> bool:
    try:
        hashed = pwd.getpwnam(login).pw_passwd
    except (KeyError, ValueError):  # unknown, or not to be written in the system's character set
        return False
    return fits(password, hashed.encode("utf-8", "surrogateescape"))


def _make(sources: Sources) -> Passwd:
    return Passwd()


DRIVER = Driver(_make, missing=missing_crypt)
