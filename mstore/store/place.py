"""Where a full name leads: what ``access`` found of a mailbox, and one that it has opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from mstore.base.errors import Denied, NotFound
from mstore.base.ids import AccountId
from mstore.store.account import Account
from mstore.store.acl import EMPTY, Acl
from mstore.store.mailbox import Mailbox
from mstore.store.namestate import MailboxEntry
from mstore.store.people import Person
from mstore.store.rights import Rights
from mstore.store.spaces import Space

if TYPE_CHECKING:
    from mstore.store.access import Access


class Place(NamedTuple):
    """Where a full name leads, and what the user may do there."""

    name: str
    """The full name in its canonical form."""
    space: Space
    person: Person
    """Whose it is; for shared mailboxes the account that stands for the site."""
    account: Account
    inner: str
    """The name within the account."""
    entry: MailboxEntry | None
    rights: Rights
    personal: bool
    """Whether it is the user's own."""

    @property
    def owner(self) -> AccountId | None:
        """The account whose user owns it; None for what is shared."""
        return None if self.space is Space.SHARED else self.person.id

    @property
    def acl(self) -> Acl:
        """Its list; an empty one where there is no mailbox."""
        return EMPTY if self.entry is None else self.entry.acl


class Opened:
    """An open mailbox, with what the user may do there; ``mailbox.release()`` when done."""

    __slots__ = ("_access", "account", "entry", "mailbox", "name", "owner", "personal", "rights")

    def __init__(
        self,
        access: Access,
        mailbox: Mailbox,
        name: str,
        account: Account,
        entry: MailboxEntry,
        owner: AccountId | None,
        rights: Rights,
        personal: bool,
    ) -> None:
        self._access = access
        self.mailbox = mailbox
        self.name = name
        """The full name in its canonical form."""
        self.account = account
        self.entry = entry
        """What the name led to in the account when it was opened."""
        self.owner = owner
        """The account whose user owns it; None for what is shared."""
        self.rights = rights
        """What the user might do when it was opened."""
        self.personal = personal
        """Whether it is the user's own: then its \\Seen is everybody's who sees it."""

    def current_rights(self) -> Rights:
        """What the user may do with this mailbox now, whatever it is called by now; none when it is gone.

        Raises: Unavailable, Corrupt.
        """
        return self._access.rights_now(self)


def check_rights(name: str, rights: Rights, needed: Iterable[str]) -> None:
    """Pass somebody who has the rights needed; who may not even see a mailbox is told that there is none.

    Raises: Denied, NotFound.
    """
    missing = [right for right in needed if right not in rights]
    if missing:
        if "l" not in rights:
            raise no_mailbox(name)
        raise Denied(f"you have no right '{''.join(missing)}' to {name}")


def no_mailbox(name: str) -> NotFound:
    """What is said of a mailbox that is not there, and of one that is hidden."""
    return NotFound(f"there is no mailbox {name}")


def may_not_create(name: str) -> Denied:
    """What is said of a mailbox that may not be made."""
    return Denied(f"you may not create {name}")
