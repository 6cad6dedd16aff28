"""The SASL mechanism ANONYMOUS: a session that is nobody's (RFC 4505).

There is nothing to be checked. What the client says of itself is for the log alone.
"""

from __future__ import annotations

import stringprep
from dataclasses import dataclass

from mstore.base.errors import Invalid

NAME = "anonymous"
"""Who such a session is, in access control lists as in the log."""
MAX_TRACE_CHARACTERS = 255

_PROHIBITED = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """What the client says of itself; perhaps nothing, perhaps not the truth."""

    text: str


class AnonymousExchange:
    """One exchange under way: the client's one message, asked for where it has not come yet."""

    def step(self, response: bytes | None) -> bytes | Trace:
        """Take the client's message (None to begin without one); give a challenge, or what it says.

        Raises: Invalid for what is no trace information.
        """
        return b"" if response is None else Trace(parse_trace(response))


def parse_trace(message: bytes) -> str:
    """Trace information within the limits of RFC 4505 §2, fit to be logged (§3).

    Raises: Invalid.
    """
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("the trace information is not in UTF-8") from None
    if len(text) > MAX_TRACE_CHARACTERS:
        raise Invalid("the trace information is too long")
    if any(prohibits(character) for character in text for prohibits in _PROHIBITED):
        raise Invalid("the trace information has a character that it may not have")
    local, at, domain = text.rpartition("@")
    if at and not (local and domain):
        raise Invalid("the trace information is neither an address nor without @")
    return text
