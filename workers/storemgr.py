"""storemgr: keeps the daemons of a message store running.

Each daemon is a fresh interpreter, so that none inherits another's memory and a restart runs the code that
is installed now. A daemon that refuses to run at the start (its configuration, a missing database) ends the
whole, with its words; one that refuses later is tried again, slowly, while the others go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from setproctitle import setproctitle

from mstore.base import clock
from mstore.base.config import ConfigErrors, load
from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.files.lockfile import LockFile
from workers import handover
from workers.arguments import Arguments, read_arguments
from workers.checks import take_lock
from workers.parent import EX_REFUSED, Lines, Refused, refuse
from workers.privileges import (
    Identity,
    find_identity,
    open_log,
    prepare_directories,
    raise_file_limit,
    settle,
)
from workers.signals import HANDLED
from workers.supervisor import LONGEST_PAUSE_S, Child, Supervisor
from workers.watch import Watch

PURPOSE = "Keep the daemons of a message store running, in the foreground."
ROOT = Path(__file__).resolve().parents[1]
AUTHPROXYD = "authproxyd"
WITH_TLS = ("imapd", "pop3d", "lmtpd")


@dataclass(eq=False)
class Managed:
    """What is known of one daemon besides its process."""

    name: str
    child: Child
    heard_s: float = 0.0
    ready: bool = False
    was_ready: bool = False
    refusal: str = ""
    lines: Lines | None = None
    channel: socket.socket | None = None
    """Where it is handed what only we may read."""


class Storemgr:
    """The master of masters."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.parent = arguments.parent
        self.log = Log(daemon="storemgr")
        self.settings: Settings = load(arguments.config)
        self.started = clock.now()
        self.daemons: list[Managed] = []
        self.loaded = self.settings
        """What the daemons were last told to use; what we use ourselves stays as it was at the start."""
        self.certificates = Watch(self.settings.tls_files())
        self._title = ""
        self._told = False

    def prepare(self) -> None:
        """Make the directories and take the lock.

        Raises: Refused
        """
        self.identity: Identity = find_identity(self.settings)
        prepare_directories(self.settings, self.identity)
        raise_file_limit()
        self.lock: LockFile = take_lock(self.settings, "storemgr")
        settle()
        if self.arguments.detached:
            log = self._open_log("storemgr")
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)

    def run(self) -> int:
        """Keep the daemons running until told to stop; returns the exit status."""
        supervisor = Supervisor(self.log, grace_s=self.settings.shutdown_grace + 8, tick=self._tick)
        self.supervisor = supervisor
        supervisor.on.update(
            {
                signal.SIGHUP: partial(supervisor.signal_children, signal.SIGHUP),
                signal.SIGUSR1: self.reload,
            }
        )
        self._liveness, self._liveness_write = os.pipe2(os.O_CLOEXEC)
        for name in self.settings.services():
            self._add(name)
        self.log.info("started", services=" ".join(managed.name for managed in self.daemons))
        self._tick()
        status = supervisor.run()
        self.log.info("ended")
        self.lock.release()
        return status

    def reload(self) -> None:
        """Have every daemon read the configuration anew, when it has no errors."""
        try:
            found = load(self.arguments.config)
        except ConfigErrors as error:
            for problem in error.problems:
                self.log.error("not-reloaded", reason=problem)
            return
        if found.services() != self.settings.services():
            self.log.warning("needs-restart", services=" ".join(found.services()))
        self.log.info("reloading")
        self.certificates = Watch(found.tls_files())
        self.loaded = found
        self._hand_over(handover.RELOAD)

    def _hand_over(self, word: bytes) -> None:
        """Tell the daemons to reload or to renew, giving those that speak TLS the files for it."""
        gathered = handover.gather(self.loaded.tls_files())
        for managed in self.daemons:
            pid = managed.child.pid
            if pid is None or (word == handover.RENEW and managed.channel is None):
                continue  # It reads everything when it starts.
            if managed.channel is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)
                continue
            try:
                handover.send(managed.channel, word, gathered)
            except OSError as error:
                self.log.error("not-handed-over", child=managed.name, error=error.strerror or error)

    def _add(self, name: str) -> None:
        child = Child(name, start=lambda: 0, rank=0 if name == AUTHPROXYD else 1)
        managed = Managed(name, child)
        child.start = partial(self._spawn, managed)
        child.died = partial(self._died, managed)
        child.heartbeat = lambda: managed.heard_s
        self.daemons.append(managed)
        self.supervisor.add(child)

    def _spawn(self, managed: Managed) -> int:
        """Start a daemon in a clean interpreter, its standard error going to its log."""
        command = [sys.executable, "-P", "-m", f"workers.{managed.name}", "-f", str(self.arguments.config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        try:
            log = self._open_log(managed.name)
        except OSError as error:
            if not managed.was_ready:
                self.parent.tell(f"refused {managed.name}: {error.filename}: {error.strerror}")
                self.supervisor.stop(EX_REFUSED)
            raise
        notify_read, notify_write = os.pipe2(os.O_CLOEXEC)
        inherited = [self._liveness, notify_write]
        theirs = self._make_channel(managed)
        if theirs is not None:
            inherited.append(theirs.fileno())
        for fd in inherited:
            os.set_inheritable(fd, True)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [*command, "--managed", ",".join(map(str, inherited))],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
                setsigmask=[],
                setsigdef=[*HANDLED, signal.SIGPIPE],
            )
        except BaseException:
            os.close(notify_read)
            raise
        finally:
            os.set_inheritable(self._liveness, False)
            os.close(notify_write)
            if theirs is not None:
                theirs.close()
            os.close(log)
        managed.ready, managed.refusal, managed.heard_s = False, "", clock.steady()
        managed.lines = lines = Lines(notify_read, partial(self._hear, managed))
        self.supervisor.watch(notify_read, partial(self._listen, lines))
        return pid

    def _make_channel(self, managed: Managed) -> socket.socket | None:
        """The daemon's end of a new channel, where it needs one."""
        if managed.channel is not None:
            managed.channel.close()
            managed.channel = None
        if managed.name not in WITH_TLS:
            return None
        managed.channel, theirs = handover.make_channel()
        return theirs

    def _open_log(self, name: str) -> int:
        log = open_log(self.settings.log_path / f"{name}.log")
        if os.geteuid() == 0:
            os.fchown(log, self.identity.uid, self.identity.gid)
        return log

    def _listen(self, lines: Lines) -> None:
        if not lines.read():
            self.supervisor.unwatch(lines.fd)
            lines.close()

    def _hear(self, managed: Managed, line: str) -> None:
        managed.heard_s = clock.steady()
        word, _, text = line.partition(" ")
        if word == "refused":
            managed.refusal = text
        elif word == "ready":
            managed.ready = managed.was_ready = True
            self.log.info("ready", child=managed.name, pid=managed.child.pid)
            self._tick()

    def _died(self, managed: Managed, child: Child, status: int) -> None:
        if managed.lines is not None and not managed.lines.closed:
            self._listen(managed.lines)  # Its last words.
        managed.ready = False
        if self.supervisor.stopping or not os.WIFEXITED(status) or os.WEXITSTATUS(status) != EX_REFUSED:
            return
        self.log.error("refused", child=managed.name, reason=managed.refusal)
        if managed.was_ready:
            child.due_s = clock.steady() + LONGEST_PAUSE_S
        else:
            self.parent.tell(f"refused {managed.name}: {managed.refusal}")
            self.supervisor.stop(EX_REFUSED)

    def _tick(self) -> None:
        if self.certificates.has_changed() and not self.supervisor.stopping:
            self.log.info("certificates-changed")
            self._hand_over(handover.RENEW)
        up, wanted = sum(managed.ready for managed in self.daemons), len(self.daemons)
        if up == wanted and not self._told:
            self._told = True
            self.parent.tell("ready")
        count = f"{up}" if up == wanted else f"{up} of {wanted}"
        age = clock.format_age(clock.now() - self.started)
        doing = "stopping" if self.supervisor.stopping else f"up {age}"
        title = f"m-store: storemgr [{count} services {doing}]"
        if title != self._title:
            self._title = title
            setproctitle(title)


def main(argv: Sequence[str] | None = None) -> int:
    """Run storemgr from its command line; returns the exit status."""
    arguments = read_arguments("storemgr", PURPOSE, argv, may_detach=True)
    try:
        storemgr = Storemgr(arguments)
        storemgr.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse("storemgr", arguments.parent, str(error))
    return storemgr.run()


if __name__ == "__main__":
    sys.exit(main())
