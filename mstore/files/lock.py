"""The only user of fcntl locks: ranked, with a deadline, between processes and between one process's
sessions.

Open-file-description locks (``F_OFD_SETLK``), because classic record locks do not exclude two sessions of one
process and vanish when any other descriptor of the file is closed. A session first gets the lock's mutex in
its own process, then asks the kernel, without ever blocking in it: it tries, and pauses 1 to 10 ms between
tries. The process next in line says so by a lock of its own, and whoever gives the lock back leaves it a
moment to take it. A lock file is never renamed, replaced or removed while its directory lives. Each lock is
one byte of its file: writers of a mailbox use byte 0, who looks after it beside them (a checkpoint, a
compaction) byte 1; an account's usage is byte 2 of the account's lock file.
Ranks: maildrop, account, upkeep, mailbox (several in the order of their ids), quota, notify; taking one out
of order raises ``LockOrder``."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mstore.base import blocking, measure
from mstore.base.errors import Busy, NotFound, StorageFailed
from mstore.files import raw

RANK_MAILDROP, RANK_ACCOUNT, RANK_UPKEEP, RANK_MAILBOX, RANK_QUOTA, RANK_NOTIFY = range(6)
DEADLINE_S = 30.0
MOST_PAUSE_S = 0.01
WRITERS_BYTE, UPKEEP_BYTE, QUOTA_BYTE = range(3)
_IN_LINE = 8
"""So far behind the byte of a lock is the one that the process next in line holds while it waits."""
_CEDED_S = 0.005
_FLOCK = struct.Struct("hhqqi4x")
_held: ContextVar[tuple[tuple[int, str], ...]] = ContextVar("held locks", default=())


class LockOrder(AssertionError):
    """A lock was asked for while one of the same or a higher place in the order was held: a bug of ours."""


class Lock:
    """An exclusive lock on a byte of a lock file, for one session at a time over all processes."""

    __slots__ = (
        "_ceded_until",
        "_exclusive",
        "_fd",
        "_file",
        "_in_line",
        "_is_bound",
        "_is_held",
        "_mutex",
        "_out_of_line",
        "_unlocked",
        "path",
        "place",
    )

    def __init__(self, path: Path | str, rank: int, key: str = "", byte: int = WRITERS_BYTE) -> None:
        self.path = str(path)
        self.place = (rank, key)
        self._exclusive = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        self._unlocked = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0)
        self._in_line = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte + _IN_LINE, 1, 0)
        self._out_of_line = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, byte + _IN_LINE, 1, 0)
        self._ceded_until = 0.0
        self._mutex = blocking.make_mutex()
        self._fd = -1
        self._file: tuple[int, int] | None = None
        self._is_bound = False
        self._is_held = False

    @property
    def is_held(self) -> bool:
        """True while some session of this process holds it."""
        return self._is_held

    def bind(self) -> None:
        """Mean the lock file that is there now: another one at its place is that of another directory."""
        self._is_bound = True
        self.is_same()

    def is_same(self) -> bool:
        """Whether the lock file is still the one that was opened, or that this lock was bound to.

        Raises: StorageFailed.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageFailed(f"cannot look at {os.path.basename(self.path)}: {error.strerror}") from error
        found = (status.st_ino, status.st_mtime_ns)  # nobody ever writes to it
        if self._file is None:
            self._file = found
        return self._file == found

    @property
    def is_in_order(self) -> bool:
        """True when this session holds no lock that forbids it to ask for this one."""
        held = _held.get()
        return not held or held[-1] < self.place

    def acquire(self, deadline_s: float = DEADLINE_S) -> None:
        """Take the lock; ``deadline_s`` 0 means now or not at all.

        Raises: Busy at the deadline, NotFound when the lock file is gone, LockOrder.
        """
        held = _held.get()
        if held and held[-1] >= self.place:
            raise LockOrder(f"{self.place} asked for while {held[-1]} is held")
        began = 0.0  # when we began to wait
        if not self._mutex.acquire(False):
            began = time.monotonic()
            if deadline_s <= 0 or not self._mutex.acquire(True, deadline_s):
                self._note_wait(began, deadline_s)
                raise Busy("in use by another session; try again")
        try:
            if self._ceded_until and deadline_s > 0:
                began = began or time.monotonic()
                self._cede()
            self._lock(began, deadline_s)
        except BaseException:
            self._close()
            self._mutex.release()
            raise
        self._is_held = True
        _held.set((*held, self.place))

    def _cede(self) -> None:
        """Another process waits: it shall have the lock between two of our sessions, or it never might."""
        left_s = self._ceded_until - time.monotonic()
        self._ceded_until = 0.0
        if left_s > 0:
            blocking.sleep(left_s)

    def _lock(self, began: float, deadline_s: float) -> None:
        pause_s, is_next = 0.001, False
        while True:
            try:
                if self._fd < 0:
                    self._fd = raw.open_file(self.path, raw.WRITE)
                    if not self._is_bound:
                        status = os.fstat(self._fd)
                        self._file = (status.st_ino, status.st_mtime_ns)
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, self._exclusive)
                if not self.is_same():
                    raise NotFound("it has been deleted")
                if is_next:
                    fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, self._out_of_line)
                self._note_wait(began, deadline_s)
                return
            except FileNotFoundError:
                raise NotFound("it has been deleted") from None
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise StorageFailed(f"cannot lock: {error.strerror}") from error
            now = time.monotonic()
            began = began or now
            deadline = began + deadline_s
            if now >= deadline:
                self._note_wait(began, deadline_s)
                raise Busy("in use by another process; try again")
            is_next = is_next or self._step_into_line()
            blocking.sleep(min(pause_s, deadline - now))
            pause_s = min(pause_s * 1.5, _CEDED_S / 2 if is_next else MOST_PAUSE_S)

    @staticmethod
    def _note_wait(began: float, deadline_s: float) -> None:
        if began and deadline_s > 0:  # else there was none
            measure.observe(measure.LOCK_WAIT, time.monotonic() - began)

    def _step_into_line(self) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, self._in_line)
        except OSError:
            return False
        return True

    def _is_waited_for(self) -> bool:
        found = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, self._in_line)
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def release(self, keep_open: bool = False) -> None:
        """Give the lock back; ``keep_open`` spares the next time an open, until ``rest``."""
        self._is_held = False
        if self._is_waited_for():
            self._ceded_until = time.monotonic() + _CEDED_S
        if not keep_open:
            self._close()
        else:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, self._unlocked)
        held = _held.get()
        if held and held[-1] == self.place:
            _held.set(held[:-1])
        else:
            _held.set(tuple(place for place in held if place != self.place))
        self._mutex.release()

    def rest(self) -> None:
        """Close the descriptor kept by ``release``, unless the lock is held or waited for just now."""
        if self._mutex.acquire(False):
            self._close()
            self._mutex.release()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            raw.close(fd)

    @contextmanager
    def hold(self, deadline_s: float = DEADLINE_S) -> Iterator[None]:
        """Hold the lock for the length of a ``with`` block."""
        self.acquire(deadline_s)
        try:
            yield
        finally:
            self.release()
