"""The life of a worker process, in order: event loop, service, accept, heartbeat, drain.

It is forked with everything loaded and its listeners bound; it makes its own event loop and everything that
must not cross a fork (databases, the store, threads). It ends when told to, or when its daemon is gone.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from setproctitle import setproctitle

from mstore.base import blocking, clock, measure
from mstore.base.log import Log, capture_logging, flush
from mstore.base.options import Settings
from mstore.base.values import Where
from mstore.net.peer import is_loopback
from mstore.net.service import Service
from mstore.net.stream import Stream
from mstore.net.trace import Tap
from workers import logfile
from workers.confine import confine_worker
from workers.connections import Connections, Entrance, MakeSession, Session, drain, start_tls
from workers.control import Control, bind_control
from workers.cooperative import Cooperative, take_over_errors
from workers.crowd import Door
from workers.listeners import Listener
from workers.memory import Memory
from workers.memorylimit import MemoryLimit
from workers.parent import Parent
from workers.reporting import make_observer, note_load, note_memory
from workers.resting import BEAT_S, Resting
from workers.scoreboard import POOL_WAIT, Slot
from workers.survey import SURVEYOR, survey_often
from workers.titles import Rate, format_activity, format_title
from workers.tracing import Tracing

COUNT_S = 10.0
"""So often the bytes of sessions that go on are counted."""
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
    surveys: bool = False
    """One of its workers finds out how much mail there is."""
    refusal: bytes = b""
    """What a client is told who cannot be served now, with the reason in it: ``%b``."""
    tap: type[Tap] | None = None
    """What shows its sessions in a trace."""


@dataclass(frozen=True)
class Work:
    """What a daemon hands to a worker over the fork."""

    kind: Kind
    settings: Settings
    number: int
    listeners: list[Listener]
    context: Any
    slot: Slot
    mailstores: Mapping[str, Slot]
    """Where one worker of lmtpd writes what it finds out of each mailstore."""
    door: Door
    parent: Parent
    log: Log


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
    """Says that the worker lives and what it does: once a second, at rest less often."""

    def __init__(
        self,
        work: Work,
        connections: Connections,
        waiting: Cooperative,
        memory: Memory,
        memory_limit: MemoryLimit,
    ) -> None:
        self._work = work
        self._connections = connections
        self._waiting = waiting
        self._memory = memory
        self._memory_limit = memory_limit
        self._rate = Rate()
        self._title = ""
        self._resting = Resting()
        self._stirred = Event()
        """Somebody has come."""
        connections.begun = self._stirred.set

    def beat(self) -> None:
        """Write heartbeat, gauges and title, and note whether anything happens."""
        sessions, idle = len(self._connections), self._connections.idle()
        slot = self._work.slot
        slot.set("sessions", sessions)
        slot.set("sessions_idle", idle)
        authenticated, selected = self._connections.states()
        slot.set("sessions_authenticated", authenticated)
        slot.set("sessions_selected", selected)
        note_load(slot, self._waiting.load())
        slot.beat()
        has_written = flush()
        self._memory_limit.check()
        commands_per_s = self._rate.per_s(slot.get("commands"))
        activity = format_activity(sessions, idle, commands_per_s)
        draining = "draining" if self._connections.stopping else ""
        title = format_title(f"{self._work.kind.name} worker {self._work.number}", activity, draining)
        self._resting.note(title != self._title or commands_per_s > 0 or not has_written)
        if title != self._title:
            self._title = title
            setproctitle(title)

    def run(self) -> None:
        """Beat until the process ends."""
        count_s = 0.0
        while True:
            self._stirred.clear()
            self.beat()
            if clock.steady() >= count_s:
                count_s = clock.steady() + COUNT_S
                self._connections.count_bytes()
            if self._resting.is_time_to_look():
                use = blocking.call(self._memory.read)
                note_memory(self._work.slot, use, self._work.number)
            self._pause()

    def _pause(self) -> None:
        """Pause as long as may be; who is at rest and has a visitor tells the daemon to look as well."""
        pause_s = self._resting.pause_s()
        if pause_s > BEAT_S and self._stirred.wait(pause_s):
            self._resting.note()
            self._work.parent.tell(f"stirred {os.getpid()}")
            pause_s = BEAT_S
        if pause_s == BEAT_S:
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


def follow_log(parent: Parent) -> Any:
    """Write to the file that the daemon hands over, whenever it does; while what this gives is kept."""
    channel = parent.handover
    if channel is None:
        return None
    watcher = gevent.get_hub().loop.io(channel.fileno(), 1)

    def take() -> None:
        if not logfile.receive(channel):
            watcher.stop()

    watcher.start(take)
    return watcher


def run_worker(work: Work) -> int:
    """Serve until told to stop; returns the exit status."""
    log = work.log.bind(worker=work.number)
    control = bind_control(work.settings, work.kind.name, os.getpid(), log)
    memory = Memory()
    memory_limit = MemoryLimit(
        work.settings.worker_memory_limit, lambda held: work.parent.tell(f"swollen {os.getpid()} {held}")
    )
    confine_worker(work.settings, log)
    take_over_errors(log)
    capture_logging(log)
    waiting = Cooperative(log, observe=partial(work.slot.observe, POOL_WAIT))
    blocking.install(waiting)
    measure.install(make_observer(work.slot))
    ending = Ending(work.parent.liveness)
    _following = follow_log(work.parent)

    tracing = Tracing(work.kind.tap)
    service = work.kind.make_service(work.settings, work.context, work.slot, log)
    service = dataclasses.replace(service, follower=tracing, admission=work.door)
    make_session = make_sessions(work.kind, service)
    connections = Connections(
        work.listeners, make_session, work.context, work.slot, log,
        Entrance(work.door, work.kind.refusal), work.settings.send_timeout,
    )  # fmt: skip
    pulse = Pulse(work, connections, waiting, memory, memory_limit)
    gevent.spawn_raw(pulse.run)
    tracing.connections = connections
    _control = Control(control, connections, tracing.serve, log) if control is not None else None
    if work.kind.surveys and work.number == SURVEYOR and work.settings.metrics_listen:
        gevent.spawn_raw(survey_often, service.store, work.mailstores, log)
    connections.start()
    work.parent.tell(f"ready {os.getpid()}")
    if ending.wait_any():
        connections.stop_accepting()
        log.info("retired", sessions=len(connections))
        if memory_limit.exceeded:
            connections.stop()  # Its sessions are what holds the memory; none is cut in a command.
        while len(connections) and not ending.told:
            ending.wait_end(1.0)
    log.info("draining", sessions=len(connections))
    drain(connections, work.settings.shutdown_grace, pulse.beat, waiting.wake)
    waiting.finish(UPKEEP_S)
    for part in (service.store, service.accounts):
        close = getattr(part, "close", None)
        if close is not None:
            close()
    log.info("ended")
    return 0
