"""What a user may see of other users' mailboxes and of the shared ones, for listings.

Not every account of a site is opened for that: the account database says whose lists give something to whom.
"""

from __future__ import annotations

from collections.abc import Sequence

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.store import names, spaces
from mstore.store.acl import Who, effective
from mstore.store.names import INBOX
from mstore.store.namestate import MailboxEntry
from mstore.store.people import Opener, People, Person
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX, Space


def list_foreign(store: Opener, people: People, who: Who, prefix: str) -> dict[str, MailboxEntry]:
    """The full names, outside of his own account, that somebody may see and that can begin with a prefix.

    An administrator may see all, and is shown other users' only when he asks for names that begin with
    ``user/``: a listing of everything should not open each account of the site.
    """
    listed: dict[str, MailboxEntry] = {}
    if _can_begin(OTHERS_PREFIX, prefix):
        for person in _others(people, who, prefix):
            if person.id != who.account_id:
                blocking.breathe()
                listed |= _list_account(store, Space.OTHERS, person, who)
    if _can_begin(SHARED_PREFIX, prefix):
        shared = people.shared()
        if shared is not None:
            listed |= _list_account(store, Space.SHARED, shared, who)
    return listed


def _others(people: People, who: Who, prefix: str) -> Sequence[Person]:
    """The users of whose mailboxes some may be seen."""
    is_asked_for = prefix.startswith(OTHERS_PREFIX)
    owner, slash, _ = prefix.removeprefix(OTHERS_PREFIX).partition(names.SEPARATOR)
    if is_asked_for and slash:
        found = people.find(owner)
        return [] if found is None else [found]
    if is_asked_for and who.is_administrator:
        return people.list()
    return people.grantors(who.identifiers)


def _list_account(store: Opener, space: Space, person: Person, who: Who) -> dict[str, MailboxEntry]:
    """The names of an account that somebody may see; none of one that cannot be read just now."""
    try:
        entries = store.account(person).mailboxes()
    except MStoreError:
        return {}
    owner = None if space is Space.SHARED else person.id
    visible = {acl for acl in {entry.acl for entry in entries.values()} if "l" in effective(acl, who, owner)}
    return {
        spaces.join(space, person.name, name): entry
        for name, entry in entries.items()
        if entry.acl in visible and not (space is Space.SHARED and name == INBOX)
    }


def _can_begin(space_prefix: str, prefix: str) -> bool:
    return prefix.startswith(space_prefix) or space_prefix.startswith(prefix)
