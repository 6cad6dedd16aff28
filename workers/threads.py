"""A few threads that run what blocks, for the sessions of an event loop.

Tasks go out through a queue and come back through another with one wake-up of the loop, for a third of what
gevent's pool costs, which makes and unmakes a watcher and an event for each task. They go out together, just
before the loop waits: a thread that is woken while sessions still run takes the interpreter's lock from them,
and both pay for it. Threads are started when they are first needed, and stay.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import gevent
from greenlet import getcurrent, greenlet


class _Task:
    """A function under way in a thread, and who waits for it."""

    __slots__ = ("args", "asked_s", "error", "function", "is_done", "result", "waited_s", "waiting")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], waiting: greenlet) -> None:
        self.function = function
        self.args = args
        self.waiting: greenlet | None = waiting
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self.asked_s = time.monotonic()
        self.waited_s = 0.0


class Threads:
    """At most so many threads; made, and asked, in the thread of the event loop."""

    def __init__(self, limit: int, observe: Callable[[float], None] = lambda seconds: None) -> None:
        """``observe`` is told, in the loop, how long each task has waited for a thread."""
        self._limit = limit
        self._observe = observe
        self._hub = gevent.get_hub()
        self._home = threading.get_ident()
        self._started = 0
        self._under_way = 0
        self._new: list[_Task] = []
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._done: deque[_Task] = deque()
        self._bell = self._hub.loop.async_()
        self._bell.start(self._collect)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run a function in a thread, and give its result or raise its error; the others run meanwhile.

        Where we are in such a thread already, or in the loop itself, which must not wait, it is run at once.
        """
        here = getcurrent()
        if here is self._hub or threading.get_ident() != self._home:
            return function(*args)
        task = _Task(function, args, here)
        if self._under_way >= self._started < self._limit:
            self._started += 1
            threading.Thread(target=self._work, name=f"blocking-{self._started}", daemon=True).start()
        self._under_way += 1
        if not self._new:
            self._hub.loop.run_callback(self._hand_over)
        self._new.append(task)
        try:
            while not task.is_done:
                self._hub.switch()
        finally:
            task.waiting = None
        if task.error is not None:
            try:
                raise task.error
            finally:
                task.error = None  # Its traceback holds this frame, which holds the task.
        return task.result

    @property
    def busy(self) -> int:
        """How many threads are at work."""
        return min(self._under_way, self._started)

    @property
    def queued(self) -> int:
        """How many tasks wait for a thread."""
        return self._under_way - self.busy

    def _hand_over(self) -> None:
        """Give the threads what came in this turn of the loop; runs in the loop, at the end of the turn.

        What nobody waits for any more is left undone.
        """
        new, self._new = self._new, []
        for task in new:
            if task.waiting is None:
                self._under_way -= 1
            else:
                self._tasks.put(task)

    def _work(self) -> None:
        get, done, ring = self._tasks.get, self._done.append, self._bell.send
        while True:
            task = get()
            task.waited_s = time.monotonic() - task.asked_s
            try:
                task.result = task.function(*task.args)
            except BaseException as error:
                task.error = error
            done(task)
            ring()
            del task  # What it holds is not ours to keep until the next one comes.

    def _collect(self) -> None:
        """Wake who waits for what is done; runs in the loop."""
        done = self._done
        while done:
            task = done.popleft()
            self._under_way -= 1
            task.is_done = True
            self._observe(task.waited_s)
            if task.waiting is not None:
                task.waiting.switch()
