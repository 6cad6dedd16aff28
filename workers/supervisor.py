"""Keeps a table of child processes alive: start, reap, back off, watch for silence, stop in order.

One class for storemgr (children: daemons) and for each daemon (children: workers). A child that dies is
replaced at once; one that dies for the third time without having lived for a minute is in a crash loop, which
is said, counted, shown, and slowed down: 1, 2, 4 … 30 seconds. A child that is silent for a minute is killed
and replaced. Nothing here knows what the children do.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mstore.base import clock
from mstore.base.log import Log, flush
from workers.resting import Resting
from workers.signals import Signals

STEADY_S = 60.0
"""Who lives so long is well again."""
LOOP_DEATHS = 3
"""So many deaths of one child, none of which came after a steady life, are a crash loop."""
LONGEST_PAUSE_S = 30.0
LONGEST_WORDS = 160
SILENT_S = 60.0


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
    last_words: Callable[[int, int], str] = lambda pid, status: ""
    """What is known of why this process has died with this wait status."""
    pid: int | None = None
    last_pid: int = 0
    """Of the process that has died last."""
    started_s: float = 0.0
    due_s: float | None = 0.0
    """When it is to be started; None while it runs or when it is not to run again."""
    retired: bool = False
    told_to_stop: bool = False
    is_restarting: bool = False
    """It has been told to end and to come anew: its next death is no crash."""
    deadline_s: float | None = None
    """When it is killed that was told to stop."""
    streak: int = 0
    """Deaths in a row, each before its life was steady."""
    deaths_s: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    """When they were, on the steady clock."""
    last: str = ""
    """How it died, the last time."""

    @property
    def is_crashing(self) -> bool:
        """Whether it dies again and again."""
        return self.streak >= LOOP_DEATHS

    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return min(LONGEST_PAUSE_S, 2.0 ** (self.streak - LOOP_DEATHS)) if self.is_crashing else 0.0


def describe_crashing(children: Iterable[Child], now_s: float) -> str:
    """The crash loops among the children as one text, nothing when there are none.

    ``crashing: N deaths in the last minute, next start in S s, last: WORDS``; without the middle part where
    all of them run just now.
    """
    crashing = [child for child in children if child.is_crashing]
    if not crashing:
        return ""
    deaths = sum(now_s - when_s < 60 for child in crashing for when_s in child.deaths_s)
    latest = max(crashing, key=lambda child: child.deaths_s[-1])
    words = [f"{deaths} deaths in the last minute"]
    due = [child.due_s for child in crashing if child.due_s is not None]
    if due:
        words.append(f"next start in {max(0.0, min(due) - now_s):.0f} s")
    return f"crashing: {', '.join(words)}, last: {latest.last}"


def _clean(text: str) -> str:
    """One line for titles, which end with a bracket and have semicolons of their own."""
    line = " ".join(text.split()).translate(str.maketrans("[];", "(),"))
    return line if len(line) <= LONGEST_WORDS else f"{line[: LONGEST_WORDS - 1]}…"


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

    def __init__(self, log: Log, *, grace_s: float, tick: Callable[[], bool] = lambda: False) -> None:
        """``tick`` is called now and then, and says whether anything happens (``resting.py``)."""
        self.log = log
        self.signals = Signals()
        self.children: list[Child] = []
        self.restarts = 0
        self.crashes = 0
        """Deaths that nobody has asked for."""
        self.status = 0
        self.leaving = False
        """Whether it ends when the last child has."""
        self.on: dict[int, Callable[[], None]] = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop}
        self._grace_s = grace_s
        self._tick = tick
        self.resting = Resting()
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
        if child.pid is None:
            self.children.remove(child)

    def end(self, child: Child) -> None:
        """Tell a child that runs to end within the grace; it is killed if it does not."""
        if child.pid is not None and not child.told_to_stop:
            child.told_to_stop = True
            child.deadline_s = clock.steady() + self._grace_s
            self.signal(child, signal.SIGTERM)

    def restart(self, child: Child, number: int) -> None:
        """Have a child end by this signal and come anew; one that waits for its start is started now."""
        if child.pid is not None:
            child.is_restarting = True
            self.signal(child, number)
        else:
            self.hurry(child)

    def hurry(self, child: Child) -> None:
        """Start a child now that waits for its start: what made it die may have been mended."""
        if child.due_s is not None:
            child.due_s = 0.0

    def describe_crashing(self) -> str:
        """The crash loops of all children (``describe_crashing``)."""
        return describe_crashing(self.children, clock.steady())

    def crashing(self) -> int:
        """How many children are in a crash loop."""
        return sum(child.is_crashing for child in self.children)

    def stop(self, status: int = 0) -> None:
        """End all children, those of the highest rank first, and then the loop."""
        if self._stop_deadline_s is None:
            self.status = status
            self._stop_deadline_s = clock.steady() + self._grace_s
            self.log.info("stopping")

    def leave(self) -> None:
        """End when no child is left; they are all to end by themselves."""
        self.leaving = True
        self.log.info("leaving")

    def running(self) -> int:
        """How many children run that are to run."""
        return sum(child.pid is not None and not child.retired for child in self.children)

    def signal_children(self, number: int) -> None:
        """Pass a signal on to all."""
        for child in self.children:
            self.signal(child, number)

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
            if self.leaving and not self.children:
                return self.status
            if now - self._ticked_s >= self.resting.pause_s():
                self._ticked_s = now
                self._notice_recovery(now)
                is_busy = self._tick()
                self.resting.note(not flush() or is_busy or self.stopping or self.leaving)
            self._wait(now)
            self._reap()

    def _start_due(self, now: float) -> None:
        if self.stopping:
            return
        for child in self.children:
            if child.pid is None and child.due_s is not None and child.due_s <= now:
                child.due_s = None
                child.started_s = now
                self.resting.note()
                try:
                    child.pid = child.start()
                except OSError as error:
                    self.log.error("start-failed", child=child.name, error=error)
                    self._crashed(child, now, error.strerror or str(error))
                    child.due_s = now + max(1.0, child.pause_s())

    def _kill_silent(self, now: float) -> None:
        for child in self.children:
            if child.deadline_s is not None and now >= child.deadline_s:
                child.deadline_s = None
                self.log.warning("cut-off", child=child.name, child_pid=child.pid)
                self.signal(child, signal.SIGKILL)
            if child.pid is None or child.heartbeat is None or child.told_to_stop:
                continue
            silent_s = now - max(child.heartbeat(), child.started_s, self._resumed_s)
            if silent_s > SILENT_S:
                self.log.error("silent", child=child.name, child_pid=child.pid, seconds=silent_s)
                self.signal(child, signal.SIGKILL)

    def _stop_next(self, now: float) -> bool:
        alive = [child for child in self.children if child.pid is not None]
        if not alive:
            return True
        assert self._stop_deadline_s is not None
        if now >= self._stop_deadline_s:
            for child in alive:
                self.log.warning("cut-off", child=child.name, child_pid=child.pid)
                self.signal(child, signal.SIGKILL)
            self._stop_deadline_s = now + 5
            return False
        highest = max(child.rank for child in alive)
        for child in alive:
            if child.rank == highest and not child.told_to_stop:
                child.told_to_stop = True
                self.signal(child, signal.SIGTERM)
        return False

    def _wait(self, now: float) -> None:
        times = [self._ticked_s + self.resting.pause_s()]
        times += [child.deadline_s for child in self.children if child.deadline_s is not None]
        if not self.stopping:
            times += [child.due_s for child in self.children if child.due_s is not None]
        elif self._stop_deadline_s is not None:
            times.append(self._stop_deadline_s)
        timeout_ms = max(0, int((min(times) - now) * 1000) + 1)
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
        self.resting.note()
        pid, child.pid, child.deadline_s = child.pid, None, None
        lived_s = now - child.started_s
        how = describe_status(status)
        assert pid is not None
        child.last_pid = pid
        words = _clean(child.last_words(pid, status))
        is_wanted = self.stopping or child.retired or child.is_restarting
        level = self.log.info if is_wanted or status == 0 else self.log.error
        more = {"words": words} if words and not is_wanted else {}
        level("child-ended", child=child.name, child_pid=pid, how=how, after_s=lived_s, **more)
        if child.retired:
            self.children.remove(child)
        else:
            self.restarts += not self.stopping
            if not is_wanted:
                if lived_s >= STEADY_S:
                    child.streak = 0
                self._crashed(child, now, f"{how}: {words}" if words else how)
            child.is_restarting = False
            child.due_s = now + child.pause_s()
        if child.died is not None:
            child.died(child, status)

    def _crashed(self, child: Child, now: float, last: str) -> None:
        self.crashes += 1
        child.streak += 1
        child.deaths_s.append(now)
        child.last = last
        if child.streak == LOOP_DEATHS:
            self.log.error("crash-loop", child=child.name, deaths=child.streak, last=last)

    def _notice_recovery(self, now: float) -> None:
        for child in self.children:
            if child.streak and child.pid is not None and now - child.started_s >= STEADY_S:
                if child.is_crashing:
                    self.log.info("crash-loop-ended", child=child.name, child_pid=child.pid)
                child.streak = 0

    def signal(self, child: Child, number: int) -> None:
        """Send a signal to a child, if it runs."""
        if child.pid is not None:
            try:
                os.kill(child.pid, number)
            except ProcessLookupError:
                pass  # Dead already; it will be reaped.
