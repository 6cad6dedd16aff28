"""What the sessions of a worker share, made after the fork: accounts, store, the way to authproxyd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from mstore.accounts import Accounts, Administrators, LoginRules
from mstore.auth.client import AuthClient
from mstore.auth.offers import own_offers
from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.net.service import Service
from mstore.store.audit import Auditor
from mstore.store.store import Store
from workers.scoreboard import Slot
from workers.transport import connect_unix

SLOW_POLL_S = 5.0
"""How often changes are looked for that nobody tells of."""
REST_S = 10.0
"""How often the mailboxes of idle sessions give up their descriptors: there may be thousands."""


def make_service(settings: Settings, context: Any, slot: Slot, log: Log) -> Service:
    """Open everything that a session may need; what is a file is opened when first used."""
    rules = LoginRules.of(settings.default_domain, settings.single_domain)
    administrators = Administrators.of(settings.admin_users, settings.admin_domain, rules)
    policy = settings.ms_assignment_policy
    accounts = Accounts(settings.db_path, rules, administrators, settings.mailstores, policy)
    store = Store.of(settings, expires=True)
    if settings.audit_log:
        store.auditor = Auditor(log, store, accounts, settings.audit_log, settings.audit_messages)
    gevent.spawn_raw(follow_changes, store, log)
    look = store.notifier.poll_all
    gevent.spawn_raw(often, SLOW_POLL_S, look, lambda error: log.exception("notification-failed", error))
    gevent.spawn_raw(often, REST_S, store.rest, lambda error: log.exception("rest-failed", error))
    authenticate = AuthClient(settings.ipc_path("authproxyd-sasl"), own_offers(settings), connect_unix)
    gevent.spawn_raw(authenticate.learn)
    return Service(
        settings=settings,
        store=store,
        accounts=accounts,
        authenticate=authenticate,
        tls=context,
        counters=slot,
        log=log,
    )


def follow_changes(store: Store, log: Log) -> None:
    """Hand on what other processes change as soon as the system tells of it."""
    notifier = store.notifier
    noticed = Event()
    watchers = []

    def poll(fd: int) -> None:
        watchers.append(gevent.get_hub().loop.io(fd, 1))
        watchers[-1].start(noticed.set)

    notifier.on_open = poll
    if notifier.fileno() >= 0:
        poll(notifier.fileno())
    while True:
        noticed.wait()
        noticed.clear()
        try:
            notifier.handle()
        except Exception as error:
            log.exception("notification-failed", error)
            gevent.sleep(SLOW_POLL_S)


def often(every_s: float, act: Callable[[], object], tell: Callable[[Exception], object]) -> None:
    """Do something again and again, and tell of its faults."""
    while True:
        gevent.sleep(every_s)
        try:
            act()
        except Exception as error:
            tell(error)
