"""Landlock: what of the file system and the network a process may use from now on, for good (Linux 5.19).

A ruleset names the rights that it governs; they are denied everywhere but beneath the paths of its rules.
Rules are of files and directories as they are when the ruleset is made, by whatever name they are reached,
and hold for what is mounted beneath them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from workers import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""The same numbers on every architecture."""
_VERSION = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

READ = READ_FILE | READ_DIR
CHANGE = (
    WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO
    | MAKE_BLOCK | MAKE_SYM | REFER | TRUNCATE
)  # fmt: skip
KEEP = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
"""What it takes to keep plain files and directories somewhere."""
EVERYTHING = READ | CHANGE | EXECUTE | IOCTL_DEV

BIND_TCP, CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

OLDEST = 2
"""Before this version nothing could be renamed from one directory to another."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


@cache
def version() -> int:
    """The kernel's version of Landlock; 0 where there is none, or none that is switched on."""
    try:
        return kernel.call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(governed: int, rules: Iterable[tuple[Path, int]], *, alone: bool) -> list[Path]:
    """Deny this thread, and those that it starts, the governed rights but where a rule gives some of them.

    With ``alone`` it may not connect or bind TCP sockets either, nor signal or reach by abstract sockets a
    process outside. What the kernel's version does not know is left out. Gives the paths that are not there:
    their rules are not either.
    Raises: OSError
    """
    known = version()
    for bits, since in ((TRUNCATE, 3), (IOCTL_DEV, 5)):
        if known < since:
            governed &= ~bits
    wanted = _Ruleset(governed)
    size = 8
    if known >= 4:
        size = 16
        wanted.net = BIND_TCP | CONNECT_TCP if alone else 0
    if known >= 6:
        size = 24
        wanted.scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if alone else 0
    ruleset = kernel.call(_CREATE, ctypes.byref(wanted), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        missing = [path for path, rights in rules if not _add(ruleset, path, rights & governed)]
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return missing


def _add(ruleset: int, path: Path, rights: int) -> bool:
    """Add a rule; False where nothing is at the path."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return False
        raise
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = _PathBeneath(rights, fd)
            kind = ctypes.c_int(_PATH_BENEATH)
            kernel.call(_ADD, ctypes.c_int(ruleset), kind, ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(fd)
    return True
