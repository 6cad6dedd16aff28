"""Telling a process that another one changed a mailbox that somebody here listens to.

Each watched mailbox has one inotify watch, on its journal, only while it has listeners. The process has one
inotify instance, of which a user is given few, and has it from its first watch on: who never watches takes
none. A worker polls ``fileno()`` in its loop, as ``on_open`` tells it to, and calls ``handle()`` when it is
readable, and ``poll_all()`` every few seconds: the safety net, and all there is where inotify sees nothing
(other machines of a cluster, a limit reached). Listeners are then called by the mailbox itself, as for a
change made in this process. Who only wants to know that something happened in a mailbox or an account
follows its directory instead (``traces``), and need not open it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.files.inotify import IN_IGNORED, IN_Q_OVERFLOW, Inotify
from mstore.store.traces import Traces

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox


class Notifier:
    """The watches of one process; made after the fork, since a child must not share them."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._closed = False
        self.on_open: Callable[[int], object] | None = None
        """Called with the descriptor once there is one."""
        self._by_watch: dict[int, list[Mailbox]] = {}
        self._watched: dict[Mailbox, int | None] = {}
        self.traces = Traces(self._open)

    def fileno(self) -> int:
        """The descriptor to poll for reading; -1 while nothing is watched, or no inotify is to be had."""
        return self._inotify.fd if self._inotify else -1

    def _open(self) -> Inotify | None:
        if self._inotify is None and not self._closed:
            try:
                self._inotify = Inotify()
            except OSError:
                return None  # the next watch tries again
            if self.on_open is not None:
                self.on_open(self._inotify.fd)
        return self._inotify

    def watch(self, mailbox: Mailbox) -> None:
        """Notice changes of a mailbox, of its present journal; called again when a new generation begins."""
        inotify = self._inotify if mailbox in self._watched else self._open()
        self.unwatch(mailbox)
        number = None
        if inotify:
            try:
                number = inotify.add(mailbox.journal.path)
                # objects of several readers are of one file, and the system gives them one watch
                self._by_watch.setdefault(number, []).append(mailbox)
            except OSError:
                pass
        self._watched[mailbox] = number

    def unwatch(self, mailbox: Mailbox) -> None:
        """Notice them no more."""
        number = self._watched.pop(mailbox, None)
        sharing = self._by_watch.get(number, []) if number is not None else []
        if mailbox in sharing:
            sharing.remove(mailbox)
        if number is not None and not sharing and self._inotify:
            self._by_watch.pop(number, None)
            self._inotify.remove(number)

    def handle(self) -> None:
        """Refresh the mailboxes that events are there for."""
        if not self._inotify:
            return
        changed: dict[Mailbox, None] = {}
        for number, mask, name in self._inotify.read():
            if mask & IN_Q_OVERFLOW:
                self.traces.ring_all()
                self.poll_all()
                return
            self.traces.note(number, name)
            if not mask & IN_IGNORED:
                changed.update(dict.fromkeys(self._by_watch.get(number, ())))
        for mailbox in changed:
            self._refresh(mailbox)
        self.traces.ring()

    def poll_all(self) -> None:
        """Refresh every mailbox that somebody listens to, and look at what else is followed."""
        for mailbox in list(self._watched):
            if mailbox in self._watched:  # others have run since
                self._refresh(mailbox)
                blocking.breathe()
        self.traces.poll()

    def _refresh(self, mailbox: Mailbox) -> None:
        try:
            mailbox.refresh()
            if mailbox.deleted:
                mailbox.announce()
        except MStoreError:
            pass  # the session that uses the mailbox next is told

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        if self._inotify:
            self._inotify.close()
            self._inotify = None
        self._by_watch.clear()
        self._watched.clear()
        self.traces.clear()
