"""Checks a password against what ``crypt(3)`` made of it: whatever methods the system's own library has.

Debian writes yescrypt (``$y$``) and, before, SHA-512 (``$6$``). The library is called in C, without Python's
lock, so hashing in a thread stops nobody.
"""

from __future__ import annotations

import ctypes
import hmac
from functools import cache
from typing import Any

_NAMES = ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so")
_STATE_BYTES = 32768
"""``struct crypt_data``: 32,768 bytes in libxcrypt, and more in glibc's older library."""
_MOST_STATE_BYTES = 8 * _STATE_BYTES


@cache
def load_crypt() -> Any:
    """The function ``crypt_r``.

    Raises: OSError when there is no such library.
    """
    for name in _NAMES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
        return function
    raise OSError("no libcrypt with crypt_r")


def missing_crypt() -> str:
    """Says that the library is missing, where it is."""
    try:
        load_crypt()
    except OSError as error:
        return str(error)
    return ""


def fits(password: bytes, hashed: bytes) -> bool:
    """Whether this is the hash of a password; one that is locked, empty or not understood is of none.

    Costs what the hash's method costs.
    Raises: OSError when there is no such library.
    """
    if len(hashed) < 2 or hashed[:1] in (b"*", b"!", b"x") or b"\0" in password or not password:
        return False
    made = load_crypt()(password, hashed, ctypes.create_string_buffer(_MOST_STATE_BYTES))
    # what the library says when it fails begins with an asterisk, as no hash does
    if not made or made.startswith(b"*"):
        return False
    return hmac.compare_digest(made, hashed)
