"""A daemon's claim to its name: the lock file and the scoreboard, which only one of a kind can have.

A successor runs while the one before it still does, and has both once that one gives up the lock.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mstore.base.errors import Busy
from mstore.base.options import Settings
from mstore.files.lockfile import LockFile, open_unlocked
from workers.checks import take_lock
from workers.scoreboard import Scoreboard, put_in_place


class Claim:
    """What a daemon has of it, or waits for."""

    def __init__(self, settings: Settings, name: str, started: float, lock: LockFile | int) -> None:
        """``lock``: the lock, or the descriptor of its file while it is waited for."""
        self._settings = settings
        self._name = name
        self._started = started
        self._lock = None if isinstance(lock, int) else lock
        self._waiting = lock if isinstance(lock, int) else -1
        self._aside: Path | None = None
        """The scoreboard, as long as another has its name."""
        self._is_given_up = False

    @classmethod
    def lay(cls, settings: Settings, name: str, started: float, is_successor: bool) -> Claim:
        """Take the lock; a successor waits for it later, when it may be confined and open nothing.

        Raises: Refused when another has it, and this is no successor; OSError
        """
        lock = open_unlocked(settings.lock_path(name)) if is_successor else take_lock(settings, name)
        return cls(settings, name, started, lock)

    def make_board(self, slots: int, mailstores: Sequence[str] = (), crowd_key: bytes = b"") -> Scoreboard:
        """The scoreboard; under another name until the lock is had.

        Raises: Refused
        """
        path = self._settings.scoreboard_path(self._name)
        if self._lock is None:
            path = self._aside = path.with_name(f"{path.name}.{os.getpid()}")
        return Scoreboard(slots, path, self._name, self._started, mailstores, crowd_key)

    def take_over(self) -> bool:
        """Take what was waited for, if it is to be had; True when this has just been done.

        Raises: OSError
        """
        if self._lock is not None or self._is_given_up:
            return False
        try:
            self._lock = LockFile.lock(self._waiting, self._settings.lock_path(self._name))
        except Busy:
            return False
        self._waiting = -1
        if self._aside is not None:
            put_in_place(self._aside, self._settings.scoreboard_path(self._name))
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether another has the name still."""
        return self._lock is None and not self._is_given_up

    def release(self) -> None:
        """Give the name up."""
        if self._lock is not None:
            self._lock.release()
        elif self._aside is not None:
            self._aside.unlink(missing_ok=True)
        self._stop_waiting()
        self._lock, self._is_given_up = None, True

    def forget(self) -> None:
        """In a forked child: the lock is not its."""
        if self._lock is not None:
            self._lock.forget()
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting >= 0:
            os.close(self._waiting)
            self._waiting = -1
