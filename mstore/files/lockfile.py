"""Lock files of daemons: ``run/DAEMON.lock`` holds the process id and is locked while the daemon runs.

Here a classic record lock is the right one: it ends with the process that took it even while its forked
children still have the descriptor, and asking for it tells the holder's process id.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from mstore.base.errors import Busy

TOLD_AT = 64
"""Where in the file that begins which its holder tells."""
_FLOCK = struct.Struct("hhqqi4x")


class LockFile:
    """A lock held by this process for as long as it lives, or until it is released."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> LockFile:
        """Lock the file and write our process id into it.

        Raises: Busy, with the holder's process id; OSError
        """
        fd = open_unlocked(path)
        try:
            return cls.lock(fd, path)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def lock(cls, fd: int, path: Path) -> LockFile:
        """The same with the file open already, which it stays when the lock is not to be had."""
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            pid = _ask(fd) or "unknown"
            raise Busy(f"is already running (process {pid}, {path} is locked)") from None
        os.fchmod(fd, 0o644)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(fd)

    def tell(self, data: bytes) -> None:
        """Write what the holder has to say into the file, behind its process id; not synced.

        Raises: OSError
        """
        os.pwrite(self._fd, data, TOLD_AT)

    def release(self) -> None:
        """Empty the file and unlock it; the file stays."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def fileno(self) -> int:
        """The descriptor, for a program that this process becomes: that holds the lock then."""
        return self._fd

    def forget(self) -> None:
        """Close the descriptor in a forked child, who does not hold the lock."""
        os.close(self._fd)


def open_unlocked(path: Path) -> int:
    """Open a lock file, for who waits for the lock and could open nothing later.

    Raises: OSError
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _ask(fd: int) -> int | None:
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, wanted))
    return int(pid) if kind != fcntl.F_UNLCK else None


def holder(path: Path) -> int | None:
    """The process id of the daemon that holds this lock file; None when none runs.

    Never call it in the process that holds the lock: closing any descriptor of the file would drop it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _ask(fd)
    finally:
        os.close(fd)
