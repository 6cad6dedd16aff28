"""What a mechanism answers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a login is right, and a text for the client that betrays nothing."""

    ok: bool
    text: str = ""
    code: str = ""
    """Why not, for protocols that have codes (RFC 5530): EXPIRED, CONTACTADMIN; empty: what is usual."""
    mechanism: str = field(default="", compare=False)
    """By which it was tried, where it was SASL's."""


REFUSED = Verdict(False, "login or password is wrong")
UNAVAILABLE = Verdict(False, "authentication is not possible just now")
