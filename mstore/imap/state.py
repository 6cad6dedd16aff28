"""The states of a connection (RFC 3501 §3) and which command may run in which."""

from __future__ import annotations

from typing import Final

NOT_AUTHENTICATED: Final = 1
AUTHENTICATED: Final = 2
SELECTED: Final = 4
LOGGED_OUT: Final = 0

ANY: Final = NOT_AUTHENTICATED | AUTHENTICATED | SELECTED
LOGGED_IN: Final = AUTHENTICATED | SELECTED


def describe(states: int, now: int) -> str:
    """Why a command is refused now, for a human."""
    if now == NOT_AUTHENTICATED:
        return "log in first"
    if states == NOT_AUTHENTICATED:
        return "already logged in"
    if states == SELECTED:
        return "select a mailbox first"
    return "not possible in this state"
