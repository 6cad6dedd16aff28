"""authproxyd: checks passwords for the other daemons; the only process that reads a password verifier.

It opens its database while it has the right to, gives up its rights, and answers the one-command protocol
(``mstore.auth.server``) on ``ipc/authproxyd`` in a single process. Hashing runs in threads, one per core.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import gevent
from gevent.event import Event
from setproctitle import setproctitle

from mstore.accounts import Accounts, LoginRules
from mstore.auth.defence import Defence
from mstore.auth.mechanism import Mechanism, check_mechanism, make_mechanism
from mstore.auth.server import Server, version_text
from mstore.base import blocking, clock
from mstore.base.config import ConfigErrors, load
from mstore.base.errors import Invalid, MStoreError
from mstore.base.log import Log, capture_logging
from mstore.base.options import Settings
from mstore.base.preload import EVENT_LOOP, load_encodings, load_modules
from workers.arguments import Arguments, read_arguments
from workers.checks import check_accounts, check_databases, take_lock
from workers.connections import Connections, drain
from workers.cooperative import Cooperative, take_over_errors
from workers.listeners import BACKLOG, Listener, bind_unix
from workers.parent import Parent, Refused, refuse
from workers.privileges import drop, find_identity, prepare_directories, raise_file_limit, settle
from workers.scoreboard import Scoreboard
from workers.statistics import append_block, format_block

NAME = "authproxyd"
PURPOSE = "Check passwords for the daemons of a message store."
MODE = 0o600


def open_mechanism(settings: Settings) -> Mechanism:
    """Make the mechanism of the configuration ready, while we may.

    Raises: Refused
    """
    rules = LoginRules.of(settings.default_domain, settings.single_domain)
    try:
        if settings.authproxy_legacy_authmech is not None:
            check_mechanism(settings.authproxy_legacy_authmech)
        policy = settings.ms_assignment_policy
        accounts = Accounts(settings.db_path, rules, None, settings.mailstores, policy)
        return make_mechanism(settings.authproxy_authmech, settings.db_path, accounts, settings)
    except Invalid as error:
        raise Refused(f"authproxy-authmech: {error}") from error
    except MStoreError as error:
        raise Refused(str(error)) from error


class Question:
    """One client of authproxyd, as a session."""

    __slots__ = ("_authproxyd", "_sock", "idle", "user")

    def __init__(self, sock: Any, authproxyd: Authproxyd) -> None:
        self._sock = sock
        self._authproxyd = authproxyd
        self.idle = False
        self.user: str | None = None

    def run(self) -> None:
        """Answer it."""
        self._authproxyd.count(self._authproxyd.server.handle(self._sock))

    def stop(self) -> None:
        """Nothing: an answer is never long in coming."""


class Authproxyd:
    """The running daemon."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.parent: Parent = arguments.parent
        self.log = Log(daemon=NAME)
        self.settings: Settings = load(arguments.config)
        self.started = clock.now()
        self.accepted = self.refused = 0
        self._title = ""

    def prepare(self) -> None:
        """Open what needs rights, give them up, and listen.

        Raises: Refused
        """
        settings = self.settings
        identity = find_identity(settings)
        raise_file_limit()
        check_databases(settings)
        prepare_directories(settings, identity)
        load_encodings()
        load_modules(EVENT_LOOP)
        self.mechanism = open_mechanism(settings)
        rules = LoginRules.of(settings.default_domain, settings.single_domain)
        self.server = Server(self.mechanism, gate=Defence(settings.trusted_networks, rules))
        drop(identity)
        self.lock = take_lock(settings, NAME)
        check_accounts(settings)
        self.listener = Listener(bind_unix(settings.ipc_path(NAME), MODE), role=NAME)
        self.listener.socket.listen(BACKLOG)
        settle()

    def run(self) -> int:
        """Answer until told to stop; returns the exit status."""
        take_over_errors(self.log)
        capture_logging(self.log)
        waiting = Cooperative(self.log, threads=len(os.sched_getaffinity(0)))
        blocking.install(waiting)
        slot = Scoreboard(1).slots[0]
        connections = Connections([self.listener], self._make_session, None, slot, self.log)
        ending = self._watch_signals()
        waiting.spawn(self._beat)
        connections.start()
        self.log.info("started", mechanism=self.settings.authproxy_authmech, listening=self.listener.name)
        self.parent.tell("ready")
        ending.wait()
        self.log.info("stopping")
        with contextlib.suppress(OSError):  # Removed by somebody: then nobody comes in any case.
            os.unlink(self.settings.ipc_path(NAME))
        drain(connections, self.settings.shutdown_grace, lambda: None)
        self.mechanism.close()
        self.log.info("ended")
        self.lock.release()
        return 0

    def count(self, verdict: Any) -> None:
        """Remember how a question was answered."""
        if verdict is not None:
            self.accepted += verdict.ok
            self.refused += not verdict.ok

    def write_statistics(self) -> None:
        """Append a block of statistics to ``log/authproxyd.stats``."""
        rows: list[tuple[str, object]] = [
            ("mechanism", self.settings.authproxy_authmech),
            ("ok", self.accepted),
            ("no", self.refused),
        ]
        path = self.settings.stats_path(NAME)
        try:
            append_block(path, format_block(NAME, os.getpid(), self.started, clock.now(), rows))
        except OSError as error:
            self.log.error("statistics-failed", path=path, error=error.strerror or error)

    def _make_session(self, sock: Any, peer: str, listener: Listener) -> tuple[Any, Question]:
        return sock, Question(sock, self)

    def _watch_signals(self) -> Event:
        loop = gevent.get_hub().loop
        ending = Event()
        self._watchers = [loop.signal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        if self.parent.liveness is not None:
            # Under storemgr a reload is a restart: rights are needed to open the database again.
            self._watchers += [loop.signal(signal.SIGUSR1), loop.io(self.parent.liveness, 1)]

        def end() -> None:
            for watcher in self._watchers:
                watcher.stop()
            ending.set()

        for watcher in self._watchers:
            watcher.start(end)
        self._hangup = loop.signal(signal.SIGHUP)
        self._hangup.start(self.write_statistics)
        if self.parent.liveness is None:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return ending

    def _beat(self) -> None:
        while True:
            self.parent.tell("alive")
            mechanism = self.settings.authproxy_authmech
            title = f"m-store: {NAME} [{mechanism}, {self.accepted} ok {self.refused} no]"
            if title != self._title:
                self._title = title
                setproctitle(title)
            gevent.sleep(1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run authproxyd from its command line; returns the exit status."""
    arguments = read_arguments(NAME, PURPOSE, argv, version_text())
    try:
        authproxyd = Authproxyd(arguments)
        authproxyd.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse(NAME, arguments.parent, str(error))
    return authproxyd.run()


if __name__ == "__main__":
    sys.exit(main())
