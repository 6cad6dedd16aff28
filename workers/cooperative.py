"""How a worker waits: the gevent implementation of ``mstore.base.blocking``.

What blocks goes to a small pool of threads; who waits lets the others run. Events and mutexes belong to the
event loop: sessions use them, functions handed to ``call`` do not.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.event import Event
from greenlet import getcurrent, greenlet

from mstore.base import blocking
from mstore.base.log import Log
from workers.brief import Brief
from workers.threads import Threads

T = TypeVar("T")

LONGEST_TURN_S = 0.010
SHORTEST_PAUSE_S = 0.000001


class FairMutex:
    """Excludes sessions from each other, first come first served: release hands it to who waits longest."""

    __slots__ = ("_held", "_waiters")

    def __init__(self) -> None:
        self._held = False
        self._waiters: deque[_Waiter] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False when it was not to be had, at once or within the timeout."""
        if not self._held:
            self._held = True
            return True
        if not blocking or timeout == 0:
            return False
        waiter = _Waiter(getcurrent())
        self._waiters.append(waiter)
        hub = gevent.get_hub()
        timer = hub.loop.timer(timeout) if timeout > 0 else None
        if timer is not None:
            timer.start(self._expire, waiter, update=True)  # the loop's clock may be a long turn behind
        try:
            hub.switch()
        except BaseException:
            self._abandon(waiter)
            raise
        finally:
            if timer is not None:
                timer.close()
        return waiter.granted

    def release(self) -> None:
        """Give it to the next, or free it."""
        if not self._held:
            raise RuntimeError("release of a mutex that nobody holds")
        if self._waiters:
            waiter = self._waiters.popleft()
            waiter.granted = True
            waiter.callback = gevent.get_hub().loop.run_callback(waiter.greenlet.switch)
        else:
            self._held = False

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _expire(self, waiter: _Waiter) -> None:
        if not waiter.granted:
            self._waiters.remove(waiter)
            waiter.greenlet.switch()

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter.granted:
            waiter.callback.stop()  # It must not wake the greenlet in its next wait.
            self.release()
        elif waiter in self._waiters:
            self._waiters.remove(waiter)


class _Waiter:
    """One who waits for a mutex."""

    __slots__ = ("callback", "granted", "greenlet")

    def __init__(self, waiting: greenlet) -> None:
        self.greenlet = waiting
        self.granted = False
        self.callback: Any = None


class Cooperative:
    """Waits by letting the other greenlets of this process run; made after the fork."""

    def __init__(
        self, log: Log, threads: int = 8, observe: Callable[[float], None] = lambda seconds: None
    ) -> None:
        """``observe`` is told how long each task has waited for a thread."""
        self._log = log
        self._observe = observe
        self._hub = gevent.get_hub()
        self._loop = self._hub.loop
        self._threads = Threads(threads, observe)
        self._brief = Brief(self._loop)
        self._apart: dict[str, Threads] = {}
        self._background = 0
        self._sleepers: set[Event] = set()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run it in a thread, unless we are one already or in the loop itself, which must not wait."""
        found: T = self._threads.call(function, args)
        return found

    def call_briefly(self, function: Callable[..., T], *args: Any) -> T:
        """Run it at once where nobody else is at work here and it has lately been brief, else in a thread."""
        here = getcurrent()
        if here is self._hub or self._threads.busy or not self._brief.may_block(id(here)):
            return self.call(function, *args)
        try:
            return function(*args)
        finally:
            self._brief.has_blocked()

    def call_apart(self, kind: str, limit: int, function: Callable[..., T], *args: Any) -> T:
        """The same in threads that only this kind has."""
        threads = self._apart.get(kind)
        if threads is None:
            threads = self._apart[kind] = Threads(limit, self._observe)
        found: T = threads.call(function, args)
        return found

    def load(self) -> tuple[int, int]:
        """How many threads are at work, and how many tasks wait for one."""
        every = (self._threads, *self._apart.values())
        return sum(threads.busy for threads in every), sum(threads.queued for threads in every)

    def sleep(self, seconds: float) -> bool:
        """Pause this greenlet; False when it was woken before the time."""
        if gevent.get_hub() is not self._hub:
            gevent.sleep(seconds)  # A thread of the pool.
            return True
        woken = Event()
        self._sleepers.add(woken)
        try:
            return not woken.wait(seconds)
        finally:
            self._sleepers.discard(woken)

    def wake(self) -> None:
        """Wake all who sleep now: at the end nobody has to wait for those that only let time pass."""
        for woken in list(self._sleepers):
            woken.set()

    def breathe(self) -> None:
        """Let the others run when this turn of the loop has lasted too long."""
        if time.time() - self._loop.now() > LONGEST_TURN_S and getcurrent() is not self._hub:
            # A pause of 0 would only go to the end of the callbacks: the loop looks at sockets and at the
            # clock after some fifty of these, and all the while its time stands still.
            gevent.sleep(SHORTEST_PAUSE_S)

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        """Run it in a greenlet of its own."""
        gevent.spawn_raw(self._run, function, args)

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Run it in a greenlet of its own after a while."""
        gevent.spawn_later(seconds, self._run, function, args)

    def _run(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._background += 1
        try:
            function(*args)
        except Exception as error:
            self._log.exception("background-failed", error, function=getattr(function, "__qualname__", ""))
        finally:
            self._background -= 1

    def finish(self, limit_s: float) -> bool:
        """Wait for what goes on in the background by now; False when it takes longer than that."""
        deadline = time.monotonic() + limit_s
        while self._background and time.monotonic() < deadline:
            gevent.sleep(0.01)
        return not self._background

    def event(self) -> blocking.Event:
        """An event among greenlets."""
        made: blocking.Event = Event()
        return made

    def mutex(self) -> blocking.Mutex:
        """A fair mutex among greenlets."""
        return FairMutex()


def take_over_errors(log: Log) -> None:
    """What an event loop would print as a traceback becomes one line of the log."""
    hub = gevent.get_hub()

    def handle_error(context: object, kind: type, value: object, trace: object) -> None:
        if isinstance(value, gevent.GreenletExit | SystemExit | KeyboardInterrupt):
            return
        if isinstance(value, BaseException):
            log.exception("loop-error", value, context=context)
        else:
            log.error("loop-error", error=kind.__name__, context=context)

    def handle_unraisable(what: Any) -> None:
        # A client can bring this about, by a server name that is not ASCII.
        log.warning("unraisable", error=f"{type(what.exc_value).__name__}: {what.exc_value}")

    sys.unraisablehook = handle_unraisable
    hub.handle_error = handle_error
    hub.exception_stream = None
