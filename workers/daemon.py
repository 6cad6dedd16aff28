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
from mstore.base.config import ConfigErrors, load
from mstore.base.errors import Unavailable
from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.base.preload import EVENT_LOOP, load_all, load_modules
from mstore.net.certificate import Read, read_file
from mstore.net.tls import Context, make_context
from workers import handover
from workers.arguments import Arguments, read_arguments
from workers.checks import check_accounts, check_databases, check_mailstores, take_lock
from workers.confine import announce
from workers.crew import Crew
from workers.crowd import Crowd
from workers.handover import Handover
from workers.listeners import BACKLOG, Listener, bind_tcp, bind_unix, close_unix
from workers.parent import Parent, Refused, refuse
from workers.privileges import Identity, drop, find_identity, prepare_directories, raise_file_limit, settle
from workers.scoreboard import COUNTERS, Slot
from workers.statistics import append_block, format_block
from workers.supervisor import Supervisor
from workers.worker import Kind, Work, run_worker

LMTP_MODE = 0o660

FIXED = (
    "ms_path", "runtime_user", "lmtp_socket_group", "lmtp_enable_overquota_delivery",
    "imapd_listen", "imapd_tls_listen", "pop3d_listen", "pop3d_tls_listen",
    "lmtpd_listen",
    "imapd_workers", "pop3d_workers", "lmtpd_workers",
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


class Daemon:
    """One running protocol daemon."""

    def __init__(self, kind: Kind, arguments: Arguments) -> None:
        self.kind = kind
        self.arguments = arguments
        self.parent = arguments.parent
        self.log = Log(daemon=kind.name)
        self.settings: Settings = load(arguments.config)
        self.started = clock.now()
        self.context: Context | None = None
        self.groups: list[list[Listener]] = []
        self.shared: list[Listener] = []
        self._title = ""

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
        self.groups = [self._bind(settings) for _ in range(settings.workers(self.kind.name))]
        drop(identity)
        self.lock = take_lock(settings, self.kind.name)
        check_accounts(settings)
        check_mailstores(settings)
        self.shared = [
            Listener(bind_unix(settings.ipc_path(name), LMTP_MODE), role=name)
            for name in self.kind.unix_sockets(settings)
        ]
        for listener in (*self.shared, *(one for group in self.groups for one in group)):
            listener.socket.listen(BACKLOG)
        if not self.shared and not self.groups[0]:
            raise Refused(f"{self.kind.name}-listen: there is nowhere to listen")
        settle()

    def run(self) -> int:
        """Keep the workers running until told to stop; returns the exit status."""
        supervisor = Supervisor(self.log, grace_s=self.settings.shutdown_grace + 4, tick=self._tick)
        self.supervisor = supervisor
        self.crew = Crew(supervisor, self.groups, self.shared, self._work, self.log)
        self.crew.complete = self._complete
        self.crowd = Crowd(len(self.crew.board.slots))
        self.crew.gone = lambda slot: self.crowd.clear(slot.number)
        supervisor.on.update(
            {
                signal.SIGTERM: self.stop,
                signal.SIGINT: self.stop,
                signal.SIGHUP: self.write_statistics,
                signal.SIGUSR1: self.reload,
            }
        )
        if self.parent.liveness is not None:
            supervisor.watch(self.parent.liveness, self.stop)
        if self.parent.handover is not None:
            supervisor.watch(self.parent.handover.fileno(), self.take_over)
        gc.collect()
        gc.freeze()
        announce(self.settings, self.log)
        self.crew.start()
        listening = " ".join(listener.name for listener in (*self.groups[0], *self.shared))
        self.log.info("started", workers=len(self.groups), listening=listening)
        status = supervisor.run()
        self.log.info("ended")
        self.lock.release()
        return status

    def stop(self) -> None:
        """Close the doors and let the workers end."""
        if self.supervisor.stopping:
            return
        if self.parent.liveness is not None:
            self.supervisor.unwatch(self.parent.liveness)
        if self.parent.handover is not None:
            self.supervisor.unwatch(self.parent.handover.fileno())
        for listener in self.shared:
            close_unix(listener.socket)
        self.crew.close()
        self.supervisor.stop()

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
            return
        kept = {name: getattr(self.settings, name) for name in FIXED}
        for name, value in kept.items():
            if getattr(found, name) != value:
                self.log.warning("needs-restart", option=name.replace("_", "-"))
        self.settings, self.context = dataclasses.replace(found, **kept), context
        self.log.info("reloaded")
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
        self.lock.forget()
        door = self.crowd.door(slot.number, self.settings)
        work = Work(self.kind, self.settings, number, listeners, self.context, slot, door, parent, self.log)
        return run_worker(work)

    def _bind(self, settings: Settings) -> list[Listener]:
        name = self.kind.name
        found = []
        for address in settings.listen(name):
            found += [Listener(sock) for sock in bind_tcp(f"{name}-listen", address)]
        for address in settings.tls_listen(name):
            found += [Listener(sock, tls=True) for sock in bind_tcp(f"{name}-tls-listen", address)]
        return found

    def _complete(self) -> None:
        self.log.info("ready")
        self._tick()
        self.parent.tell("ready")

    def _tick(self) -> None:
        self.parent.tell("alive")
        running, sessions = self.supervisor.running(), self.crew.count("sessions")
        doing = ", stopping" if self.supervisor.stopping else ""
        title = f"m-store: {self.kind.name} [{running} workers, {sessions} sessions{doing}]"
        if title != self._title:
            self._title = title
            setproctitle(title)


def main(kind: Kind, argv: Sequence[str] | None = None) -> int:
    """Run a daemon from its command line; returns the exit status."""
    arguments = read_arguments(kind.name, kind.purpose, argv)
    try:
        daemon = Daemon(kind, arguments)
        daemon.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse(kind.name, arguments.parent, str(error))
    return daemon.run()
