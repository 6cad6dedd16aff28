"""How mailboxes are named to msadm: ``USER NAME``, or in full as ``user/NAME/x`` or ``shared/x``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from mstore.accounts.accounts import Accounts
from mstore.base.errors import NotFound
from mstore.cli.opening import open_store
from mstore.cli.site import Site, did_you_mean, find
from mstore.store.access import Access
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX


@dataclass(frozen=True, slots=True)
class Names:
    """Full names of mailboxes, how to show them, and the words behind them."""

    full: tuple[str, ...]
    prefix: str
    """What is not shown of a full name, because the user was given apart from it."""
    rest: tuple[str, ...]

    def show(self, name: str) -> str:
        """A full name as the invoker would write it."""
        return name.removeprefix(self.prefix)


def read_names(accounts: Accounts, words: Sequence[str], count: int, rest: int = 0) -> Names:
    """Read so many names of mailboxes, and so many words behind them.

    No user's name has a slash, so the first word tells which of the two ways it is.
    Raises: NotFound when there is no such user; click's UsageError.
    """
    is_full = words[0].startswith((OTHERS_PREFIX, SHARED_PREFIX))
    expected = count + rest + (not is_full)
    if len(words) != expected:
        raise click.UsageError(f"{expected} words are needed here, not {len(words)}.")
    if is_full:
        full = tuple(words[:count])
        for name in full:
            if name.startswith(OTHERS_PREFIX):
                find(accounts, name.removeprefix(OTHERS_PREFIX).partition("/")[0])
            elif not name.startswith(SHARED_PREFIX):
                raise click.UsageError(f"{name}: a full name begins with user/ or shared/.")
        return Names(full, "", tuple(words[count:]))
    prefix = f"{OTHERS_PREFIX}{find(accounts, words[0]).name}/"
    return Names(tuple(prefix + name for name in words[1 : count + 1]), prefix, tuple(words[count + 1 :]))


def check_there(access: Access, names: Names, which: int = 0) -> None:
    """Pass a mailbox that there is.

    Raises: NotFound, with the nearest name there is of the same user, or among the shared ones.
    """
    name = names.full[which]
    try:
        access.place(name)
        return
    except NotFound as error:
        reason = str(error)
    prefix = SHARED_PREFIX
    if name.startswith(OTHERS_PREFIX):
        user = name.removeprefix(OTHERS_PREFIX).partition("/")[0]
        prefix = f"{OTHERS_PREFIX}{user}/"
    known = (each.removeprefix(prefix) for each in access.listing(prefix) if each.startswith(prefix))
    shown = prefix.removeprefix(names.prefix)
    raise NotFound(f"{reason}{did_you_mean(name.removeprefix(prefix), known, shown)}")


def open_site(config: Path) -> AbstractContextManager[tuple[Accounts, Access]]:
    """The accounts, and the mail as the superuser may see it: all of it."""
    return open_mail(Site(config))


@contextmanager
def open_mail(site: Site) -> Iterator[tuple[Accounts, Access]]:
    """The same of a site whose configuration was read, which the runtime user may not be able to."""
    accounts = site.accounts()
    accounts.list()  # Opened while whoever runs this may, where the runtime user might not.
    site.become_runtime_user()
    store = open_store(site, accounts)
    try:
        yield accounts, Access(store, accounts, None, is_superuser=True)
    finally:
        store.close()
        accounts.close()
