"""The system's ``crypt``: bcrypt, sha512-crypt, yescrypt and whatever else its libcrypt knows.

By ``crypt_r`` with a buffer for each call, so that threads do not meet; the interpreter runs on meanwhile.
"""

from __future__ import annotations

import ctypes
import hmac
import os
from functools import cache
from typing import Any

LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so")
MAX_PASSWORD_BYTES = 511
"""libxcrypt takes no longer passwords (``CRYPT_MAX_PASSPHRASE_SIZE``)."""
_DATA_BYTES = 8 * 32_768
"""``struct crypt_data``: 32,768 bytes in libxcrypt, and more in glibc's older library."""
_SETTING_BYTES = 192


@cache
def _library() -> Any | None:
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            library.crypt_r.restype = ctypes.c_char_p
            library.crypt_r.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
            return library
        except (OSError, AttributeError):
            continue
    return None


def is_there() -> bool:
    """Whether this system has the library."""
    return _library() is not None


def run_crypt(password: bytes, setting: bytes) -> bytes:
    """What ``crypt`` makes of a password and a setting, which may be a hash; nothing where it fails."""
    library = _library()
    if library is None or b"\0" in password or not setting.isascii():
        return b""
    data = ctypes.create_string_buffer(_DATA_BYTES)
    try:
        made: bytes | None = library.crypt_r(password, setting, data)
        return b"" if made is None or made.startswith(b"*") else bytes(made)
    finally:
        ctypes.memset(data, 0, _DATA_BYTES)


def verify(password: bytes, verifier: str) -> bool:
    """Whether a password is the one behind a verifier; one that this system cannot read fits none."""
    setting = verifier.encode()
    made = run_crypt(password, setting)
    return bool(made) and hmac.compare_digest(made, setting)


def can_read(verifier: str) -> bool:
    """Whether this system can check passwords by such a verifier; costs a hash."""
    return bool(run_crypt(b"x", verifier.encode()))


def make(password: bytes, prefix: str, count: int) -> str:
    """A new verifier of the kind with this prefix; ``count`` is its cost, 0 the system's own choice.

    Raises: LookupError when this system has no such kind.
    """
    library = _library()
    if library is None or not hasattr(library, "crypt_gensalt_rn"):
        raise LookupError(f"this system's libcrypt makes no {prefix}")
    generate = library.crypt_gensalt_rn
    generate.restype = ctypes.c_char_p
    generate.argtypes = [
        ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int,
    ]  # fmt: skip
    buffer = ctypes.create_string_buffer(_SETTING_BYTES)
    salt = os.urandom(16)
    setting: bytes | None = generate(prefix.encode("ascii"), count, salt, len(salt), buffer, _SETTING_BYTES)
    made = run_crypt(password, setting) if setting else b""
    if not made:
        raise LookupError(f"this system's libcrypt makes no {prefix}")
    return made.decode("ascii")
