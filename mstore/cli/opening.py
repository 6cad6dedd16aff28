"""The mail as msadm opens it: what is done to it is whoever's who runs msadm, for the audit log."""

from __future__ import annotations

from mstore.accounts.accounts import Accounts
from mstore.base.log import Log, open_sink
from mstore.cli.acting import actor_of
from mstore.cli.site import Site
from mstore.store.acts import Actor, act_as
from mstore.store.audit import Auditor
from mstore.store.store import Store


def open_store(site: Site, accounts: Accounts) -> Store:
    """The mail; to be called as the user that it belongs to (``become_runtime_user``)."""
    settings, store = site.settings, Store.of(site.settings)
    if settings.audit_log:
        act_as(Actor(actor_of(site)))
        log = Log(open_sink(settings, "msadm"), daemon="msadm")
        store.auditor = Auditor(log, store, accounts, settings.audit_log, settings.audit_messages)
    return store
