"""System calls that Python does not know, by ctypes: prctl, capset, and any by its number."""

from __future__ import annotations

import ctypes
import os
import platform

PR_SET_DUMPABLE, PR_GET_DUMPABLE = 4, 3
PR_SET_SECCOMP = 22
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

_CAPABILITY_VERSION = 0x20080522
_LIBRARY = ctypes.CDLL(None, use_errno=True)


def machine() -> str:
    """The processor's architecture, as the kernel calls it; of this process, not of the kernel alone."""
    return platform.machine() if ctypes.sizeof(ctypes.c_void_p) == 8 else "unknown"


def call(number: int, *arguments: object) -> int:
    """Make a system call.

    Raises: OSError
    """
    _LIBRARY.syscall.restype = ctypes.c_long
    found: int = _LIBRARY.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        raise _error()
    return found


def prctl(option: int, *arguments: object) -> int:
    """Ask for or set a property of this process; numbers are passed as long as the kernel takes them.

    Raises: OSError
    """
    words = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    found: int = _LIBRARY.prctl(option, *words)
    if found < 0:
        raise _error()
    return found


def clear_capabilities() -> None:
    """Have no capability: effective, permitted, inheritable and ambient ones.

    Raises: OSError
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _LIBRARY.capset(ctypes.byref(header), ctypes.byref(nothing)) < 0:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
