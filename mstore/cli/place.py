"""How mailboxes are named to msadm: ``USER NAME``, or in full as ``user/NAME/x`` or ``shared/x``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from mstore.accounts.accounts import Accounts
from mstore.cli.site import Site, find
from mstore.store.access import Access
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX
from mstore.store.store import Store


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


@contextmanager
def open_site(config: Path) -> Iterator[tuple[Accounts, Access]]:
    """The accounts, and the mail as the superuser may see it: all of it."""
    site = Site(config)
    accounts = site.accounts()
    accounts.list()  # Opened while whoever runs this may, where the runtime user might not.
    site.become_runtime_user()
    store = Store(site.settings.mailstores)
    try:
        yield accounts, Access(store, accounts, None, is_superuser=True)
    finally:
        store.close()
        accounts.close()
