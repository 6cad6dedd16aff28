"""Directories of mailboxes and accounts that somebody follows without opening them.

Of a mailbox the journals are looked at, of an account its catalog: a change of either changes that file, and
whoever follows is called with the directory. One inotify watch serves all who follow the same directory; it
costs no descriptor and, beside this object, no memory of ours. What inotify watches is polled rarely, the
rest with every poll. The mailbox itself is opened only when something has happened in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from mstore.base import blocking
from mstore.files.inotify import IN_CREATE, IN_DELETE_SELF, IN_MODIFY, IN_MOVED_TO, Inotify

JOURNALS: Final = "journal."
CATALOG: Final = "catalog"
RARELY: Final = 12
"""With every so many polls those are polled too that inotify watches."""
SETTLED_NS = 1_000_000_000
"""A file changed less than this ago may change again within one tick of its clock, unseen by ``stat``."""
_EVENTS = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF
_Stamp = tuple[str, int, int, int]

Bell = Callable[[str], None]
"""Called with the directory; must be short and must not wait."""


class Trace:
    """One directory that is followed."""

    __slots__ = ("bells", "number", "path", "seen", "wanted")

    def __init__(self, path: str, wanted: str) -> None:
        self.path = path
        self.wanted = wanted
        """How the name of the file that tells begins."""
        self.bells: list[Bell] = []
        self.number: int | None = None
        """That of the inotify watch, if there is one."""
        self.seen = self.stamp()

    def stamp(self) -> _Stamp | None:
        """What identifies the newest such file as it is; None when there is none, or it may change unseen."""
        try:
            name = self.wanted if self.wanted == CATALOG else self._newest()
            status = os.stat(f"{self.path}/{name}")
        except (OSError, ValueError):
            return None
        if time.time_ns() - status.st_mtime_ns < SETTLED_NS:
            return None
        return name, status.st_ino, status.st_size, status.st_mtime_ns

    def _newest(self) -> str:
        numbers = [
            int(name[len(self.wanted) :])
            for name in os.listdir(self.path)
            if name.startswith(self.wanted) and name[len(self.wanted) :].isdecimal()
        ]
        return f"{self.wanted}{max(numbers)}"

    def ring(self) -> None:
        """Tell all who follow it."""
        for bell in list(self.bells):
            bell(self.path)


class Traces:
    """All directories that this process follows."""

    def __init__(self, open_inotify: Callable[[], Inotify | None]) -> None:
        self._open_inotify = open_inotify
        self._by_path: dict[str, Trace] = {}
        self._by_watch: dict[int, Trace] = {}
        self._noted: dict[Trace, None] = {}
        self._polls: list[Callable[[], None]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._by_path)

    def follow(self, path: str, wanted: str, bell: Bell) -> None:
        """Ring a bell for every change from now on."""
        trace = self._by_path.get(path)
        if trace is None:
            trace = self._by_path[path] = Trace(path, wanted)
            self._watch(trace)
        trace.bells.append(bell)

    def unfollow(self, path: str, bell: Bell) -> None:
        """Ring it no more."""
        trace = self._by_path.get(path)
        if trace is None or bell not in trace.bells:
            return
        trace.bells.remove(bell)
        if not trace.bells:
            del self._by_path[path]
            self._unwatch(trace)

    def on_poll(self, look: Callable[[], None]) -> None:
        """Call this with every poll, for what has no directory."""
        self._polls.append(look)

    def off_poll(self, look: Callable[[], None]) -> None:
        """Call it no more."""
        if look in self._polls:
            self._polls.remove(look)

    def note(self, number: int, name: str) -> None:
        """An event of inotify; ``ring`` tells of it, once for however many there are."""
        trace = self._by_watch.get(number)
        if trace is None:
            return
        if not name:  # the directory itself is gone, and the watch with it
            trace.number = None
            del self._by_watch[number]
        elif not name.startswith(trace.wanted):
            return
        self._noted[trace] = None

    def ring(self) -> None:
        """Tell of what was noted."""
        noted, self._noted = self._noted, {}
        for trace in noted:
            trace.ring()

    def ring_all(self) -> None:
        """Tell all: events were lost."""
        self._noted.clear()
        for trace in list(self._by_path.values()):
            trace.ring()

    def poll(self) -> None:
        """Look for changes that nobody has told of."""
        self._count += 1
        thorough = not self._count % RARELY
        for trace in list(self._by_path.values()):
            if not trace.bells or (trace.number is not None and not thorough):
                continue  # others have run since the list was made
            before, trace.seen = trace.seen, trace.stamp()
            if trace.seen is None or trace.seen != before:
                trace.ring()
            if trace.number is None and thorough:
                self._watch(trace)
            blocking.breathe()
        for look in list(self._polls):
            look()
            blocking.breathe()

    def clear(self) -> None:
        """Follow nothing any more."""
        for trace in self._by_path.values():
            trace.number = None
        self._by_watch.clear()
        self._noted.clear()

    def _watch(self, trace: Trace) -> None:
        inotify = self._open_inotify()
        if inotify is None:
            return
        try:
            number = inotify.add(trace.path, _EVENTS)
        except OSError:
            return  # it is polled
        trace.number = number
        self._by_watch[number] = trace

    def _unwatch(self, trace: Trace) -> None:
        number, trace.number = trace.number, None
        self._noted.pop(trace, None)
        # A directory that got another name and is followed by that as well has one watch, that of the latter.
        if number is not None and self._by_watch.get(number) is trace:
            del self._by_watch[number]
            inotify = self._open_inotify()
            if inotify is not None:
                inotify.remove(number)
