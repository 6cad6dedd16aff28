"""The mechanism ``shadow``: ``getspnam(3)``, the local shadow passwords, with their dates.

Only the superuser may read them, so authproxyd keeps its rights for this mechanism. Python's own module for
it is gone since 3.13, hence the call in C.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from functools import cache
from typing import Any, NamedTuple

from mstore.auth.bounded import Bounded
from mstore.auth.driver import Driver, Sources
from mstore.auth.mechanisms.libcrypt import fits, missing_crypt
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base.errors import Unavailable
from mstore.base.options import Settings

LIMIT = 8
DAY_S = 86_400
_FILE = "/etc/shadow"
_FIRST_BYTES = 1024
_MOST_BYTES = 1 << 20


class Entry(NamedTuple):
    """What is kept of a user's password; days are counted from 1970, and -1 is no day (shadow(5))."""

    hashed: bytes
    changed: int = -1
    most_days: int = -1
    """How long a password is good for."""
    expires: int = -1
    """The day from which the account is closed."""


class _Spwd(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("changed", ctypes.c_long),
        ("least", ctypes.c_long),
        ("most", ctypes.c_long),
        ("warn", ctypes.c_long),
        ("inactive", ctypes.c_long),
        ("expires", ctypes.c_long),
        ("flag", ctypes.c_ulong),
    )


@cache
def _load() -> Any:
    function = ctypes.CDLL(None, use_errno=True).getspnam_r
    function.restype = ctypes.c_int
    function.argtypes = [
        ctypes.c_char_p,
        ctypes.POINTER(_Spwd),
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_void_p),
    ]
    return function


def find_entry(login: str) -> Entry | None:
    """What the system keeps of this user's password, None when it knows no such user.

    Raises: Unavailable when the shadow passwords cannot be read.
    """
    found, result = _Spwd(), ctypes.c_void_p()
    size = _FIRST_BYTES
    while True:
        buffer = ctypes.create_string_buffer(size)
        code = _load()(login.encode(), ctypes.byref(found), buffer, size, ctypes.byref(result))
        if code != errno.ERANGE or size >= _MOST_BYTES:
            break
        size *= 4
    if code not in (0, errno.ENOENT):
        raise Unavailable(f"getspnam: {errno.errorcode.get(code, code)}")
    if not result:
        return None
    return Entry(found.password or b"", found.changed, found.most, found.expires)


def is_open(entry: Entry, today: int) -> bool:
    """Whether neither the account nor its password has run out by this day.

    A password that must be changed (because it is too old, or was set by an administrator, which is day 0)
    lets nobody in: it cannot be changed here.
    """
    if entry.expires >= 0 and today >= entry.expires:
        return False
    if entry.changed == 0:
        return False
    return entry.changed < 0 or entry.most_days < 0 or today - entry.changed <= entry.most_days


class Shadow:
    """Judges passwords by the shadow passwords."""

    def __init__(self) -> None:
        self._threads = Bounded("shadow", LIMIT)

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login.

        Raises: Unavailable
        """
        return Verdict(True) if self._threads.call(_judge, login, password) else REFUSED

    def close(self) -> None:
        """Nothing is open."""


def _judge(login: str, password: bytes) -> bool:
    entry = find_entry(login)
    if entry is None:
        return False
    is_right = fits(password, entry.hashed)
    return is_right and is_open(entry, int(time.time() // DAY_S))


def _make(sources: Sources) -> Shadow:
    _load()
    return Shadow()


def _missing() -> str:
    try:
        _load()
    except (OSError, AttributeError):
        return "the system has no getspnam"
    return missing_crypt()


def _check(settings: Settings) -> None:
    # The library says of a file that it may not read no more than that nobody is in it.
    if os.path.exists(_FILE) and not os.access(_FILE, os.R_OK):
        raise Unavailable(f"{_FILE} can only be read by the superuser, as whom authproxyd must be run")


DRIVER = Driver(_make, needs_superuser=True, missing=_missing, check=_check)
