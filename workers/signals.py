"""Signals as a queue: handlers do nothing, the number arrives on a pipe and is acted on in the main loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD,
)  # fmt: skip
"""What a master listens to: end, end, statistics, reload, make room for another, a child has died."""


def _enqueued(number: int, frame: object) -> None:
    """The wakeup descriptor has the number already."""


class Signals:
    """The queue of one master process."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in HANDLED:
            signal.signal(number, _enqueued)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        # They are blocked where another program has become this one: what came meanwhile comes now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def fileno(self) -> int:
        """Readable when a signal is waiting."""
        return self._read

    def take(self) -> list[int]:
        """The signals that came since the last call, each once."""
        try:
            return list(dict.fromkeys(os.read(self._read, 4096)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Leave the signals to their defaults; also what a forked child does first."""
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


@contextmanager
def blocked() -> Iterator[None]:
    """No signal is delivered meanwhile; those that come wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork(run: Callable[[], int], signals: Signals) -> int:
    """Fork; the child runs the function with default signals and exits with what it returns.

    Signals are blocked across the fork, so that none is handled by a child that still has its parent's queue.
    """
    with blocked():
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            signals.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            status = run()
        finally:
            os._exit(status)
