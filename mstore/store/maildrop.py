"""The exclusive right to an account's maildrop, and when it was last had (RFC 1939 §4, RFC 2449 §6.5)."""

from __future__ import annotations

import os
import time

from mstore.files import raw
from mstore.files.lock import Lock

LOCK_FILE = "pop3.lock"
LAST_FILE = "pop3.last"
"""Its time of modification is that of the last session; there is none where nobody asks."""


class Maildrop:
    """The right, until it is released or the process ends."""

    __slots__ = ("_last", "_lock")

    def __init__(self, lock: Lock, directory: str) -> None:
        self._lock: Lock | None = lock
        self._last = os.path.join(directory, LAST_FILE)

    def seconds_since_last(self) -> float | None:
        """How long ago ``note_session`` was last called by any process; None when it never was.

        A clock that was set back makes it nothing at all.
        """
        try:
            return max(time.time() - os.stat(self._last).st_mtime, 0.0)
        except OSError:
            return None

    def note_session(self) -> None:
        """A session begins now; nothing is noted where the account has just been removed, or moved away.

        Durable: nothing; what is lost in a crash is a wait.
        Raises: StorageFailed.
        """
        try:
            fd = raw.open_file(self._last, raw.WRITE | os.O_CREAT)
        except FileNotFoundError:
            return
        try:
            raw.pwrite(fd, b"\n", 0)
        finally:
            raw.close(fd)

    def release(self) -> None:
        """Give the right back; a second time does nothing."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def __enter__(self) -> Maildrop:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
