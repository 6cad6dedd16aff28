"""authproxyd: judges logins for the other daemons; the only process that reads what is kept of passwords.

It opens its database, its keys and its plugins while it has the right to, gives up its rights (unless a
mechanism needs them, as ``shadow`` and ``pam`` do), and answers in a single process: the one-command protocol
(``mstore.auth.server``) on ``ipc/authproxyd``, exchanges (``mstore.auth.exchanges``) on
``ipc/authproxyd-sasl``. Hashing runs in threads, one per core; what waits for others, in threads of its kind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from setproctitle import setproctitle

from mstore.accounts import Accounts, Administrators, LoginRules
from mstore.accounts.passwords import Passwords
from mstore.auth import introspection
from mstore.auth.defence import Defence
from mstore.auth.exchanges import ExchangeServer
from mstore.auth.judge import Site
from mstore.auth.keying import Keeping
from mstore.auth.mechanism import (
    AUTHDB,
    Mechanism,
    Sources,
    StartTls,
    check_mechanisms,
    keeps_superuser,
    make_mechanism,
    no_tls,
    unavailable_mechanisms,
)
from mstore.auth.offers import own_offers
from mstore.auth.sasl.plugins import load_plugins
from mstore.auth.sasl.table import OWN
from mstore.auth.server import Server, version_text
from mstore.auth.tokens import Tokens
from mstore.auth.verdict import Verdict
from mstore.base import blocking, clock
from mstore.base.boardfile import HEARTBEAT
from mstore.base.config import ConfigErrors, load
from mstore.base.errors import MStoreError
from mstore.base.log import begin_log, capture_logging, flush
from mstore.base.options import Settings
from mstore.base.preload import EVENT_LOOP, load_encodings, load_modules
from mstore.net.service import tell_nobody
from mstore.net.tls import make_client_context, start_client_tls
from workers import logfile
from workers.arguments import Arguments, read_arguments
from workers.checks import check_accounts, check_databases
from workers.claim import Claim
from workers.confine import announce, confine_authproxyd, runs_programs
from workers.connections import Connections, drain
from workers.cooperative import Cooperative, take_over_errors
from workers.inherited import Inherited
from workers.listeners import BACKLOG, Listener, open_unix
from workers.memory import Memory
from workers.parent import Parent, Refused, refuse
from workers.peers import peer_uid
from workers.places import SASL, unix_places
from workers.privileges import (
    acting_as,
    drop,
    find_identity,
    name_user,
    prepare_directories,
    raise_file_limit,
    settle,
)
from workers.reporting import note_load, note_memory
from workers.resting import Resting
from workers.scoreboard import POOL_WAIT
from workers.statistics import append_block, format_block

NAME = "authproxyd"
PURPOSE = "Check passwords for the daemons of a message store."
RESPONSE_MORE_S = 60
"""So much longer than a daemon's own limit is waited for its client's response."""


def open_passwords(settings: Settings) -> Passwords | None:
    """Open what is kept of passwords, while we may; None where ``authdb`` is not what judges.

    Raises: Refused
    """
    if settings.authproxy_authmech != AUTHDB:
        return None
    passwords = Passwords(settings.db_path)
    try:
        passwords.open()
        passwords.site_key()
    except MStoreError as error:
        raise Refused(str(error)) from error
    return passwords


def open_mechanism(settings: Settings, accounts: Accounts, passwords: Passwords | None) -> Mechanism:
    """Make the mechanism of the configuration ready, while we may.

    Raises: Refused
    """
    start_tls: StartTls = no_tls
    try:
        if set(settings.authentication().values()) != {AUTHDB}:
            tls = make_client_context(settings.authproxy_rimap_tls_verify, settings.authproxy_rimap_tls_ca)
            start_tls = partial(start_client_tls, tls)
        return make_mechanism(Sources(settings, accounts, start_tls, passwords))
    except Exception as error:
        # One that the site has added may raise anything.
        text = str(error) if isinstance(error, MStoreError) else f"{type(error).__name__}: {error}"
        raise Refused(text) from error


def refuse_problems(problems: list[str]) -> None:
    """Pass when there are none.

    Raises: Refused, naming all of them
    """
    if problems:
        raise Refused("\n".join(problems))


def open_site(
    settings: Settings, mechanism: Mechanism, accounts: Accounts, passwords: Passwords | None = None
) -> Site:
    """What exchanges need besides, opened while we may.

    Raises: Refused
    """
    try:
        tls = make_client_context(True, settings.oauth_introspection_ca) if settings.asks_over_tls else None
        tokens = Tokens.of(settings, tls)
    except MStoreError as error:
        raise Refused(str(error)) from error
    gate = Defence(settings.trusted_networks, accounts.rules)
    iterations = dict(Keeping.of(settings).scram)
    return Site(mechanism, accounts, passwords, tokens, gate, settings.default_domain, iterations)


def make_exchanges(settings: Settings, site: Site) -> ExchangeServer:
    """The framed protocol, with the mechanisms that are switched on, those of plugins among them.

    Raises: Refused
    """
    try:
        plugins = load_plugins(settings.plugins_path)
    except MStoreError as error:
        raise Refused(str(error)) from error
    mechanisms = {**OWN, **{plugin.offer.name: plugin for plugin in plugins}}
    on = [plugin.offer for plugin in plugins if settings.may_use(plugin.offer.name.lower())]
    offers = [*on, *own_offers(settings)]
    return ExchangeServer(site, mechanisms, offers, settings.login_timeout + RESPONSE_MORE_S)


def is_trusted(sock: Any, runtime_uid: int) -> bool:
    """Whether the process at the other end of a Unix socket is root's or the runtime user's."""
    return peer_uid(sock) in (0, runtime_uid)


class Question:
    """One client of authproxyd, as a session."""

    __slots__ = ("_authproxyd", "_server", "_sock", "idle", "on_login", "user")

    def __init__(self, sock: Any, authproxyd: Authproxyd, server: Server | ExchangeServer) -> None:
        self._sock = sock
        self._authproxyd = authproxyd
        self._server = server
        self.idle = False
        self.user: str | None = None
        self.on_login: Callable[[], object] = tell_nobody

    def run(self) -> None:
        """Answer it, if it is one of ours who asks."""
        if not is_trusted(self._sock, self._authproxyd.identity.uid):
            self._authproxyd.log.warning("stranger", reason="neither root nor runtime-user")
            return
        self._server.handle(self._sock, self._authproxyd.count)

    def stop(self) -> None:
        """Nothing: an answer comes by itself, and who has none when the time is over asks again."""


class Authproxyd:
    """The running daemon."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.parent: Parent = arguments.parent
        self.settings: Settings = load(arguments.config)
        self.log = begin_log(self.settings, NAME)
        self.started = clock.now()
        self.accepted = self.refused = 0
        self._memory = Memory()
        self._is_hurried = False
        self._title = ""

    def prepare(self) -> None:
        """Open what needs rights, give them up, and listen.

        Raises: Refused
        """
        settings = self.settings
        identity = find_identity(settings)
        raise_file_limit()
        check_databases(settings)
        refuse_problems(unavailable_mechanisms(settings))
        is_superuser = keeps_superuser(settings) and os.geteuid() == 0 and identity.uid != 0
        prepare_directories(settings, identity)
        load_encodings()
        load_modules(EVENT_LOOP)
        rules = LoginRules.of(settings.default_domain, settings.single_domain)
        administrators = Administrators.of(settings.admin_users, settings.admin_domain, rules)
        policy = settings.ms_assignment_policy
        accounts = Accounts(settings.db_path, rules, administrators, settings.mailstores, policy)
        passwords = open_passwords(settings)
        self.mechanism = open_mechanism(settings, accounts, passwords)
        site = open_site(settings, self.mechanism, accounts, passwords)
        self.server = Server(self.mechanism, gate=site.gate)
        self.exchanges = make_exchanges(settings, site)
        if not is_superuser:
            drop(identity, may_run_programs=runs_programs(settings))
        refuse_problems(check_mechanisms(settings))
        self.identity, self.is_superuser = identity, is_superuser
        with acting_as(identity):
            self.claim = Claim.lay(settings, NAME, self.started, self.arguments.is_successor)
            check_accounts(settings)
            self.board = self.claim.make_board(1)
            inherited = Inherited.of(self.arguments.listeners)
            self.listeners = [open_unix(place, inherited) for place in unix_places(settings, NAME)]
            inherited.close_rest(self.log)
        for listener in self.listeners:
            listener.socket.listen(BACKLOG)
        settle()
        try:
            confine_authproxyd(settings, self.log)
        except OSError as error:
            raise Refused(f"confine-workers: {error.strerror} (off goes without)") from error

    def run(self) -> int:
        """Answer until told to stop; returns the exit status."""
        take_over_errors(self.log)
        capture_logging(self.log)
        threads = len(os.sched_getaffinity(0))
        if self.settings.oauth_introspection_url is not None:
            threads += introspection.MOST_AT_ONCE  # Who waits for the network keeps nobody from hashing.
        slot = self.board.slots[0]
        observe = partial(slot.observe, POOL_WAIT)
        self.waiting = waiting = Cooperative(self.log, threads=threads, observe=observe)
        blocking.install(waiting)
        connections = Connections(self.listeners, self._make_session, None, slot, self.log)
        ending = self._watch_signals()
        waiting.spawn(self._beat, connections, waiting)
        connections.start()
        announce(self.settings, self.log)
        legacy, user = self.settings.authproxy_legacy_authmech, name_user(os.geteuid())
        mechanism = self.settings.authproxy_authmech
        listening = " ".join(listener.name for listener in self.listeners)
        self.log.info("started", mechanism=mechanism, legacy=legacy, user=user, listening=listening)
        self.parent.tell("ready")
        ending.wait()
        self.log.info("stopping")
        for listener in self.listeners:
            if not listener.is_lent:
                with contextlib.suppress(OSError):  # Removed by somebody: then nobody comes in any case.
                    os.unlink(self.settings.ipc_path(listener.role))
        self.claim.release()  # What is still to be answered keeps nobody from taking our place.
        self.exchanges.stop()
        wake = waiting.wake if self._is_hurried else lambda: None
        drain(connections, self.settings.shutdown_grace, lambda: None, wake)
        self.mechanism.close()
        self.board.own.set(HEARTBEAT, 0)
        self.log.info("ended")
        return 0

    def count(self, verdict: Verdict) -> None:
        """Remember how a question was answered."""
        self.accepted += verdict.ok
        self.refused += not verdict.ok
        mechanism = verdict.mechanism.lower() or "command"
        self.board.slots[0].add_of("logins" if verdict.ok else "login_failures", mechanism)

    def hang_up(self) -> None:
        """What SIGHUP asks for: a log file opened anew, and statistics."""
        if logfile.is_ours(self.settings, self.parent):
            logfile.reopen(self.settings, NAME, self.log)
        self.write_statistics()

    def write_statistics(self) -> None:
        """Append a block of statistics to ``log/authproxyd.stats``."""
        mechanisms = self.settings.authentication()
        rows: list[tuple[str, object]] = [
            *((name.removeprefix("authproxy-"), mechanism) for name, mechanism in mechanisms.items()),
            ("ok", self.accepted),
            ("no", self.refused),
        ]
        path = self.settings.stats_path(NAME)
        try:
            owner = (self.identity.uid, self.identity.gid) if self.is_superuser else None
            append_block(path, format_block(NAME, os.getpid(), self.started, clock.now(), rows), owner)
        except OSError as error:
            self.log.error("statistics-failed", path=path, error=error.strerror or error)

    def hurry(self) -> None:
        """Let nobody wait any more: the whole is about to end, and sessions with it."""
        self._is_hurried = True
        self.waiting.wake()

    def _make_session(self, sock: Any, peer: str, listener: Listener) -> tuple[Any, Question]:
        return sock, Question(sock, self, self.exchanges if listener.role == SASL else self.server)

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
        self._hangup.start(self.hang_up)
        self._hurry = loop.signal(signal.SIGUSR2)
        self._hurry.start(self.hurry)
        if self.parent.liveness is None:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return ending

    def _beat(self, connections: Connections, waiting: Cooperative) -> None:
        slot, resting = self.board.slots[0], Resting()
        while True:
            self.parent.tell("alive")
            is_busy = self.claim.is_waiting or self._is_hurried
            if self.claim.take_over():
                self.parent.tell("in-charge")
            if self._is_hurried:
                self.waiting.wake()
            self.board.own.beat()
            is_busy |= not flush()
            slot.set("sessions", len(connections))
            note_load(slot, waiting.load())
            if resting.is_time_to_look():
                note_memory(slot, self._memory.read())
            title = f"m-store: {NAME} [{self._describe()}, {self.accepted} ok {self.refused} no]"
            resting.note(is_busy or title != self._title)
            if title != self._title:
                self._title = title
                setproctitle(title)
            waiting.sleep(resting.pause_s())

    def _describe(self) -> str:
        """The mechanism for the title, what it falls back to, and whether for it we stay superuser."""
        settings = self.settings
        words = [settings.authproxy_authmech]
        if settings.authproxy_legacy_authmech is not None:
            words.append(f"legacy {settings.authproxy_legacy_authmech}")
        if self.is_superuser:
            words.append("superuser")
        return ", ".join(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run authproxyd from its command line; returns the exit status."""
    arguments = read_arguments(NAME, PURPOSE, argv, version_text)
    try:
        authproxyd = Authproxyd(arguments)
        authproxyd.prepare()
    except (Refused, ConfigErrors) as error:
        return refuse(NAME, arguments.parent, str(error))
    return authproxyd.run()


if __name__ == "__main__":
    sys.exit(main())
