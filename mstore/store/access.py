"""The mail of the site as one user may see it: the one gate through which protocols reach mailboxes.

Every name a client gives comes in here, is looked up in the user's own account, another user's or the shared
one, and its access control list is asked before anything else happens. Where somebody lacks a right he is
told so only if he may see the mailbox at all; otherwise it does not exist for him (RFC 4314 §6).

What is looked up (the user's record, his groups, the lists) is looked up each time, from what each of them
keeps while nothing changed, so a change made anywhere holds for the next command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mstore.base import blocking
from mstore.base.errors import Denied, Invalid, MStoreError, NotFound
from mstore.base.ids import AccountId
from mstore.store import names, spaces
from mstore.store.account import Account
from mstore.store.acl import ANONYMOUS, ANYONE, EMPTY, GROUP, NEGATIVE, USER, Acl, Who, effective
from mstore.store.mailbox import Mailbox
from mstore.store.names import INBOX
from mstore.store.namestate import MailboxEntry
from mstore.store.rights import (
    ADMINISTRATOR,
    ALL,
    NONE,
    OWNER_ALWAYS,
    TELLING,
    Rights,
    flag_mask,
    format_choice,
    modify,
)
from mstore.store.spaces import FullName, Space
from mstore.store.store import Store


class Person(Protocol):
    """What is needed of an account's record."""

    @property
    def id(self) -> AccountId: ...
    @property
    def name(self) -> str: ...
    @property
    def mailstore(self) -> str: ...


class People(Protocol):
    """Who there is (``mstore.accounts.Accounts``)."""

    def find(self, name: str) -> Person | None: ...
    def by_id(self, account_id: AccountId) -> Person | None: ...
    def everybody(self) -> Sequence[Person]: ...
    def shared(self) -> Person | None: ...
    def make_shared(self, mailstore: str) -> Person: ...
    def is_administrator(self, name: str) -> bool: ...
    def groups_of(self, account_id: AccountId) -> frozenset[str]: ...
    def group_id(self, name: str) -> str | None: ...
    def group_name(self, group_id: str) -> str | None: ...
    def grantors(self, identifiers: frozenset[str]) -> Sequence[Person]: ...
    def note_grants(self, account_id: AccountId, identifiers: Iterable[str], only: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
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


@dataclass(frozen=True, slots=True)
class Opened:
    """An open mailbox, with what the user may do there; ``mailbox.release()`` when done."""

    mailbox: Mailbox
    name: str
    rights: Rights
    personal: bool
    """Whether it is the user's own: then its \\Seen is everybody's who sees it."""


class Access:
    """The mailboxes of a site for one session of one user, or of somebody anonymous."""

    __slots__ = ("_id", "_people", "_store")

    def __init__(self, store: Store, people: People, person: Person | None) -> None:
        self._store = store
        self._people = people
        self._id = None if person is None else person.id

    # -- who

    @property
    def person(self) -> Person:
        """The user's record as it is now.

        Raises: Denied for somebody anonymous, NotFound when the account was removed.
        """
        if self._id is None:
            raise Denied("nobody anonymous has mailboxes")
        person = self._people.by_id(self._id)
        if person is None:
            raise NotFound("this account was removed")
        return person

    @property
    def account(self) -> Account:
        """The user's own account, with its limits as they are now.

        Raises: Denied for somebody anonymous, NotFound when it was removed, Unavailable.
        """
        return self._store.account(self.person)

    @property
    def is_administrator(self) -> bool:
        """Whether the user is an administrator of the site."""
        return self._id is not None and self._people.is_administrator(self.person.name)

    @property
    def who(self) -> Who:
        """The user as access control lists see him now."""
        if self._id is None:
            return Who(None)
        people = self._people
        return Who(self._id, people.groups_of(self._id), people.is_administrator(self.person.name))

    # -- looking

    def listing(self, prefix: str = "") -> Mapping[str, MailboxEntry]:
        """The names that the user may see (right ``l``): his own first, then other users', then shared ones.

        Of the other namespaces only what can begin with ``prefix`` is looked at: the part of a pattern before
        its first wildcard. An administrator sees those of all users when he asks for names that begin with
        ``user/``.
        """
        own: Mapping[str, MailboxEntry] = {} if self._id is None else self.account.mailboxes()
        found = self._list_others(prefix) if _can_begin(spaces.OTHERS_PREFIX, prefix) else {}
        if _can_begin(spaces.SHARED_PREFIX, prefix):
            found |= self._list_shared()
        return {**own, **found} if found else own

    def subscriptions(self) -> frozenset[str]:
        """The subscribed full names, whether there are such mailboxes or not."""
        return frozenset() if self._id is None else self.account.subscriptions()

    def subscribe(self, name: str) -> None:
        """Add any name to the subscriptions (RFC 3501 §6.3.6).

        Durable: the subscription.
        Raises: Denied for somebody anonymous, Invalid, LimitReached, Busy, StorageFailed.
        """
        self.account.subscribe(str(spaces.parse(name, new=True)))

    def unsubscribe(self, name: str) -> None:
        """Take a name off the subscriptions (RFC 3501 §6.3.7).

        Durable: the removal.
        Raises: Denied for somebody anonymous, NotFound when it was not subscribed, Invalid.
        """
        self.account.unsubscribe(str(spaces.parse(name, new=True)))

    def rights(self, name: str) -> Rights:
        """What the user may do with a mailbox or a ``\\Noselect`` name: MYRIGHTS.

        Raises: NotFound where there is none and where he may not know of it (RFC 4314 §4 "Any").
        """
        place = self._place(spaces.parse(name))
        if place.entry is None or not place.rights & TELLING:
            raise _no_mailbox(name)
        return place.rights

    def place(self, name: str, *needed: str) -> Place:
        """Where a name leads, for a user who has the rights needed there.

        Raises: NotFound, Denied when he may see the mailbox but lacks a right.
        """
        place = self._place(spaces.parse(name))
        if place.entry is None:
            raise _no_mailbox(name)
        missing = [right for right in needed if right not in place.rights]
        if missing:
            if "l" not in place.rights:
                raise _no_mailbox(name)
            raise Denied(f"you have no right '{''.join(missing)}' to {place.name}")
        return place

    def open(self, name: str, *needed: str) -> Opened:
        """Open a mailbox, for a user who has the rights needed there; ``release()`` it when done.

        Raises: NotFound, also for a name that cannot be selected; Denied; Corrupt.
        """
        place = self.place(name, *needed)
        reader = None if place.personal else self._id
        return Opened(place.account.open(place.inner, reader), place.name, place.rights, place.personal)

    @staticmethod
    def permit_flags(rights: Rights, op: str, bits: int) -> int:
        """The flags that somebody with these rights may ``store``, ``append`` or ``copy``, of those he wants.

        RFC 4314 §4: what is not allowed is left out. ``store`` of nothing but such flags fails.
        Raises: Denied.
        """
        allowed = bits & flag_mask(rights)
        if op == "store" and bits and not allowed:
            raise Denied("you have no right to change these flags")
        return allowed

    # -- changing

    def create(self, name: str, special_use: str | None = None) -> None:
        """Make a mailbox, with the list of the nearest level above it.

        RFC 4314 §4: needs ``k`` there. At the top of a namespace its owner may, and administrators.
        Durable: the mailbox.
        Raises: Exists, Denied, Invalid, LimitReached, Busy, StorageFailed.
        """
        place = self._new_place(name)
        place.account.create(place.inner, special_use)

    def delete(self, name: str) -> None:
        """Remove a mailbox with its messages and its list.

        RFC 4314 §4: needs ``x``.
        Durable: the removal.
        Raises: NotFound, Denied, Invalid, Busy, StorageFailed.
        """
        place = self.place(name, "x")
        place.account.delete(place.inner)
        if place.entry is not None and place.entry.acl:
            place.account.note_grants(self._noting(place.person))

    def rename(self, old: str, new: str) -> None:
        """Give a mailbox, and all beneath it, another name of the same account; lists go along.

        RFC 4314 §4: needs ``x`` on the mailbox and ``k`` on the level above the new name. Only its owner may
        rename an INBOX, which moves its messages (RFC 3501 §6.3.5).
        Durable: the names.
        Raises: NotFound, Exists, Denied, Invalid, LimitReached, Busy, StorageFailed.
        """
        source = self.place(old, "x")
        target = self._new_place(new)
        if source.account.id != target.account.id:
            raise Invalid("a mailbox cannot be renamed into another user's or the shared hierarchy")
        if source.inner == INBOX and not source.personal:
            raise Denied("only its owner may rename an INBOX")
        source.account.rename(source.inner, target.inner)

    # -- access control lists

    def acl(self, name: str) -> list[tuple[str, Rights]]:
        """The identifiers of a mailbox's list and their rights, the owner's first: GETACL.

        RFC 4314 §3.3; needs ``a``.
        Raises: NotFound, Denied.
        """
        place = self.place(name, "a")
        acl = _acl_of(place)
        shown = []
        if place.space is not Space.SHARED:
            own = acl.get(USER + place.person.id)
            shown.append((place.person.name, ALL if own is None else own | OWNER_ALWAYS))
        others = []
        for identifier, rights in acl:
            if place.space is Space.SHARED or identifier != USER + place.person.id:
                name_shown = self._show(identifier)
                if name_shown is not None:
                    others.append((name_shown, rights))
        return shown + sorted(others)

    def set_acl(self, name: str, identifier: str, op: str, rights: Rights) -> None:
        """Set (``=``), add (``+``) or take away (``-``) rights of an identifier: SETACL.

        RFC 4314 §3.1; needs ``a``.
        Durable: the list.
        Raises: NotFound, Denied, Invalid where nobody is called so, LimitReached, Busy, StorageFailed.
        """
        place = self.place(name, "a")
        stored = self._find_identifier(identifier)
        is_owner = place.space is not Space.SHARED and stored == USER + place.person.id

        def change(acl: Acl) -> Acl:
            old = acl.get(stored)
            if old is None:
                old = ALL if is_owner else NONE
            after = modify(old, op, rights)
            return acl.without(stored) if is_owner and after == ALL else acl.put(stored, after)

        place.account.change_acl(place.inner, change, self._noting(place.person))

    def delete_acl(self, name: str, identifier: str) -> None:
        """Take an identifier off a mailbox's list: DELETEACL.

        RFC 4314 §3.2; needs ``a``.
        Durable: the list.
        Raises: NotFound, Denied, Invalid where nobody is called so, Busy, StorageFailed.
        """
        place = self.place(name, "a")
        stored = self._find_identifier(identifier)
        place.account.change_acl(place.inner, lambda acl: acl.without(stored), self._noting(place.person))

    def list_rights(self, name: str, identifier: str) -> tuple[str, tuple[str, ...]]:
        """The rights an identifier always has in a mailbox, and those it can be given: LISTRIGHTS.

        RFC 4314 §3.4; needs ``a``.
        Raises: NotFound, Denied, Invalid where nobody is called so.
        """
        place = self.place(name, "a")
        stored = self._find_identifier(identifier)
        always, never = NONE, NONE
        if stored.startswith(USER):
            person = self._people.by_id(AccountId(stored.removeprefix(USER)))
            if place.space is not Space.SHARED and stored == USER + place.person.id:
                always = OWNER_ALWAYS
            if person is not None and self._people.is_administrator(person.name):
                always |= ADMINISTRATOR
        elif stored == ANONYMOUS:
            never = frozenset("s")
        return format_choice(always, never)

    # -- within

    def _place(self, full: FullName, new: bool = False) -> Place:
        """Where a name leads, whether or not there is such a mailbox.

        Raises: NotFound when there is no such user, nor anything shared.
        """
        person = self._owner_of(full, new)
        personal = person.id == self._id
        account = self._store.account(person)
        entry = account.mailboxes().get(full.inner)
        owner = None if full.space is Space.SHARED else person.id
        acl = entry.acl if entry is not None else EMPTY
        if personal and not acl:
            rights = ALL
        else:
            rights = effective(acl, self.who, owner)
        if personal:
            name = full.inner
        else:
            name = spaces.join(full.space, person.name, full.inner)
        return Place(name, full.space, person, account, full.inner, entry, rights, personal)

    def _owner_of(self, full: FullName, new: bool) -> Person:
        person: Person | None
        if full.space is Space.PERSONAL:
            if self._id is None:
                raise _no_mailbox(str(full))
            return self.person
        if full.space is Space.OTHERS:
            person = self._people.find(full.owner) if full.owner else None
        else:
            person = self._people.shared()
            if person is None and new and self.who.is_administrator:
                person = blocking.call(self._people.make_shared, self._store.first_mailstore)
        if person is None or (not full.inner and not new):
            raise _no_mailbox(str(full))
        return person

    def _new_place(self, name: str) -> Place:
        """Where a name to be made leads, for a user who may make it.

        Raises: Denied, also where there is no such user and he may not know; Invalid, LimitReached.
        """
        full = spaces.parse(name, new=True)
        refusal = Denied(f"you may not create mailboxes there: {full}")
        try:
            place = self._place(full, new=True)
        except NotFound:
            if self.who.is_administrator:
                raise
            raise refusal from None
        if not full.inner:
            raise Invalid(f"{full} is only a level above mailboxes") if self.who.is_administrator else refusal
        owner = None if place.space is Space.SHARED else place.person.id
        entries = place.account.mailboxes()
        above = next((s for s in reversed(names.superiors(place.inner)) if s in entries), None)
        acl = EMPTY if above is None else entries[above].acl
        if "k" not in effective(acl, self.who, owner):
            raise refusal
        if owner is not None:
            spaces.check_personal(place.inner)
        return place

    def _list_others(self, prefix: str) -> dict[str, MailboxEntry]:
        who = self.who
        rest = prefix.removeprefix(spaces.OTHERS_PREFIX) if prefix.startswith(spaces.OTHERS_PREFIX) else ""
        owner, slash, _ = rest.partition(names.SEPARATOR)
        people: Sequence[Person]
        if slash:
            found = self._people.find(owner)
            people = [] if found is None else [found]
        elif who.is_administrator and prefix.startswith(spaces.OTHERS_PREFIX):
            people = self._people.everybody()
        else:
            people = self._people.grantors(who.identifiers)
        listed: dict[str, MailboxEntry] = {}
        for person in people:
            if person.id != self._id:
                blocking.breathe()
                listed |= self._list_account(Space.OTHERS, person, who)
        return listed

    def _list_shared(self) -> dict[str, MailboxEntry]:
        person = self._people.shared()
        return {} if person is None else self._list_account(Space.SHARED, person, self.who)

    def _list_account(self, space: Space, person: Person, who: Who) -> dict[str, MailboxEntry]:
        """The names of another account that the user may see; none of one that cannot be read just now."""
        try:
            entries = self._store.account(person).mailboxes()
        except MStoreError:
            return {}
        owner = None if space is Space.SHARED else person.id
        acls = {entry.acl for entry in entries.values()}
        visible = {acl for acl in acls if "l" in effective(acl, who, owner)}
        return {
            spaces.join(space, person.name, name): entry
            for name, entry in entries.items()
            if entry.acl in visible and not (owner is None and name == INBOX)
        }

    def _find_identifier(self, identifier: str) -> str:
        """The store's form of an identifier as people write it.

        Raises: Invalid, also for a user or a group that is not there.
        """
        positive = identifier.removeprefix(NEGATIVE)
        if not positive:
            raise Invalid("an identifier cannot be empty")
        sign = NEGATIVE if positive != identifier else ""
        if positive.lower() in (ANYONE, ANONYMOUS):
            return sign + positive.lower()
        if positive.lower().startswith(GROUP):
            group_id = self._people.group_id(positive[len(GROUP) :])
            if group_id is None:
                raise Invalid(f"there is no {positive}")
            return sign + GROUP + group_id
        person = self._people.find(positive)
        if person is None:
            raise Invalid(f"there is no user {positive}")
        return sign + USER + person.id

    def _show(self, identifier: str) -> str | None:
        """An identifier as people write it; None when there is nobody of that id any more."""
        positive = identifier.removeprefix(NEGATIVE)
        sign = NEGATIVE if positive != identifier else ""
        if positive.startswith(GROUP):
            name = self._people.group_name(positive.removeprefix(GROUP))
            return None if name is None else sign + GROUP + name
        if positive.startswith(USER):
            person = self._people.by_id(AccountId(positive.removeprefix(USER)))
            return None if person is None else sign + person.name
        return identifier

    def _noting(self, person: Person) -> Callable[[frozenset[str], bool], None]:
        """Keeps whom an account's lists give something in the account database, for ``listing``."""
        return partial(blocking.call, self._people.note_grants, person.id)


def _can_begin(space_prefix: str, prefix: str) -> bool:
    return prefix.startswith(space_prefix) or space_prefix.startswith(prefix)


def _acl_of(place: Place) -> Acl:
    return EMPTY if place.entry is None else place.entry.acl


def _no_mailbox(name: str) -> NotFound:
    return NotFound(f"there is no mailbox {name}")
