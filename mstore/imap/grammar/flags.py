"""Flags and keywords: names to bits and back (RFC 3501 §2.3.2, §9 "flag").

The five settable system flags have fixed bits; keywords get theirs from the mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mstore.base.errors import Invalid

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
KEYWORD_SHIFT = 8
"""Bit of the first keyword."""
SYSTEM_FLAGS: tuple[bytes, ...] = (rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft")
"""In the order of their bits."""
_BITS = {name.upper(): 1 << index for index, name in enumerate(SYSTEM_FLAGS)}
MAX_KEYWORD_BYTES = 255


def split_flags(names: Iterable[bytes]) -> tuple[int, tuple[bytes, ...]]:
    """Flag names to the bits of system flags and the keywords among them, each once, as written.

    Raises: Invalid for a ``\\`` flag that clients may not set (``\\Recent``, unknown ones).
    """
    bits = 0
    keywords: dict[bytes, bytes] = {}
    for name in names:
        if name.startswith(b"\\"):
            bit = _BITS.get(name.upper())
            if bit is None:
                raise Invalid(f"the flag {name.decode('ascii', 'replace')} cannot be set")
            bits |= bit
        elif len(name) > MAX_KEYWORD_BYTES:
            raise Invalid("keyword too long")
        else:
            keywords.setdefault(name.lower(), name)
    return bits, tuple(keywords.values())


@lru_cache(maxsize=4096)
def format_flags(bits: int, recent: bool, keywords: tuple[bytes, ...]) -> bytes:
    """The names of a message's flags in parentheses; ``keywords`` are those of the mailbox, by bit."""
    names = [name for index, name in enumerate(SYSTEM_FLAGS) if bits >> index & 1]
    if recent:
        names.append(rb"\Recent")
    if bits >> KEYWORD_SHIFT:
        names += [name for index, name in enumerate(keywords) if bits >> (KEYWORD_SHIFT + index) & 1]
    return b"(" + b" ".join(names) + b")"
