"""Keeps a table of child processes alive: start, reap, back off, watch for silence, stop in order.

One class for storemgr (children: daemons) and for each daemon (children: workers). A child that dies is
replaced at once; only one that dies young again and again is slowed down, 1, 2, 4 … 30 seconds. A child that
is silent for a minute is killed and replaced. Nothing here knows what the children do.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass

from mstore.base import clock
from mstore.base.log import Log
from workers.signals import Signals

YOUNG_S = 2.0
LONGEST_PAUSE_S = 30.0
SILENT_S = 60.0
TICK_S = 1.0


@dataclass(eq=False)
class Child:
    """A row of the table: how to start it, and how it has fared."""

    name: str
    start: Callable[[], int]
    """Starts the process and returns its id."""
    heartbeat: Callable[[], float] | None = None
    """When it last showed life, on the steady clock."""
    rank: int = 0
    """Those of higher rank are stopped first."""
    died: Callable[[Child, int], None] | None = None
    """Called with the wait status after each death."""
    pid: int | None = None
    started_s: float = 0.0
    young_deaths: int = 0
    due_s: float | None = 0.0
    """When it is to be started; None while it runs or when it is not to run again."""
    retired: bool = False
    told_to_stop: bool = False

    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return 0.0 if self.young_deaths < 2 else min(LONGEST_PAUSE_S, 2.0 ** (self.young_deaths - 2))


def describe_status(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        try:
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        except ValueError:
            return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit {os.waitstatus_to_exitcode(status)}"


class Supervisor:
    """The main loop of a master."""

    def __init__(self, log: Log, *, grace_s: float, tick: Callable[[], None] = lambda: None) -> None:
        self.log = log
        self.signals = Signals()
        self.children: list[Child] = []
        self.restarts = 0
        self.status = 0
        self.on: dict[int, Callable[[], None]] = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop}
        self._grace_s = grace_s
        self._tick = tick
        self._poll = select.poll()
        self._watched: dict[int, Callable[[], object]] = {}
        self._poll.register(self.signals.fileno(), select.POLLIN)
        self._stop_deadline_s: float | None = None
        self._ticked_s = self._resumed_s = self._looked_s = clock.steady()

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""
        return self._stop_deadline_s is not None

    def watch(self, fd: int, readable: Callable[[], object]) -> None:
        """Call a function whenever a descriptor is readable or at its end."""
        self._watched[fd] = readable
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor; it may be unknown."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def add(self, child: Child) -> Child:
        """Keep a child alive from now on."""
        self.children.append(child)
        return child

    def retire(self, child: Child) -> None:
        """Let a child end by itself; it is not replaced."""
        child.retired = True
        child.due_s = None

    def stop(self, status: int = 0) -> None:
        """End all children, those of the highest rank first, and then the loop."""
        if self._stop_deadline_s is None:
            self.status = status
            self._stop_deadline_s = clock.steady() + self._grace_s
            self.log.info("stopping")

    def running(self) -> int:
        """How many children run that are to run."""
        return sum(child.pid is not None and not child.retired for child in self.children)

    def signal_children(self, number: int) -> None:
        """Pass a signal on to all."""
        for child in self.children:
            self._kill(child, number)

    def run(self) -> int:
        """Go on until stopped and until no child is left; returns the exit status."""
        while True:
            now = clock.steady()
            if now - self._looked_s > 10:
                self._resumed_s = now  # We were asleep ourselves: nobody's silence has been heard.
            self._looked_s = now
            self._start_due(now)
            self._kill_silent(now)
            if self.stopping and self._stop_next(now):
                return self.status
            if now - self._ticked_s >= TICK_S:
                self._ticked_s = now
                self._tick()
            self._wait(now)
            self._reap()

    def _start_due(self, now: float) -> None:
        if self.stopping:
            return
        for child in self.children:
            if child.pid is None and child.due_s is not None and child.due_s <= now:
                child.due_s = None
                child.started_s = now
                try:
                    child.pid = child.start()
                except OSError as error:
                    self.log.error("start-failed", child=child.name, error=error)
                    child.young_deaths += 1
                    child.due_s = now + max(1.0, child.pause_s())

    def _kill_silent(self, now: float) -> None:
        for child in self.children:
            if child.pid is None or child.heartbeat is None or child.told_to_stop:
                continue
            silent_s = now - max(child.heartbeat(), child.started_s, self._resumed_s)
            if silent_s > SILENT_S:
                self.log.error("silent", child=child.name, pid=child.pid, seconds=silent_s)
                self._kill(child, signal.SIGKILL)

    def _stop_next(self, now: float) -> bool:
        alive = [child for child in self.children if child.pid is not None]
        if not alive:
            return True
        assert self._stop_deadline_s is not None
        if now >= self._stop_deadline_s:
            for child in alive:
                self.log.warning("cut-off", child=child.name, pid=child.pid)
                self._kill(child, signal.SIGKILL)
            self._stop_deadline_s = now + 5
            return False
        highest = max(child.rank for child in alive)
        for child in alive:
            if child.rank == highest and not child.told_to_stop:
                child.told_to_stop = True
                self._kill(child, signal.SIGTERM)
        return False

    def _wait(self, now: float) -> None:
        times = [self._ticked_s + TICK_S]
        if not self.stopping:
            times += [child.due_s for child in self.children if child.due_s is not None]
        elif self._stop_deadline_s is not None:
            times.append(self._stop_deadline_s)
        timeout_ms = max(0, min(1000, int((min(times) - now) * 1000) + 1))
        for fd, _ in self._poll.poll(timeout_ms):
            if fd in self._watched:
                self._watched[fd]()
        for number in self.signals.take():
            if number in self.on:
                self.on[number]()

    def _reap(self) -> None:
        for child in list(self.children):
            if child.pid is None:
                continue
            try:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = child.pid, 0
            if pid:
                self._buried(child, status)

    def _buried(self, child: Child, status: int) -> None:
        now = clock.steady()
        pid, child.pid = child.pid, None
        lived_s = now - child.started_s
        level = self.log.info if self.stopping or child.retired or status == 0 else self.log.error
        level("child-ended", child=child.name, pid=pid, how=describe_status(status), after_s=lived_s)
        if child.retired:
            self.children.remove(child)
        else:
            self.restarts += not self.stopping
            child.young_deaths = child.young_deaths + 1 if lived_s < YOUNG_S else 0
            child.due_s = now + child.pause_s()
            if child.pause_s() and not self.stopping:
                self.log.warning("backing-off", child=child.name, seconds=child.pause_s())
        if child.died is not None:
            child.died(child, status)

    def _kill(self, child: Child, number: int) -> None:
        if child.pid is not None:
            try:
                os.kill(child.pid, number)
            except ProcessLookupError:
                pass  # Dead already; it will be reaped.
