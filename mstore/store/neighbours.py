"""What to know of mailboxes that are followed beside their names: whose they are, and who may read them.

The rules are those of ``access``; here they are asked for many names at once, and for names that are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.store import spaces
from mstore.store.acl import Who, effective
from mstore.store.namestate import MailboxEntry
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX, Space

if TYPE_CHECKING:
    from mstore.store.access import Access
    from mstore.store.account import Account
    from mstore.store.people import Person

FOREIGN = (OTHERS_PREFIX, SHARED_PREFIX)
_FIRST = (spaces.OTHERS, spaces.SHARED)


def is_personal(name: str) -> bool:
    """Whether a full name is one of the user's own namespace."""
    return name not in _FIRST and not name.startswith(FOREIGN)


def see(access: Access, owners: Collection[str]) -> Mapping[str, MailboxEntry]:
    """The names that the user may see; of these owners' also those that a listing shows only when asked.

    Raises: as ``Access.listing``.
    """
    names = access.listing()
    if owners and access.is_administrator:
        for owner in owners:
            names = {**names, **access.listing(f"{OTHERS_PREFIX}{owner}/")}
    return names


def accounts(access: Access, owners: Collection[str], with_others: bool) -> dict[str, Account]:
    """The accounts, by their names in full names, whose catalogs decide what the user may see.

    That is his own (under an empty name), and ``with_others`` those of whoever lets him see something, of the
    owners named and of the site. Accounts of others that cannot be reached just now are left out.
    Raises: Unavailable, Moved, NotFound for his own.
    """
    found: dict[str, Account] = {}
    own_id = access.who.account_id
    if own_id is not None:
        found[""] = access.account
    if not with_others:
        return found
    people = access.people
    others: list[Person | None] = [*people.grantors(access.who.identifiers), *map(people.find, owners)]
    shared = people.shared()
    for person in [*others, shared]:
        if person is not None and person.id != own_id:
            is_site = shared is not None and person.id == shared.id
            key = spaces.SHARED if is_site else spaces.join(Space.OTHERS, person.name, "")
            with suppress(MStoreError):
                found[key] = access.store.account(person)
            blocking.breathe()
    return found


def key_of(name: str) -> str:
    """Under which name ``accounts`` holds the account that a full name is in."""
    if is_personal(name):
        return ""
    if name.startswith(OTHERS_PREFIX):
        return "/".join(name.split("/", 2)[:2])
    return spaces.SHARED


def may_read(who: Who, key: str, account: Account, entry: MailboxEntry) -> bool:
    """Whether the user has ``r`` in a mailbox that he may see, of the account that ``key`` leads to.

    It is asked of the list that he was found to see it by, not of one that may have changed since.
    """
    if not entry.acl and not key:
        return True
    return "r" in effective(entry.acl, who, None if key == spaces.SHARED else account.id)


def is_hidden(account: Account | None, entry: MailboxEntry) -> bool:
    """Whether a mailbox that the user sees no more is there all the same."""
    if account is None or entry.no_select:
        return False
    try:
        return any(other.id == entry.id for other in account.mailboxes().values())
    except MStoreError:
        return False
