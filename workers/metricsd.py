"""metricsd: answers ``GET /metrics`` with the counters of the other daemons, for Prometheus.

It reads their scoreboards and nothing else, has no rights and no part in their work, and the kernel holds it
to that (``confine.py``).
"""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from setproctitle import setproctitle

from mstore.base import clock
from mstore.base.boardfile import HEARTBEAT
from mstore.base.config import ConfigErrors, load
from mstore.base.log import begin_log
from mstore.base.options import Settings
from mstore.base.preload import EVENT_LOOP, load_encodings, load_modules
from workers.arguments import Arguments, read_arguments
from workers.claim import Claim
from workers.confine import announce, confine_metricsd
from workers.inherited import Inherited
from workers.listeners import BACKLOG, Listener, bind_unix, make_groups
from workers.memory import Memory
from workers.metrics import make_registry
from workers.parent import Refused, refuse
from workers.places import METRICSD as NAME
from workers.places import tcp_places
from workers.privileges import drop, find_group, find_identity, prepare_directories, settle
from workers.reporting import note_memory
from workers.requests import NAME as STOREMGR
from workers.resting import Resting
from workers.scoreboard import Scoreboard

PURPOSE = "Show the counters of a message store to Prometheus."
MOST_AT_ONCE = 16
LOOK_S = 10.0
SOCKET_MODE = 0o660
LONGEST_S = 10.0
"""So long may a connection last, with all its requests."""


class Handler(WSGIHandler):  # type: ignore[misc, unused-ignore]
    """One connection, for a limited time."""

    def handle(self) -> None:
        """Answer its requests."""
        with gevent.Timeout(LONGEST_S, False):
            super().handle()


class Metricsd:
    """The running daemon."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.parent = arguments.parent
        self.settings: Settings = load(arguments.config)
        self.log = begin_log(self.settings, NAME)
        self._scrapes = 0
        self._title = ""
        self._look_s = 0.0
        """When to look at our memory again."""

    def prepare(self) -> None:
        """Bind, give up rights, and listen.

        Raises: Refused
        """
        settings = self.settings
        if not settings.metrics_listen:
            raise Refused("metrics-listen: there is nowhere to listen")
        identity = find_identity(settings)
        prepare_directories(settings, identity)
        group = find_group("metrics-socket-group", settings.metrics_socket_group, identity.gid)
        inherited = Inherited.of(self.arguments.listeners)
        self.listeners = make_groups(tcp_places(settings, NAME), inherited, 1)[0]
        inherited.close_rest(self.log)
        load_encodings()
        load_modules(EVENT_LOOP)
        names = settings.services() if self.parent.liveness is None else (STOREMGR, *settings.services())
        boards = {name: settings.scoreboard_path(name) for name in names}
        self._registry = make_registry(boards, {"ms-path": settings.ms_path, **settings.mailstores})
        generate_latest(self._registry)  # What that imports late is out of reach later.
        drop(dataclasses.replace(identity, ipc_gid=group))
        self.claim = Claim.lay(settings, NAME, clock.now(), self.arguments.is_successor)
        self.listeners += [
            Listener(bind_unix(place, SOCKET_MODE, group))
            for place in settings.metrics_listen
            if isinstance(place, Path)
        ]
        for listener in self.listeners:
            listener.socket.listen(BACKLOG)
        self.board = Scoreboard(0, settings.scoreboard_path(NAME), NAME, clock.now())
        settle()
        self._memory = Memory()
        try:
            confine_metricsd(settings, self.log)
        except OSError as error:
            raise Refused(f"confine-workers: {error.strerror} (off goes without)") from error

    def run(self) -> int:
        """Answer until told to stop; returns the exit status."""
        ending = self._watch()
        pool = Pool(MOST_AT_ONCE)
        servers = []
        for listener in self.listeners:
            sock = gevent.socket.socket(fileno=listener.socket.detach())
            sock.setblocking(False)
            # Without a name it would look one up.
            environ = {"SERVER_NAME": self.settings.server_name}
            server = WSGIServer(
                sock, self.answer, spawn=pool, log=None, handler_class=Handler, environ=environ
            )
            servers.append(server)
            servers[-1].start()
        self._look()
        announce(self.settings, self.log)
        self.log.info("started", listening=" ".join(map(str, self.settings.metrics_listen)))
        self.parent.tell("ready")
        resting = Resting()
        while not ending.wait(resting.pause_s()):
            self.parent.tell("alive")
            is_waiting = self.claim.is_waiting
            if self.claim.take_over():
                self.parent.tell("in-charge")
            resting.note(self._look() or is_waiting)
        self.claim.release()
        for server in servers:
            server.stop(timeout=1)
        self.board.own.set(HEARTBEAT, 0)
        self.log.info("ended")
        return 0

    def answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """The page, or why not (WSGI, PEP 3333)."""
        kind = [("Content-Type", "text/plain; charset=utf-8")]
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", kind)
            return [b"The page is /metrics.\n"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [*kind, ("Allow", "GET, HEAD")])
            return [b"Only GET and HEAD.\n"]
        self._scrapes += 1
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [generate_latest(self._registry)]

    def _look(self) -> bool:
        """Beat, and show in the title and on the page what we do; whether that is something new."""
        self.board.own.beat()
        if clock.steady() >= self._look_s:
            self._look_s = clock.steady() + LOOK_S
            note_memory(self.board.own, self._memory.read())
        title = f"m-store: {NAME} [{self._scrapes} scrapes]"
        is_new = title != self._title
        if is_new:
            self._title = title
            setproctitle(title)
        return is_new

    def _watch(self) -> Event:
        loop, ending = gevent.get_hub().loop, Event()
        watchers = [loop.signal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        if self.parent.liveness is not None:
            # Under storemgr a reload is a restart.
            watchers += [loop.signal(signal.SIGUSR1), loop.io(self.parent.liveness, 1)]

        def end() -> None:
            for watcher in watchers:
                watcher.stop()
            ending.set()

        for watcher in watchers:
            watcher.start(end)
        self._hangup = loop.signal(signal.SIGHUP)
        self._hangup.start(lambda: None)  # It has no statistics, and storemgr sees to a new log.
        return ending


def main(argv: Sequence[str] | None = None) -> int:
    """Run metricsd from its command line; returns the exit status."""
    arguments = read_arguments(NAME, PURPOSE, argv)
    try:
        metricsd = Metricsd(arguments)
        metricsd.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse(NAME, arguments.parent, str(error))
    return metricsd.run()


if __name__ == "__main__":
    sys.exit(main())
