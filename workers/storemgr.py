"""storemgr: keeps the daemons of a message store running.

Each daemon is a fresh interpreter, so that none inherits another's memory and a restart runs the code that
is installed now. Their listening sockets are storemgr's, so that no connection is refused while one of them
comes anew. A daemon that refuses to run at the start (its configuration, a missing database) ends the whole,
with its words; one that refuses later is tried again, slowly, while the others go on.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from setproctitle import setproctitle

import mstore
from mstore.base import clock
from mstore.base.boardfile import HEARTBEAT
from mstore.base.config import ConfigErrors, load
from mstore.base.log import begin_log
from mstore.base.options import Settings
from mstore.files.lockfile import LockFile, holder
from workers import handover, logfile
from workers.arguments import Arguments, read_arguments
from workers.checks import check_databases, take_lock
from workers.fleet import Fleet
from workers.inherited import Inherited
from workers.listeners import bind_unix
from workers.managed import Managed, Program
from workers.memory import Memory
from workers.notify import ServiceManager
from workers.parent import EX_REFUSED, Refused, refuse
from workers.places import AUTHPROXYD, METRICSD
from workers.privileges import (
    Identity,
    acting_as,
    find_identity,
    prepare_directories,
    raise_file_limit,
    settle,
)
from workers.reload import Reload
from workers.reporting import note_memory
from workers.requests import MODE, NAME, Asker, Requests
from workers.resting import REST_S
from workers.scoreboard import CRASHES, CRASHING, RESTARTS, Scoreboard
from workers.sockets import open_sockets, remove_paths, unix_paths
from workers.succession import State, become, describe, send_plan
from workers.supervisor import LONGEST_PAUSE_S, Child, Supervisor, describe_crashing
from workers.titles import format_title
from workers.upgrade import Upgrade
from workers.watch import Watch

SUCCESSION_S = 30.0
PURPOSE = "Keep the daemons of a message store running, in the foreground."


class Storemgr:
    """The master of masters."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.parent = arguments.parent
        self.manager = ServiceManager()
        self.settings: Settings = load(arguments.config)
        self.log = begin_log(self.settings, NAME)
        self.started = clock.now()
        self.daemons: list[Managed] = []
        self.certificates = Watch(self.settings.tls_files())
        self._title = ""
        self._memory = Memory()
        self.board = Scoreboard(0)
        self._told = False
        self._waiting: deque[tuple[dict[str, Any], Asker | None]] = deque()
        """What is to be done next; one thing at a time."""
        self._reload: Reload | None = None
        self._upgrade: Upgrade | None = None
        self._successor_s: float | None = None
        """After an upgrade, until the new daemons are in charge: how long that is waited for."""
        self._asker: Asker | None = None
        """Who is to be told then."""

    def prepare(self) -> None:
        """Make the directories, take the lock and bind every socket.

        Raises: Refused
        """
        settings, inherited = self.settings, Inherited.of()
        self.identity: Identity = find_identity(settings)
        prepare_directories(settings, self.identity)
        raise_file_limit()
        self.lock: LockFile = take_lock(settings, NAME)
        for name in settings.services():
            pid = holder(settings.lock_path(name))
            if pid is not None:
                raise Refused(f"{name} is already running (process {pid})")
        check_databases(settings)
        lent = inherited.paths()
        sockets: dict[str, list[socket.socket]] = {}
        try:
            for name in settings.services():
                sockets[name] = open_sockets(settings, name, self.identity, inherited)
            with acting_as(self.identity):
                bound = bind_unix(settings.ipc_path(NAME), MODE)
        except Refused:
            remove_paths(unix_paths(sock for found in sockets.values() for sock in found) - lent)
            raise
        inherited.close_rest(self.log)
        bound.listen()
        self._attend(bound, os.pipe2(os.O_CLOEXEC), lent)
        if self.arguments.detached:
            log = self.fleet.open_log(NAME)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        with acting_as(self.identity):
            self.board = Scoreboard(0, settings.scoreboard_path(NAME), NAME, self.started)
        for name, found in sockets.items():
            managed = self.fleet.make(name, Program.own())
            managed.sockets = found
            self.daemons.append(managed)
            self.supervisor.add(managed.child)

    def resume(self, left: int) -> None:
        """Go on where another version of this program has left off, in this very process."""
        state = State.load(left)
        self.identity = find_identity(self.settings)
        self.lock = LockFile(state.lock)
        self.started, self._told = state.started, True
        with acting_as(self.identity), suppress(Refused):  # What shows how we are is no reason to end.
            self.board = Scoreboard(0, self.settings.scoreboard_path(NAME), NAME, self.started)
        read, write = state.liveness
        self._attend(socket.socket(fileno=state.requests), (read, write), set(state.lent))
        self._successor_s = clock.steady() + SUCCESSION_S
        self._asker = None if state.asker is None else Asker(socket.socket(fileno=state.asker))
        for fd in state.connected:
            self.requests.add(socket.socket(fileno=fd))
        self._waiting += [
            (ask, None if fd is None else Asker(socket.socket(fileno=fd))) for ask, fd in state.waiting
        ]
        leaving = [self.fleet.adopt(heir) for heir in state.leaving]
        self.daemons = [self.fleet.adopt(heir) for heir in state.daemons]
        for managed in self.daemons:
            managed.in_charge = False
        self.fleet.remove_names(leaving, self.daemons)
        for managed in leaving:
            self.fleet.let_go(managed)
        names = " ".join(managed.name for managed in self.daemons)
        self.log.info("taken-over", version=mstore.__version__, daemons=names)

    def _attend(self, bound: socket.socket, liveness: tuple[int, int], lent: set[str]) -> None:
        """Hear signals, requests and daemons from now on."""
        settle()
        self._liveness = liveness
        grace_s = self.settings.shutdown_grace + 8
        self.supervisor = Supervisor(self.log, grace_s=grace_s, tick=self._tick)
        self.supervisor.on.update(
            {
                signal.SIGTERM: self.stop,
                signal.SIGINT: self.stop,
                signal.SIGHUP: self.hang_up,
                signal.SIGUSR1: partial(self.obey, {"do": "reload"}, None),
                signal.SIGUSR2: partial(self.obey, {"do": "upgrade"}, None),
            }
        )
        self.requests = Requests(bound, self.supervisor, self.obey, self.log)
        self.fleet = Fleet(
            self.settings, self.arguments.config, self.identity, self.supervisor, liveness[0], lent, self.log
        )
        self.fleet.hear, self.fleet.died, self.fleet.no_log = self._hear, self._died, self._no_log

    def run(self) -> int:
        """Keep the daemons running until told to stop; returns the exit status."""
        self.log.info("started", services=" ".join(managed.name for managed in self.daemons))
        self._tick()
        status = self.supervisor.run()
        for managed in self.daemons:
            self.fleet.close_sockets(managed)
        self.board.own.set(HEARTBEAT, 0)
        self.log.info("ended")
        self.lock.release()
        return status

    def hang_up(self) -> None:
        """What SIGHUP asks for: log files opened anew, and statistics, here and in all daemons."""
        if self.arguments.detached:
            logfile.reopen(self.settings, NAME, self.log)
        for managed in self.daemons:
            if managed.name == METRICSD and self.settings.log_to != "stderr":
                # It may open no file, and has nothing to lose; its sockets stay open here.
                self.supervisor.restart(managed.child, signal.SIGUSR1)
            elif managed.ready:  # Before that, the signal would end it.
                self.supervisor.signal(managed.child, signal.SIGHUP)

    def stop(self, status: int = 0) -> None:
        """End all daemons, and then ourselves."""
        if self.supervisor.stopping:
            return
        self.manager.stopping()
        self.supervisor.stop(status)
        self.requests.close()
        remove_paths([str(self.settings.ipc_path(NAME))])
        for _, asker in self._waiting:
            if asker is not None:
                asker.answer(failed=["storemgr is stopping"])
        if self._upgrade is not None:
            self._upgrade.failed.append("storemgr is stopping")
        for managed in self.daemons:
            if managed.name != AUTHPROXYD:
                self.fleet.close_sockets(managed)
            elif managed.ready:
                self.supervisor.signal(managed.child, signal.SIGUSR2)

    def obey(self, request: dict[str, Any], asker: Asker | None) -> None:
        """Reload or upgrade, when what is asked for already has been done."""
        self._waiting.append((request, asker))
        self._do_next()

    def _do_next(self) -> None:
        is_busy = self._reload or self._upgrade or self._successor_s is not None
        if is_busy or self.supervisor.stopping or not self._waiting:
            return
        request, asker = self._waiting.popleft()
        self.manager.reloading()
        if request["do"] == "reload":
            # One reload does for all that have been asked for before it begins.
            again = [one for one in self._waiting if one[0]["do"] == "reload"]
            self._waiting = deque(one for one in self._waiting if one not in again)
            self._begin_reload([one for one in (asker, *(other for _, other in again)) if one is not None])
        else:
            own = Program.own()
            program = Program(request.get("python", own.python), request.get("root", own.root))
            self._begin_upgrade(program, asker)

    def _done(self) -> None:
        """What was under way is over."""
        if self._told and not self.supervisor.stopping:
            self.manager.ready()
        self._do_next()

    def _begin_reload(self, askers: list[Asker]) -> None:
        """Have every daemon read the configuration anew, when it has no errors."""
        self._reload = Reload({one.name: one.child.pid for one in self.daemons}, askers)
        try:
            found = load(self.arguments.config)
        except ConfigErrors as error:
            for problem in error.problems:
                self.log.error("not-reloaded", reason=problem)
            self._reload.refuse(str(error))
            self._end_reload()
            return
        if found.services() != self.settings.services():
            self.log.warning("needs-restart", services=" ".join(found.services()))
        self.log.info("reloading")
        for name in (
            "ms_path", "runtime_user", "shutdown_grace", "metrics_listen", "metrics_socket_group", "log_to",
        ):  # fmt: skip
            if getattr(found, name) != getattr(self.settings, name):
                self._reload.hear(NAME, None, "needs-restart", name.replace("_", "-"))
        self.certificates = Watch(found.tls_files())
        self.fleet.loaded = found
        self._hand_over(handover.RELOAD)

    def _end_reload(self) -> None:
        """Say how the reload went, once it is over."""
        if self._reload is not None and self._reload.is_over:
            ended, self._reload = self._reload, None
            ended.end()
            self.log.info("reload-ended")
            self._done()

    def _hand_over(self, word: bytes) -> None:
        """Tell the daemons to reload or to renew, giving those that speak TLS the files for it."""
        gathered = handover.gather(self.fleet.loaded.tls_files())
        for managed in self.daemons:
            if managed.channel is not None and managed.child.pid is not None:
                try:
                    handover.send(managed.channel, word, gathered)
                except OSError as error:
                    self.log.error("not-handed-over", child=managed.name, error=error.strerror or error)
            elif word == handover.RELOAD:
                # One that has died reads everything when it starts, and that may be mended now.
                self.supervisor.restart(managed.child, signal.SIGUSR1)

    def _begin_upgrade(self, program: Program, asker: Asker | None) -> None:
        """Have the daemons of another version, or of this one anew, take over."""
        self.log.info("upgrading", python=program.python, root=program.root)
        self._upgrade = Upgrade(program, asker, self.supervisor, self._start_successor, self._commit)
        try:
            sockets = [sock for managed in self.daemons for sock in managed.sockets]
            self._upgrade.plan(self.arguments.config, sockets)
        except OSError as error:
            self._upgrade.failed.append(f"{program.python}: {error.strerror}")
            self._look_at_upgrade()

    def _start_successor(self, name: str, sockets: list[socket.socket], program: Program) -> Managed:
        managed = self.fleet.make(name, program)
        managed.sockets, managed.in_charge, managed.child.retired = sockets, False, True
        self.supervisor.add(managed.child)
        return managed

    def _commit(self) -> None:
        """Become the new storemgr; what fails is noted."""
        upgrade = self._upgrade
        assert upgrade is not None
        asker = None if upgrade.asker is None else upgrade.asker.socket.fileno()
        bound, lent = self.requests.bound.fileno(), sorted(self.fleet.lent)
        state = State(self.lock.fileno(), self._liveness, bound, asker, self.started, lent)
        state.daemons = [describe(managed) for managed in upgrade.successors]
        state.waiting = [(ask, one.socket.fileno() if one else None) for ask, one in self._waiting]
        state.connected = self.requests.connected()
        old = [managed for managed in (*self.fleet.leaving, *self.daemons) if managed.child.pid is not None]
        state.leaving = [describe(managed) for managed in old]
        try:
            flags = ["-d"] if self.arguments.detached else []
            become(upgrade.program, self.arguments.config, state, self.manager.variables, *flags)
        except OSError as error:
            upgrade.failed.append(f"{upgrade.program.python}: {error.strerror}")

    def _look_at_upgrade(self) -> None:
        """Go on with an upgrade, or say that it has failed."""
        if self._upgrade is None:
            return
        self._upgrade.look()
        if not self._upgrade.failed:
            return
        failed, self._upgrade = self._upgrade, None
        for text in failed.failed:
            self.log.error("not-upgraded", reason=text)
        self.fleet.remove_names(failed.successors, self.daemons)
        failed.end()
        self.fleet.leaving += [managed for managed in failed.successors if managed.child.pid is not None]
        for managed in self.daemons:
            self.supervisor.hurry(managed.child)
        self._done()

    def _look_at_succession(self) -> None:
        """Say that the upgrade is complete once all daemons have the locks of those before them."""
        if self._successor_s is None:
            return
        waiting = [managed.name for managed in self.daemons if not managed.in_charge]
        if waiting and clock.steady() < self._successor_s:
            return
        self._successor_s = None
        failed = [f"{name}: the one before it does not give up its lock" for name in waiting]
        for text in failed:
            self.log.error("not-in-charge", reason=text)
        if self._asker is not None:
            self._asker.answer(failed=failed)
            self._asker = None
        self.log.info("upgraded", daemons=" ".join(managed.name for managed in self.daemons))
        self._done()

    def _hear(self, managed: Managed, line: str) -> None:
        managed.heard_s = clock.steady()
        word, _, text = line.partition(" ")
        if self._reload is not None and managed in self.daemons:
            self._reload.hear(managed.name, managed.child.pid, word, text)
            self._end_reload()
        if word == "refused":
            managed.refusal = text
        elif word == "in-charge":
            managed.in_charge = True
            self._look_at_succession()
        elif word in ("ready", "reloaded"):
            managed.ready = managed.was_ready = True
            self.log.info("ready", child=managed.name, child_pid=managed.child.pid)
            self._tick()

    def _no_log(self, managed: Managed, error: OSError) -> None:
        if not managed.was_ready:
            self.parent.tell(f"refused {managed.name}: {error.filename}: {error.strerror}")
            self.stop(EX_REFUSED)

    def _died(self, managed: Managed, child: Child, status: int) -> None:
        managed.ready = False
        if managed not in self.daemons:
            self._forget(managed, status)
            return
        if self.supervisor.stopping or not os.WIFEXITED(status) or os.WEXITSTATUS(status) != EX_REFUSED:
            return
        self.log.error("refused", child=managed.name, reason=managed.refusal)
        if self._reload is not None:
            self._reload.fail(managed.name, managed.refusal)
            self._end_reload()
        if managed.was_ready:
            child.due_s = clock.steady() + LONGEST_PAUSE_S
        else:
            self.parent.tell(f"refused {managed.name}: {managed.refusal}")
            self.stop(EX_REFUSED)

    def _forget(self, managed: Managed, status: int) -> None:
        """One that leaves, or a successor, has ended."""
        if managed.lines is not None and not managed.lines.closed:
            self.supervisor.unwatch(managed.lines.fd)
            managed.lines.close()
        if managed.channel is not None:
            managed.channel.close()
        if managed in self.fleet.leaving:
            self.fleet.leaving.remove(managed)
        elif self._upgrade is not None:
            self._upgrade.died(managed, status)
            self._look_at_upgrade()

    def _tick(self) -> bool:
        """Look at what is under way, and show how things are; whether there is anything."""
        self.manager.turn()
        self._note()
        if self._reload is not None:
            self._reload.look_at_clock()
            self._end_reload()
        self._look_at_upgrade()
        self._look_at_succession()
        if self.certificates.has_changed() and not self.supervisor.stopping:
            self.log.info("certificates-changed")
            self._hand_over(handover.RENEW)
        up, wanted = sum(managed.ready for managed in self.daemons), len(self.daemons)
        self._show(f"{up}" if up == wanted else f"{up} of {wanted}")
        if up == wanted and not self._told:
            self._told = True
            self.parent.tell("ready")
            self.manager.ready()
        is_renewing = self._reload is not None or self._upgrade is not None or self._successor_s is not None
        is_changing = up < wanted or is_renewing or self.certificates.is_changing
        is_hasty = 0 < self.manager.every_s < REST_S
        return is_changing or is_hasty or self.supervisor.crashing() > 0

    def _note(self) -> None:
        """Beat, and write down what the metrics page tells of us."""
        own = self.board.own
        own.beat()
        own.set(RESTARTS, self.supervisor.restarts)
        own.set(CRASHES, self.supervisor.crashes)
        own.set(CRASHING, self.supervisor.crashing())
        if self.supervisor.resting.is_time_to_look():
            note_memory(own, self._memory.read())

    def _show(self, count: str) -> None:
        now = clock.steady()
        crashing = [
            f"{one.name} {describe_crashing([one.child], now)}"
            for one in self.daemons
            if one.child.is_crashing
        ]
        doing = (
            "stopping" if self.supervisor.stopping else f"up {clock.format_age(clock.now() - self.started)}"
        )
        summary = "; ".join([f"{count} services {doing}", *crashing])
        title = format_title(NAME, summary)
        if title != self._title:
            self._title = title
            setproctitle(title)
            self.manager.tell(f"STATUS={summary}")


def plan(arguments: Arguments) -> int:
    """Say to the storemgr that has started this process which daemons are to run, on which sockets.

    Raises: Refused, ConfigErrors, OSError
    """
    assert arguments.plan is not None
    settings = load(arguments.config)
    identity = find_identity(settings)
    if holder(settings.lock_path(NAME)) != os.getppid():
        raise Refused("ms-path: an upgrade cannot change it; stop and start instead")
    if settings.run_path.stat().st_uid != identity.uid:
        raise Refused("runtime-user: an upgrade cannot change it; stop and start instead")
    raise_file_limit()
    inherited = Inherited.of(arguments.listeners)
    names = settings.services()
    sockets = {name: open_sockets(settings, name, identity, inherited) for name in names}
    send_plan(socket.socket(fileno=arguments.plan), sockets)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run storemgr from its command line; returns the exit status."""
    arguments = read_arguments(NAME, PURPOSE, argv, may_detach=True)
    try:
        if arguments.plan is not None:
            return plan(arguments)
        storemgr = Storemgr(arguments)
        if arguments.resume is not None:
            storemgr.resume(arguments.resume)
        else:
            storemgr.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse(NAME, arguments.parent, str(error))
    return storemgr.run()


if __name__ == "__main__":
    sys.exit(main())
