"""Checks a password against what the system's password files have: whatever methods its libcrypt knows.

Debian writes yescrypt (``$y$``) and, before, SHA-512 (``$6$``).
"""

from __future__ import annotations

import hmac

from mstore.auth.crypt import is_there, run_crypt


def missing_crypt() -> str:
    """Says that the library is missing, where it is."""
    return "" if is_there() else "no libcrypt with crypt_r"


def fits(password: bytes, hashed: bytes) -> bool:
    """Whether this is the hash of a password; one that is locked, empty or not understood is of none.

    Costs what the hash's method costs.
    """
    if len(hashed) < 2 or hashed[:1] in (b"*", b"!", b"x") or not password:
        return False
    made = run_crypt(password, hashed)
    return bool(made) and hmac.compare_digest(made, hashed)
