"""The life of a worker process, in order: event loop, service, accept, heartbeat, drain.

It is forked with everything loaded and its listeners bound; it makes its own event loop and everything that
must not cross a fork (databases, the store, threads). It ends when told to, or when its daemon is gone.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event
from setproctitle import setproctitle

from mstore.base import blocking
from mstore.base.log import Log, capture_logging
from mstore.base.options import Settings
from mstore.base.values import Where
from mstore.net.peer import is_loopback
from mstore.net.service import Service
from mstore.net.stream import Stream
from workers.confine import confine_worker
from workers.connections import Connections, Entrance, MakeSession, Session, drain, start_tls
from workers.cooperative import Cooperative, take_over_errors
from workers.crowd import Door
from workers.listeners import Listener
from workers.parent import Parent
from workers.scoreboard import Slot

BEAT_S = 1.0
UPKEEP_S = 2.0
"""How long the end waits for upkeep of mailboxes under way; cut short, it is left to the next writer."""


@dataclass(frozen=True)
class Kind:
    """What makes one daemon different from another: its name, its sessions, what they are given."""

    name: str
    purpose: str
    session: Callable[[Stream, Service], Session]
    make_service: Callable[[Settings, Any, Slot, Log], Service]
    """Made in the worker, from settings, TLS context, counters and log."""
    unix_sockets: Callable[[Settings], tuple[str, ...]] = lambda settings: ()
    """Names of the sockets below ``ipc``."""
    protocol: str | None = None
    """Its name in ALPN (RFC 7301)."""
    refusal: bytes = b""
    """What a client is told who cannot be served now, with the reason in it: ``%b``."""


@dataclass(frozen=True)
class Work:
    """What a daemon hands to a worker over the fork."""

    kind: Kind
    settings: Settings
    number: int
    listeners: list[Listener]
    context: Any
    slot: Slot
    door: Door
    parent: Parent
    log: Log


def format_title(work: Work, sessions: int, idle: int, draining: bool) -> str:
    """What ``ps`` shows of a worker."""
    doing = ", draining" if draining else ""
    return f"m-store: {work.kind.name} worker {work.number} [{sessions} sessions, {idle} idle{doing}]"


class Ending:
    """When to end: at once (SIGTERM, SIGINT, the parent is gone), or as the sessions do (SIGUSR1)."""

    def __init__(self, liveness: int | None) -> None:
        self._end = Event()
        self._any = Event()
        loop = gevent.get_hub().loop
        self._watchers = [loop.signal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        if liveness is not None:
            self._watchers.append(loop.io(liveness, 1))
        for watcher in self._watchers:
            watcher.start(self._tell_end)
        retire = loop.signal(signal.SIGUSR1)
        retire.start(self._any.set)
        self._watchers.append(retire)

    @property
    def told(self) -> bool:
        """Whether the end is to come at once."""
        return bool(self._end.is_set())

    def wait_any(self) -> bool:
        """Wait for either; True when it is only to retire."""
        self._any.wait()
        return not self.told

    def wait_end(self, timeout_s: float) -> None:
        """Wait for being told to end at once."""
        self._end.wait(timeout_s)

    def _tell_end(self) -> None:
        for watcher in self._watchers:
            watcher.stop()  # An end of file stays readable: it would wake us for ever.
        self._end.set()
        self._any.set()


class Pulse:
    """Says once a second that the worker lives and what it does."""

    def __init__(self, work: Work, connections: Connections) -> None:
        self._work = work
        self._connections = connections
        self._title = ""

    def beat(self) -> None:
        """Write heartbeat, gauges and title."""
        self._connections.recognise()
        sessions, idle = len(self._connections), self._connections.idle()
        slot = self._work.slot
        slot.set("sessions", sessions)
        slot.set("sessions_idle", idle)
        slot.beat()
        title = format_title(self._work, sessions, idle, self._connections.stopping)
        if title != self._title:
            self._title = title
            setproctitle(title)

    def run(self) -> None:
        """Beat until the process ends."""
        while True:
            self.beat()
            gevent.sleep(BEAT_S)


def make_sessions(kind: Kind, service: Service) -> MakeSession:
    """How a connection becomes a session, with a service that suits where it came in and from."""
    trusted = dataclasses.replace(service, trusted=True)
    over_quota = dataclasses.replace(trusted, over_quota=True)
    settings = service.settings
    local = service
    if settings.cleartext_login_enable is Where.LOOPBACK:
        local = dataclasses.replace(
            service, settings=dataclasses.replace(settings, cleartext_login_enable=True)
        )

    def make(sock: Any, peer: str, listener: Listener) -> tuple[Stream, Session]:
        stream = Stream(sock, peer, listener.tls, wrap_tls=start_tls)
        if listener.role.endswith("-oq"):
            return stream, kind.session(stream, over_quota)
        if listener.role:
            return stream, kind.session(stream, trusted)
        is_local = local is not service and is_loopback(peer)
        return stream, kind.session(stream, local if is_local else service)

    return make


def run_worker(work: Work) -> int:
    """Serve until told to stop; returns the exit status."""
    log = work.log.bind(worker=work.number)
    confine_worker(work.settings, log)
    take_over_errors(log)
    capture_logging(log)
    waiting = Cooperative(log)
    blocking.install(waiting)
    ending = Ending(work.parent.liveness)

    service = work.kind.make_service(work.settings, work.context, work.slot, log)
    make_session = make_sessions(work.kind, service)
    connections = Connections(
        work.listeners, make_session, work.context, work.slot, log, Entrance(work.door, work.kind.refusal)
    )
    pulse = Pulse(work, connections)
    gevent.spawn_raw(pulse.run)
    connections.start()
    work.parent.tell("ready")
    if ending.wait_any():
        log.info("retired", sessions=len(connections))
        connections.stop_accepting()
        while len(connections) and not ending.told:
            ending.wait_end(1.0)
    log.info("draining", sessions=len(connections))
    drain(connections, work.settings.shutdown_grace, pulse.beat)
    waiting.finish(UPKEEP_S)
    for part in (service.store, service.accounts):
        close = getattr(part, "close", None)
        if close is not None:
            close()
    log.info("ended")
    return 0
