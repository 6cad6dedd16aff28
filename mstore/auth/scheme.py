"""How a password becomes a verifier: argon2id, in the modular form ``$argon2id$v=19$m=…``.

The parameters (19 MiB, two passes, one lane) are the smallest that RFC 9106 and common advice call strong;
they stand in each verifier, so changing them leaves older ones valid.
"""

from __future__ import annotations

from typing import Any

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1

MAX_PASSWORD_BYTES = 1024


class Scheme:
    """Makes and checks verifiers."""

    def __init__(self) -> None:
        from passlib.context import CryptContext  # takes 100 ms, which only who hashes should pay

        self._context: Any = CryptContext(
            schemes=["argon2"],
            argon2__type="ID",
            argon2__memory_cost=MEMORY_KIB,
            argon2__time_cost=PASSES,
            argon2__parallelism=LANES,
        )

    def hash(self, password: bytes) -> str:
        """A new verifier, with a salt of its own. Costs a few dozen milliseconds."""
        verifier: str = self._context.hash(password)
        return verifier

    def verify(self, password: bytes, verifier: str) -> bool:
        """Whether a password is the one behind a verifier; one that cannot be read fits none."""
        try:
            return bool(self._context.verify(password, verifier))
        except (ValueError, TypeError):
            return False
