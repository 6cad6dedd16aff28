"""A protocol daemon: binds its sockets, gives up its rights, forks workers and watches over them.

The same for imapd, pop3d and lmtpd, alone or under storemgr. The daemon itself runs no event loop and reads
no byte of a client; it keeps the listening sockets open, so that a worker can die without a connection being
refused.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
from collections.abc import Sequence

from setproctitle import setproctitle

from mstore.base import clock
from mstore.base.boardfile import HEARTBEAT
from mstore.base.config import ConfigErrors, load
from mstore.base.errors import Unavailable
from mstore.base.log import Log, begin_log
from mstore.base.options import Settings
from mstore.base.preload import EVENT_LOOP, load_all, load_modules
from mstore.net.certificate import Read, read_file
from mstore.net.tls import Context, make_context
from workers import handover, logfile
from workers.arguments import Arguments, read_arguments
from workers.checks import check_accounts, check_databases, check_mailstores
from workers.claim import Claim
from workers.confine import announce
from workers.control import remove_control, remove_directory, remove_stale
from workers.crew import GENERATIONS, Crew
from workers.crowd import Crowd, find_key, new_key
from workers.handover import Handover
from workers.inherited import Inherited
from workers.leaving import Elders, Told, path_of
from workers.listeners import BACKLOG, Listener, close_unix, make_groups, open_unix
from workers.memory import Memory
from workers.parent import Parent, Refused, refuse
from workers.places import LMTP_MODE, UnixPlace, tcp_places
from workers.privileges import Identity, drop, find_identity, prepare_directories, raise_file_limit, settle
from workers.reporting import note_memory
from workers.scoreboard import CERTIFICATE_END, COUNTERS, CRASHES, CRASHING, RESTARTS, Slot
from workers.statistics import append_block, format_block
from workers.supervisor import Supervisor
from workers.titles import Rate, format_activity, format_title
from workers.worker import Kind, Work, run_worker

FIXED = (
    "ms_path", "runtime_user", "lmtp_socket_group", "lmtp_enable_overquota_delivery",
    "imapd_listen", "imapd_tls_listen", "pop3d_listen", "pop3d_tls_listen",
    "lmtpd_listen", "proxy_listen",
    "imapd_workers", "pop3d_workers", "lmtpd_workers", "log_to", "log_format", "log_socket",
)  # fmt: skip
"""What a reload cannot change."""


TLS = (
    "tls_certificate", "tls_key", "tls_sni", "tls_minimum_version", "tls_ciphers", "tls_client_certificate",
    "tls_client_ca",
)  # fmt: skip
"""What TLS is made from."""
SOON_S = 14 * 86400.0
"""So long before a certificate's end it is complained of."""


def make_tls(kind: Kind, settings: Settings, log: Log, read: Read = read_file) -> Context | None:
    """The TLS context, or None where there is no certificate, or nobody to use it.

    Raises: Refused
    """
    if not (settings.listen(kind.name) or settings.tls_listen(kind.name)):
        return None
    try:
        context = make_context(settings, kind.protocol, read)
    except Unavailable as error:
        raise Refused(str(error)) from error
    for name, certificate in context.certificates() if context is not None else ():
        complaint = certificate.complaint(clock.now(), SOON_S)
        if complaint:
            names = " ".join(certificate.names)
            log.warning("certificate", of=name or "default", names=names, complaint=complaint)
    return context


def first_end(context: Context | None) -> int:
    """When the first of the certificates ends, in seconds since the epoch; 0 where there are none."""
    found = context.certificates() if context is not None else ()
    return max(0, min((certificate.ends_s for _, certificate in found), default=0))


class Daemon:
    """One running protocol daemon."""

    def __init__(self, kind: Kind, arguments: Arguments) -> None:
        self.kind = kind
        self.arguments = arguments
        self.parent = arguments.parent
        self.settings: Settings = load(arguments.config)
        self.log = begin_log(self.settings, kind.name)
        self.started = clock.now()
        self.context: Context | None = None
        self.groups: list[list[Listener]] = []
        self.shared: list[Listener] = []
        self._rate = Rate()
        self._title = ""
        self._memory = Memory()
        self._told: Told | None = None
        """Once we leave: what those in our place are told."""
        self._answer = "ready"
        """What the parent is told once all workers accept."""

    def prepare(self) -> None:
        """Do what needs rights, then give them up; afterwards all sockets listen.

        Raises: Refused
        """
        settings = self.settings
        identity: Identity = find_identity(settings)
        raise_file_limit()
        check_databases(settings)
        prepare_directories(settings, identity)
        load_all()
        load_modules(EVENT_LOOP)
        self.context = make_tls(self.kind, settings, self.log)
        name, inherited = self.kind.name, Inherited.of(self.arguments.listeners)
        self.groups = make_groups(tcp_places(settings, name), inherited, settings.workers(name))
        drop(identity)
        self.claim = Claim.lay(settings, name, self.started, self.arguments.is_successor)
        check_accounts(settings)
        check_mailstores(settings)
        names = self.kind.unix_sockets(settings)
        places = [UnixPlace(name, settings.ipc_path(name), LMTP_MODE) for name in names]
        self.shared = [open_unix(place, inherited) for place in places]
        inherited.close_rest(self.log)
        for listener in (*self.shared, *(one for group in self.groups for one in group)):
            listener.socket.listen(BACKLOG)
        if not self.shared and not self.groups[0]:
            raise Refused(f"{self.kind.name}-listen: there is nowhere to listen")
        surveyed = tuple(settings.mailstores) if self.kind.surveys else ()
        # A successor counts as the one before it does, whose connections are counted along.
        self._key = find_key(settings.scoreboard_path(name)) if self.arguments.is_successor else new_key()
        self.board = self.claim.make_board(len(self.groups) * GENERATIONS, surveyed, self._key)
        settle()

    def run(self) -> int:
        """Keep the workers running until told to stop; returns the exit status."""
        supervisor = Supervisor(self.log, grace_s=self.settings.shutdown_grace + 4, tick=self._tick)
        self.supervisor = supervisor
        self.board.own.beat()
        self.crew = Crew(supervisor, self.groups, self.shared, self._work, self.log, self.board)
        self.crew.complete = self._complete
        self.crowd = Crowd(len(self.board.slots), self._key)
        self._elders = Elders(self.settings.run_path, self.kind.name, self.crowd)
        self.crew.gone = self._forget
        supervisor.on.update(
            {
                signal.SIGTERM: self.stop,
                signal.SIGINT: self.stop,
                signal.SIGHUP: self.hang_up,
                signal.SIGUSR1: self.reload,
                signal.SIGUSR2: self.leave,
            }
        )
        if self.parent.liveness is not None:
            supervisor.watch(self.parent.liveness, self.stop)
        if self.parent.handover is not None:
            supervisor.watch(self.parent.handover.fileno(), self.take_over)
        gc.collect()
        gc.freeze()
        announce(self.settings, self.log)
        remove_stale(self.settings, self.kind.name)
        self.crew.start()
        listening = " ".join(listener.name for listener in (*self.groups[0], *self.shared))
        self.log.info("started", workers=len(self.groups), listening=listening)
        status = supervisor.run()
        self.board.own.set(HEARTBEAT, 0)
        remove_stale(self.settings, self.kind.name)
        remove_directory(self.settings)
        if self._told is not None:
            self._told.close()
        self.log.info("ended")
        self.claim.release()
        return status

    def stop(self) -> None:
        """Close the doors and let the workers end."""
        if self.supervisor.stopping:
            return
        if self.parent.liveness is not None:
            self.supervisor.unwatch(self.parent.liveness)
        self._close()
        self.supervisor.stop()

    def leave(self) -> None:
        """Make room for another imapd, pop3d or lmtpd, which accepts already; end with the last session."""
        if self.supervisor.stopping or self.supervisor.leaving:
            return
        self._close()
        self.claim.release()
        self.crew.retire()
        self.supervisor.leave()
        self._told = Told(path_of(self.settings.run_path, self.kind.name, os.getpid()), self.crowd)
        self._tick()  # The title says it at once.

    def _close(self) -> None:
        """Close the doors, and listen to nobody but our parent's end."""
        if self.parent.handover is not None:
            self.supervisor.unwatch(self.parent.handover.fileno())
        for listener in self.shared:
            if listener.is_lent:
                listener.socket.close()
            else:
                close_unix(listener.socket)
        self.crew.close()

    def hang_up(self) -> None:
        """What SIGHUP asks for: a log file opened anew, and statistics."""
        if logfile.is_ours(self.settings, self.parent):
            logfile.reopen(self.settings, self.kind.name, self.log, self.crew.channels())
        self.write_statistics()

    def write_statistics(self) -> None:
        """Append a block of statistics to ``log/DAEMON.stats``."""
        path = self.settings.stats_path(self.kind.name)
        try:
            append_block(path, self.format_statistics(clock.now()))
            self.log.info("statistics", path=path)
        except OSError as error:
            self.log.error("statistics-failed", path=path, error=error.strerror or error)

    def format_statistics(self, now: float) -> str:
        """The block: sums over all workers, then a line for each that lives."""
        rows: list[tuple[str, object]] = [
            ("workers", self.supervisor.running()),
            ("worker_restarts", self.supervisor.restarts),
        ]
        rows += [(name, self.crew.count(name)) for name in ("sessions", "sessions_idle", *COUNTERS)]
        for member in self.crew.members:
            if member.child.pid is not None:
                sessions, idle = member.slot.get("sessions"), member.slot.get("sessions_idle")
                doing = ", draining" if member.child.retired else ""
                text = f"pid {member.child.pid}, {sessions} sessions, {idle} idle{doing}"
                rows.append((member.child.name, text))
        return format_block(self.kind.name, os.getpid(), self.started, now, rows)

    def take_over(self) -> None:
        """Do what storemgr says, with the files that it hands over."""
        channel = self.parent.handover
        assert channel is not None
        try:
            given = handover.receive(channel)
        except (OSError, ValueError) as error:
            self.log.error("not-taken-over", error=str(error))
            given = None
        if given is None:
            self.supervisor.unwatch(channel.fileno())
        elif given.word == handover.RENEW:
            self.renew(given)
        else:
            self.reload(given)

    def renew(self, given: Handover) -> None:
        """Go on with new certificates, all else being as it is: as a reload."""
        try:
            self.context = make_tls(self.kind, self.settings, self.log, given.read)
        except Refused as error:
            self.log.error("not-renewed", reason=str(error))
            return
        self.log.info("renewed")
        self.crew.replace()

    def reload(self, given: Handover | None = None) -> None:
        """Read the configuration anew: new workers take over, the old ones end with their sessions.

        Told so by a signal, we may be unable to read the keys; what TLS is then made from stays as it is.
        """
        try:
            found = load(self.arguments.config)
            context = self._remake_tls(found, given)
        except (ConfigErrors, Refused) as error:
            for line in str(error).splitlines():
                self.log.error("not-reloaded", reason=line)
                self.parent.tell(f"not-reloaded {line}")
            return
        kept = {name: getattr(self.settings, name) for name in FIXED}
        for name, value in kept.items():
            if getattr(found, name) != value:
                self.log.warning("needs-restart", option=name.replace("_", "-"))
                self.parent.tell(f"needs-restart {name.replace('_', '-')}")
        self.settings, self.context = dataclasses.replace(found, **kept), context
        if self.kind.surveys:
            self.board.name_mailstores(tuple(self.settings.mailstores))
        self.log.info("reloaded")
        self._answer = "reloaded"
        self.crew.replace()

    def _remake_tls(self, found: Settings, given: Handover | None) -> Context | None:
        if given is not None:
            return make_tls(self.kind, found, self.log, given.read)
        try:
            return make_tls(self.kind, found, self.log)
        except Refused as error:
            if any(getattr(found, name) != getattr(self.settings, name) for name in TLS):
                raise
            self.log.warning("certificates-kept", reason=str(error))
            return self.context

    def _work(self, number: int, listeners: list[Listener], slot: Slot, parent: Parent) -> int:
        self.parent.close()
        self.claim.forget()
        door = self.crowd.door(slot.number, self.settings)
        work = Work(
            self.kind,
            self.settings,
            number,
            listeners,
            self.context,
            slot,
            self.board.mailstores,
            door,
            parent,
            self.log,
        )
        return run_worker(work)

    def _forget(self, slot: Slot, pid: int) -> None:
        """A worker has died: nothing of it is left."""
        self.crowd.clear(slot.number)
        remove_control(self.settings, self.kind.name, pid)

    def _complete(self) -> None:
        self.log.info("ready")
        self._tick()
        self.parent.tell(self._answer)
        self._answer = "ready"

    def _tick(self) -> bool:
        """Say that we live and what our workers do; whether that goes on changing."""
        is_waiting = self.claim.is_waiting
        self.parent.tell("alive")
        if self.claim.take_over():
            self.parent.tell("in-charge")
        self.board.own.beat()
        self.board.own.set(RESTARTS, self.supervisor.restarts)
        self.board.own.set(CERTIFICATE_END, first_end(self.context))
        if self.supervisor.resting.is_time_to_look():
            note_memory(self.board.own, self._memory.read())
        if self._told is not None:
            self._told.tell()
        else:
            self._elders.look()
        self.board.own.set(CRASHES, self.supervisor.crashes)
        self.board.own.set(CRASHING, self.supervisor.crashing())
        sessions, idle = self.crew.count("sessions"), self.crew.count("sessions_idle")
        commands_per_s = self._rate.per_s(self.crew.count("commands"))
        activity = format_activity(sessions, idle, commands_per_s)
        doing = "leaving" if self.supervisor.leaving else self.supervisor.describe_crashing()
        doing = "stopping" if self.supervisor.stopping else doing
        title = format_title(self.kind.name, f"{self.supervisor.running()} workers", activity, doing)
        is_busy = title != self._title or commands_per_s > 0 or bool(self._elders) or is_waiting
        if title != self._title:
            self._title = title
            setproctitle(title)
        return is_busy


def main(kind: Kind, argv: Sequence[str] | None = None) -> int:
    """Run a daemon from its command line; returns the exit status."""
    arguments = read_arguments(kind.name, kind.purpose, argv)
    try:
        daemon = Daemon(kind, arguments)
        daemon.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse(kind.name, arguments.parent, str(error))
    return daemon.run()
