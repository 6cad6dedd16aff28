"""A site in a directory, without processes: settings, accounts, a real store; sessions run in threads."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mstore.accounts import AccountRecord, Accounts, Administrators, LoginRules
from mstore.accounts.database import SCHEMAS, create_database
from mstore.base.options import Settings
from mstore.net.service import Service, Tally
from mstore.net.stream import Stream
from mstore.store.access import Access
from mstore.store.store import Store
from tests.kit.authority import Authority
from tests.kit.scripted import RunsSession

MAILSTORE = "main"
SLOW_POLL_S = 0.2


class MailHost:
    """Settings, accounts and a store below one directory."""

    def __init__(self, root: Path, **settings: Any) -> None:
        for name in ("db", "etc", "ipc", "log", "run", "spool", "mail"):
            (root / name).mkdir()
        plain = {"server_name": "mail.example.org", "single_domain": True, "default_mailboxes": False}
        settings = {**plain, **settings}
        self.settings = Settings(ms_path=root, mailstores={MAILSTORE: root / "mail"}, **settings)
        for schema in SCHEMAS:
            create_database(root / "db", schema, 0o600)
        rules = LoginRules.of(self.settings.default_domain, self.settings.single_domain)
        administrators = Administrators.of(self.settings.admin_users, self.settings.admin_domain, rules)
        self.accounts = Accounts(root / "db", rules, administrators, self.settings.mailstores)
        self.store = Store(self.settings.mailstores)
        self.authority = Authority(self.accounts)
        self.counters = Tally()
        self.tls: Any = None

    def close(self) -> None:
        """Close store and databases, and what sessions had open to the authority."""
        self.authority.close()
        self.store.close()
        self.accounts.close()

    def add(self, name: str, password: str = "secret") -> AccountRecord:
        """Make an account that can log in."""
        self.authority.passwords[name.encode()] = password.encode()
        return self.accounts.add(name, MAILSTORE)

    def account(self, name: str) -> Any:
        """The opened account of this name."""
        record = self.accounts.find(name)
        assert record is not None
        return self.store.account(record)

    def superuser(self) -> Access:
        """The site's mail, as msadm may see it."""
        return Access(self.store, self.accounts, None, is_superuser=True)

    def service(self, **changes: Any) -> Service:
        """What sessions of this host are given."""
        authenticate = self.authority.client(changes.get("settings", self.settings))
        service = Service(self.settings, self.store, self.accounts, authenticate, self.tls, self.counters)
        return replace(service, **{"trusted": True, **changes})

    def messages(self, name: str, mailbox_name: str = "INBOX") -> list[bytes]:
        """All messages of a mailbox, in the order of their UIDs."""
        mailbox = self.account(name).open(mailbox_name)
        try:
            mailbox.refresh()
            return [mailbox.read(row) for row in mailbox.view(recent=False).rows.tolist()]
        finally:
            mailbox.release()

    @contextmanager
    def connected(self, make: Callable[[Stream, Service], RunsSession]) -> Iterator[socket.socket]:
        """A client's socket, with a session at the other end in a thread that ends with the block."""
        client, server = socket.socketpair()
        client.settimeout(20)
        thread = threading.Thread(target=_serve, args=(make, server, self.service()))
        thread.start()
        try:
            yield client
        finally:
            client.close()
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def following(host: MailHost) -> Iterator[None]:
    """Hand on changes to the mailboxes that sessions wait on, as a worker does, within the block.

    Two users of a mailbox have two objects of it, and neither tells the other.
    """
    notifier = host.store.notifier
    wake, stop = os.pipe()

    def follow() -> None:
        def wait() -> list[int]:
            watched = select.poll()
            for fd in (wake, notifier.fileno()):
                if fd >= 0:
                    watched.register(fd, select.POLLIN)
            return [fd for fd, _ in watched.poll(SLOW_POLL_S * 1000)]

        while wake not in (ready := wait()):
            notifier.handle() if ready else notifier.poll_all()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        os.close(stop)
        thread.join(30)
        os.close(wake)
        assert not thread.is_alive()


class Listener:
    """A Unix socket at which each connection is served by a session in a thread, one after the other."""

    def __init__(self, host: MailHost, make: Callable[[Stream, Service], RunsSession], path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.fspath(path))
        self._socket.listen()
        self._host = host
        self._make = make
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            _serve(self._make, connection, self._host.service())


def _serve(
    make: Callable[[Stream, Service], RunsSession], connection: socket.socket, service: Service
) -> None:
    stream = Stream(connection)
    try:
        make(stream, service).run()
    finally:
        stream.close()
