"""Names for the numbers and ids of a store, so that a type checker tells them apart."""

import random
from typing import NewType

Uid = NewType("Uid", int)
"""Unique identifier of a message in its mailbox, 1 to 2**32 - 1 (RFC 3501 §2.3.1.1)."""
AccountId = NewType("AccountId", str)
"""Sixteen hexadecimal digits; the name of an account's directory."""
MailboxId = NewType("MailboxId", str)
"""Sixteen hexadecimal digits; the name of a mailbox's directory, and its OBJECTID (RFC 8474)."""


def make_session_id() -> str:
    """A name for a session in the log and for administrators: eight hexadecimal digits."""
    return f"{random.getrandbits(32):08x}"
