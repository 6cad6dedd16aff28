"""The daemons of storemgr: how they are started, taken over from another version, and let go."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mstore.base import clock
from mstore.base.log import Log
from mstore.base.options import Settings
from workers.crew import GENERATIONS
from workers.managed import Managed, Program, start
from workers.parent import Lines, Refused
from workers.places import AUTHPROXYD
from workers.privileges import Identity, open_log
from workers.sockets import remove_paths, reopen_sockets, unix_paths
from workers.succession import Heir
from workers.supervisor import Child, Supervisor


class Fleet:
    """What all daemons of a storemgr share."""

    def __init__(
        self,
        settings: Settings,
        config: Path,
        identity: Identity,
        supervisor: Supervisor,
        liveness: int,
        lent: set[str],
        log: Log,
    ) -> None:
        """``liveness`` is inherited by each; ``lent`` are the Unix sockets whose names others keep."""
        self.loaded = settings
        """What the daemons were last told to use."""
        self.log_path = settings.log_path
        self._shares_log = settings.log_to == "stderr"
        self.lent = lent
        self.leaving: list[Managed] = []
        """Daemons whose places others have taken, oldest first."""
        self.hear: Callable[[Managed, str], None] = lambda managed, line: None
        """Called with each line that a daemon writes."""
        self.died: Callable[[Managed, Child, int], None] = lambda managed, child, status: None
        self.no_log: Callable[[Managed, OSError], None] = lambda managed, error: None
        """Called when the log of a daemon cannot be opened, and it is not started."""
        self._config = config
        self._identity = identity
        self._supervisor = supervisor
        self._liveness = liveness
        self._log = log

    def make(self, name: str, program: Program) -> Managed:
        """A daemon, which is not the supervisor's yet."""
        child = Child(name, start=lambda: 0, rank=0 if name == AUTHPROXYD else 1)
        managed = Managed(name, child)
        child.start = partial(self._spawn, managed, program)
        child.died = partial(self.died, managed)
        child.last_words = partial(self._take_last_words, managed)
        child.heartbeat = lambda: managed.heard_s
        return managed

    def adopt(self, heir: Heir) -> Managed:
        """A daemon that another version of this program has started."""
        managed = self.make(heir.name, Program.own())
        managed.child.pid, managed.child.due_s = heir.pid, None
        managed.heard_s = managed.child.started_s = clock.steady()
        managed.ready = managed.was_ready = heir.ready
        managed.sockets = [socket.socket(fileno=fd) for fd in heir.sockets]
        managed.channel = None if heir.channel is None else socket.socket(fileno=heir.channel)
        if heir.notify >= 0:
            self._listen_to(managed, heir.notify)
        self._supervisor.add(managed.child)
        return managed

    def let_go(self, managed: Managed) -> None:
        """Have a daemon end whose place another has taken; too many of a kind are not waited for."""
        managed.child.retired = True
        for sock in managed.sockets:
            sock.close()
        managed.sockets.clear()
        self.leaving.append(managed)
        managed.leave(self._supervisor)
        for oldest in [one for one in self.leaving if one.name == managed.name][:-GENERATIONS]:
            self._supervisor.end(oldest.child)

    def _spawn(self, managed: Managed, program: Program) -> int:
        """Start a daemon, its standard error going to its log, or to our own."""
        try:
            log = os.dup(2) if self._shares_log else self.open_log(managed.name)
        except OSError as error:
            self.no_log(managed, error)
            raise
        try:
            if not managed.child.retired:
                self._reopen(managed)
            if not self._shares_log:
                managed.log = (self.log_path / f"{managed.name}.log", os.fstat(log).st_size)
            pid, notify = start(managed, program, self._config, self._liveness, log)
        finally:
            os.close(log)
        self._listen_to(managed, notify)
        return pid

    def _reopen(self, managed: Managed) -> None:
        """Have the sockets that the configuration wants now; where that fails, the daemon says so itself."""
        had = managed.sockets
        try:
            found = reopen_sockets(self.loaded, managed.name, self._identity, had, self._log)
        except Refused as error:
            self._log.warning("sockets-kept", child=managed.name, reason=str(error))
            return
        remove_paths(unix_paths(had) - unix_paths(found) - self.lent)
        for sock in had:
            sock.close()
        managed.sockets = found

    def close_sockets(self, managed: Managed) -> None:
        """Let nobody come to a daemon any more."""
        remove_paths(unix_paths(managed.sockets) - self.lent)
        for sock in managed.sockets:
            sock.close()
        managed.sockets = []

    def remove_names(self, old: list[Managed], new: list[Managed]) -> None:
        """Remove the names of the Unix sockets that only the old ones have."""
        had, have = (unix_paths(sock for one in some for sock in one.sockets) for some in (old, new))
        remove_paths(had - have - self.lent)

    def open_log(self, name: str) -> int:
        """Open a daemon's log for appending.

        Raises: OSError
        """
        log = open_log(self.log_path / f"{name}.log")
        if os.geteuid() == 0:
            os.fchown(log, self._identity.uid, self._identity.gid)
        return log

    def _listen_to(self, managed: Managed, fd: int) -> None:
        managed.lines = lines = Lines(fd, partial(self.hear, managed))
        self._supervisor.watch(fd, partial(self._listen, lines))

    def _listen(self, lines: Lines) -> None:
        if not lines.read():
            self._supervisor.unwatch(lines.fd)
            lines.close()

    def _take_last_words(self, managed: Managed, pid: int, status: int) -> str:
        if managed.lines is not None and not managed.lines.closed:
            self._listen(managed.lines)
        return managed.last_words(status)
