"""What POP3 tells a client that gets no +OK: text, response code, and which condition has which.

RFC 2449 §8 (IN-USE, LOGIN-DELAY), RFC 3206 §4 (SYS), §5 (AUTH).
"""

from __future__ import annotations

from mstore.base.errors import Busy, Corrupt, Expunged, Moved, MStoreError, NotFound

ALERT = "ALERT"
IN_USE = "IN-USE"
LOGIN_DELAY = "LOGIN-DELAY"
AUTH = "AUTH"
TEMPORARY = "SYS/TEMP"
PERMANENT = "SYS/PERM"

TEXT_LIMIT = 400


class Refusal(Exception):
    """A command that is not carried out; ``wrong`` tells that the client should not have sent it."""

    def __init__(self, text: str, code: str = "", wrong: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.wrong = wrong


def format_error(text: str, code: str = "") -> bytes:
    """An -ERR line, at most 512 octets (RFC 1939 §3)."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in text[:TEXT_LIMIT])
    return f"-ERR [{code}] {clean}\r\n".encode() if code else f"-ERR {clean}\r\n".encode()


def refusal_of(error: MStoreError) -> Refusal:
    """How a condition of the store is told."""
    if isinstance(error, Moved):
        return Refusal("maildrop was moved, connect again", TEMPORARY)
    if isinstance(error, NotFound):
        return Refusal("maildrop is missing", PERMANENT)
    if isinstance(error, Expunged):
        return Refusal("another session has deleted the message")
    if isinstance(error, Corrupt):
        return Refusal("maildrop is damaged", PERMANENT)
    if isinstance(error, Busy):
        return Refusal("maildrop is busy, try again later", TEMPORARY)
    return Refusal("storage failed, try again later", TEMPORARY)
