"""Replies of LMTP: their bytes, and which condition of the store is told to the client how.

Every reply but the greeting, the answer to LHLO and 354 carries an enhanced status code (RFC 2034 §4), and
its class agrees with the reply code. 4xx means that the client keeps the message and tries again; 5xx that it
gives up, so anything that may pass by itself is 4xx.
"""

from __future__ import annotations

import errno

from mstore.base.errors import (
    Busy,
    Corrupt,
    Denied,
    LimitReached,
    MStoreError,
    NotFound,
    OverQuota,
    StorageFailed,
    TooBig,
    Unavailable,
)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Refusal(Exception):
    """A command or a recipient that is not accepted; carries the whole reply."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.reply = format_reply(code, status, text)


def format_reply(code: int, status: str, text: str) -> bytes:
    """One reply line with its enhanced status code (RFC 2034 §4)."""
    return f"{code} {status} {printable(text)}\r\n".encode()


def printable(text: str, limit: int = 400) -> str:
    """The text reduced to what may stand in a reply line, and to a length that keeps it under 512 bytes."""
    text = text[:limit]
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text)


_CONDITIONS: tuple[tuple[type[MStoreError], int, str, str], ...] = (
    (OverQuota, 452, "4.2.2", "mailbox is full"),
    (TooBig, 552, "5.3.4", "message is larger than this server accepts"),
    (Busy, 450, "4.2.0", "mailbox is busy, try again later"),
    (NotFound, 451, "4.3.0", "mailbox is not there just now, try again later"),
    (Denied, 550, "5.7.1", "delivery is not permitted"),
    (LimitReached, 452, "4.2.0", "a limit of the mailbox is reached"),
    (Unavailable, 451, "4.3.0", "temporarily unavailable, try again later"),
    (Corrupt, 451, "4.3.0", "mailbox is damaged, try again later"),
    (StorageFailed, 451, "4.3.0", "storage failed, try again later"),
)


def format_failure(error: Exception, whom: str, full_is_permanent: bool = False) -> bytes:
    """The reply for a recipient whose delivery failed; a condition nobody foresaw is temporary."""
    about = f"<{whom}> " if whom else ""
    if isinstance(error, StorageFailed) and getattr(error.__cause__, "errno", None) in FULL:
        return format_reply(452, "4.3.1", f"{about}insufficient system storage")
    if isinstance(error, OverQuota) and error.hopeless:
        return format_reply(552, "5.2.2", f"{about}message is larger than the mailbox may ever be")
    if isinstance(error, OverQuota) and full_is_permanent:
        return format_reply(552, "5.2.2", f"{about}mailbox is full")
    for kind, code, status, text in _CONDITIONS:
        if isinstance(error, kind):
            return format_reply(code, status, about + text)
    return format_reply(451, "4.3.0", f"{about}internal error, try again later")
