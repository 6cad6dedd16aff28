"""The names of mailboxes, quickly: read from the catalogs alone, without opening the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from mstore.accounts.accounts import AccountRecord
from mstore.base.errors import MStoreError
from mstore.cli.site import Site
from mstore.store.catalog import Catalog
from mstore.store.moving import path_of
from mstore.store.names import INBOX
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX

_MOST_USERS = 20
"""So many users' mailboxes at most are offered by their full names."""


def mailboxes_of(site: Site, user: str) -> Iterator[str]:
    """The mailboxes of a user, by name. The process has the runtime user's rights afterwards."""
    record = site.accounts().find(user)
    if record is not None:
        site.become_runtime_user(preload=False)
        yield from _read(site, record)


def find_places(site: Site, begun: str) -> Iterator[str]:
    """What may be the first word that names a mailbox: a user, or a mailbox in full.

    The process has the runtime user's rights afterwards.
    """
    records = site.accounts().list()
    shared = site.accounts().shared()
    yield from (record.name for record in records)
    site.become_runtime_user(preload=False)
    if shared is not None and (SHARED_PREFIX.startswith(begun) or begun.startswith(SHARED_PREFIX)):
        yield from (SHARED_PREFIX + name for name in _read(site, shared) if name != INBOX)
    if begun.startswith(OTHERS_PREFIX):
        user, slash, _ = begun.removeprefix(OTHERS_PREFIX).partition("/")
        meant = [record for record in records if record.name.startswith(user)]
        if slash:
            meant = [record for record in meant if record.name == user]
        for record in meant[:_MOST_USERS]:
            yield from (f"{OTHERS_PREFIX}{record.name}/{name}" for name in _read(site, record))


def _read(site: Site, record: AccountRecord) -> list[str]:
    mailstore = site.settings.mailstores.get(record.mailstore)
    if mailstore is None:
        return []
    catalog = Catalog(path_of(mailstore, record.id), record.id)
    with suppress(MStoreError):
        catalog.refresh()
    return sorted(catalog.state.entries)
