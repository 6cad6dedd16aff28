"""Everything that may wait, in one place: plain blocking by default, cooperative inside a worker.

The store, the protocols and the command line call these; a worker installs an implementation that lets
its other sessions run meanwhile (``workers/cooperative.py``). Nothing else in ``mstore`` may sleep, start a
thread or wait for another session, so that all of it runs, and is tested, without gevent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Event(Protocol):
    """What one session waits on and another sets; the shape of ``threading.Event``."""

    def set(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Mutex(Protocol):
    """Excludes the sessions of one process from each other; fair where the implementation is."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class Waiting(Protocol):
    """How a process waits: the seam that a worker replaces."""

    def call(self, function: Callable[..., T], *args: Any) -> T: ...
    def call_briefly(self, function: Callable[..., T], *args: Any) -> T: ...
    def call_apart(self, kind: str, limit: int, function: Callable[..., T], *args: Any) -> T: ...
    def sleep(self, seconds: float) -> bool: ...
    def breathe(self) -> None: ...
    def spawn(self, function: Callable[..., object], *args: Any) -> None: ...
    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None: ...
    def event(self) -> Event: ...
    def mutex(self) -> Mutex: ...


class Plain:
    """The default: waits by blocking the whole process, as the command line and the tests want."""

    def call(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def call_briefly(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def call_apart(self, kind: str, limit: int, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def sleep(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True

    def breathe(self) -> None:
        return None

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def event(self) -> Event:
        return threading.Event()

    def mutex(self) -> Mutex:
        return threading.Lock()


_waiting: Waiting = Plain()


def install(waiting: Waiting) -> None:
    """Wait in this way from now on; called once by a worker, right after its fork."""
    global _waiting
    _waiting = waiting


def call(function: Callable[..., T], *args: Any) -> T:
    """Run a function that may block for long (fsync, a cold read, a password hash) and return its result."""
    return _waiting.call(function, *args)


def call_briefly(function: Callable[..., T], *args: Any) -> T:
    """Like ``call``, for what is over in a moment as a rule (the sync of a few kilobytes)."""
    return _waiting.call_briefly(function, *args)


def call_apart(kind: str, limit: int, function: Callable[..., T], *args: Any) -> T:
    """Like ``call``, for what waits for others: so many of a kind at a time, in no other kind's way."""
    return _waiting.call_apart(kind, limit, function, *args)


def sleep(seconds: float) -> bool:
    """Pause this session; False when it was woken early, because the process is about to end."""
    return _waiting.sleep(seconds)


def breathe() -> None:
    """Let the other sessions run if this one has computed for a while; cheap enough for a loop."""
    _waiting.breathe()


def spawn(function: Callable[..., object], *args: Any) -> None:
    """Run a function on its own soon, beside the caller (at once where nothing is cooperative)."""
    _waiting.spawn(function, *args)


def later(seconds: float, function: Callable[..., object], *args: Any) -> None:
    """Run a function on its own after a while (at once where nothing is cooperative: a command soon ends)."""
    _waiting.later(seconds, function, *args)


def make_event() -> Event:
    """A fresh event of the kind that fits this process."""
    return _waiting.event()


def make_mutex() -> Mutex:
    """A fresh mutex of the kind that fits this process."""
    return _waiting.mutex()
