"""Flags and keywords as clients write them: names to bits (RFC 3501 §2.3.2, §9 "flag").

The five settable system flags have fixed bits; keywords get theirs from the mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable

from mstore.base.errors import Invalid
from mstore.base.flags import SYSTEM_FLAGS

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
