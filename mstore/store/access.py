"""The mail of the site as one user may see it: the one gate through which protocols reach mailboxes.

Every name a client gives comes in here, is looked up in the user's own account, another user's or the shared
one, and its access control list is asked before anything else happens. Where somebody lacks a right he is
told so only if he may see the mailbox at all; otherwise it does not exist for him (RFC 4314 §6).

What is looked up (the user's record, his groups, the lists) is looked up each time, from what each of them
keeps while nothing changed, so a change made anywhere holds for the next command. In one's own mailbox, as
long as its list does not speak of oneself, there is nothing to be looked up but that it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from mstore.base import blocking
from mstore.base.errors import Busy, Denied, Invalid, LimitReached, Moved, MStoreError, NotFound
from mstore.base.ids import AccountId
from mstore.store import names, spaces
from mstore.store.account import Account
from mstore.store.acl import ANONYMOUS, EMPTY, USER, Acl, Who, effective
from mstore.store.change import MailboxStatus
from mstore.store.names import INBOX
from mstore.store.namestate import MailboxEntry
from mstore.store.people import Opener, People, Person, find_identifier, show_identifier
from mstore.store.place import Opened, Place, check_rights, may_not_create, no_mailbox
from mstore.store.rights import (
    ADMINISTRATOR,
    ALL,
    NONE,
    OWNER_ALWAYS,
    TELLING,
    Rights,
    format_choice,
    modify,
)
from mstore.store.spaces import FullName, Space
from mstore.store.specialuse import check_uses
from mstore.store.visible import list_foreign


class Access:
    """The mailboxes of a site for one session of one user, or of somebody anonymous."""

    __slots__ = (
        "_by_command",
        "_id",
        "_is_own_current",
        "_is_superuser",
        "_own",
        "_person",
        "_sees_others",
        "_version",
        "_who",
        "is_fresh",
        "people",
        "store",
    )

    def __init__(
        self, store: Opener, people: People, person: Person | None, is_superuser: bool = False
    ) -> None:
        """A gate for a user; for somebody anonymous (None); or for whom nothing is refused, as ``msadm``."""
        self.store = store
        self.people = people
        self._id = None if person is None else person.id
        self._is_superuser = is_superuser
        self._by_command = False
        self.is_fresh = False
        """The account database was looked at; set to False when a command begins (``follow_commands``)."""
        self._version = -1
        self._own: Account | None = None
        """The user's account, held so that it stays open."""
        self._is_own_current = False
        """It is the one that the user's record leads to, with the limits of that."""
        self._person: Person | None = None
        self._who: Who | None = None
        self._sees_others: bool | None = None

    # -- who

    def follow_commands(self) -> None:
        """Look at the account database once for each command: whenever ``is_fresh`` was set to False.

        It is not looked at more often than every ``RECENT_S`` then (``Database.is_recent``): so much later
        the next command may go by what another process has changed there. Otherwise it is at each step.
        """
        self._by_command = True
        self.is_fresh = False

    def _follow(self) -> None:
        """Forget what was found in the account database, unless it is as it was."""
        if self.is_fresh:
            return
        self._look(self._by_command)
        self.is_fresh = self._by_command

    def _look(self, recent: bool) -> None:
        version = self.people.version(recent)
        if version != self._version:
            self._version = version
            self._person = self._who = self._sees_others = None
            self._is_own_current = False

    @property
    def person(self) -> Person:
        """The user's record as it is now.

        Raises: Denied for somebody anonymous, NotFound when the account was removed.
        """
        if self._id is None:
            raise Denied("nobody anonymous has mailboxes")
        if not self.is_fresh:
            self._follow()
        person = self._person
        if person is None:
            person = self._person = self.people.by_id(self._id)
            if person is None:
                raise NotFound("this account was removed")
        return person

    @property
    def account(self) -> Account:
        """The user's own account, with its limits as they are now.

        Raises: Denied for somebody anonymous, NotFound when it was removed, Unavailable.
        """
        if not self.is_fresh:
            self._follow()
        own = self._own
        if own is None or not self._is_own_current:
            own = self._own = self.store.account(self.person)
            self._is_own_current = True
        return own

    def _own_names(self) -> Mapping[str, MailboxEntry]:
        """The names of the user's own account, which may have been moved or removed a moment ago.

        Raises: as ``account``, Moved while it is under way.
        """
        try:
            return self.account.mailboxes()
        except (Moved, NotFound):
            self._look(recent=False)
            return self.account.mailboxes()

    @property
    def is_anonymous(self) -> bool:
        """Whether there is no account, and nothing that is one's own."""
        return self._id is None

    @property
    def is_administrator(self) -> bool:
        """Whether the user is an administrator of the site."""
        if self._id is None:
            return self._is_superuser
        return self.people.is_administrator(self.person.name)

    @property
    def who(self) -> Who:
        """The user as access control lists see him now."""
        if self._id is None:
            return Who(None, is_administrator=self._is_superuser)
        person, people = self.person, self.people
        if self._who is None:
            groups = people.groups_of(self._id)
            self._who = Who(self._id, groups, people.is_administrator(person.name))
        return self._who

    # -- looking

    def listing(self, prefix: str = "") -> Mapping[str, MailboxEntry]:
        """The names that the user may see (right ``l``): his own first, then other users', then shared ones.

        Of the other namespaces only what can begin with ``prefix`` is looked at: the part of a pattern before
        its first wildcard. An administrator sees those of all users when he asks for names that begin with
        ``user/``.
        """
        own: Mapping[str, MailboxEntry] = {} if self._id is None else self._own_names()
        self._follow()
        if self._sees_others is None:
            who, people = self.who, self.people
            self._sees_others = (
                who.is_administrator or people.shared() is not None or bool(people.grantors(who.identifiers))
            )
        if not self._sees_others and not prefix.startswith(spaces.OTHERS_PREFIX):
            return own
        found = list_foreign(self.store, self.people, self.who, prefix)
        return {**own, **found} if found else own

    def subscriptions(self) -> frozenset[str]:
        """The subscribed full names, whether there are such mailboxes or not."""
        return frozenset() if self._id is None else self.account.subscriptions()

    def subscribe(self, name: str) -> None:
        """Add any name to the subscriptions (RFC 3501 §6.3.6).

        Durable: the subscription.
        Raises: Denied for somebody anonymous, Invalid, LimitReached, Busy, StorageFailed.
        """
        self.account.subscribe(self.normalize(name))

    def unsubscribe(self, name: str) -> None:
        """Take a name off the subscriptions (RFC 3501 §6.3.7).

        Durable: the removal.
        Raises: Denied for somebody anonymous, Invalid, LimitReached, Busy, StorageFailed.
        """
        self.account.unsubscribe(self.normalize(name))

    def rights(self, name: str) -> Rights:
        """What the user may do with a mailbox or a ``\\Noselect`` name: MYRIGHTS.

        Raises: NotFound where there is none and where he may not know of it (RFC 4314 §4 "Any").
        """
        return self.place_known(name).rights

    def place_known(self, name: str) -> Place:
        """Where a name leads, for a user who may know of it.

        Raises: NotFound.
        """
        place = self._place(spaces.parse(name))
        if place.entry is None or not place.rights & TELLING:
            raise no_mailbox(name)
        return place

    def place(self, name: str, *needed: str) -> Place:
        """Where a name leads, for a user who has the rights needed there.

        Raises: NotFound, Denied when he may see the mailbox but lacks a right.
        """
        place = self._place(spaces.parse(name))
        if place.entry is None:
            raise no_mailbox(name)
        check_rights(place.name, place.rights, needed)
        return place

    def open(self, name: str, *needed: str) -> Opened:
        """Open a mailbox, for a user who has the rights needed there; ``release()`` it when done.

        Raises: NotFound, also for a name that cannot be selected; Denied; Corrupt.
        """
        if self._id is not None and not name.startswith(spaces.ELSEWHERE):
            entry = self._own_names().get(name)
            if entry is not None and self._has_all(entry.acl, self._id):
                account = self.account
                mailbox = account.open_entry(entry)
                return Opened(self, mailbox, name, account, entry, self._id, ALL, True)
        place = self.place(name, *needed)
        assert place.entry is not None
        mailbox = place.account.open_entry(place.entry, None if place.personal else self._id)
        account, rights = place.account, place.rights
        return Opened(self, mailbox, place.name, account, place.entry, place.owner, rights, place.personal)

    def status(self, name: str, listed: MailboxEntry | None = None) -> tuple[MailboxEntry, MailboxStatus]:
        """The totals of a mailbox, for a user who may read it; ``listed``: as a listing just has it.

        Nothing is opened while nothing changes. Raises: as ``open``.
        """
        if self._id is not None and not name.startswith(spaces.ELSEWHERE):
            entry = self._own_names().get(name) if listed is None else listed
            if entry is not None and self._has_all(entry.acl, self._id):
                return entry, self.account.status(entry)
        place = self.place(name, "r")
        assert place.entry is not None
        return place.entry, place.account.status(place.entry, None if place.personal else self._id)

    def known(self, listed: Mapping[str, MailboxEntry]) -> Mapping[str, MailboxStatus]:
        """The totals of those of a listing's mailboxes, his own, that need not be opened for them."""
        if self._id is None:
            return {}
        here = {n: e for n, e in listed.items() if not e.acl and not n.startswith(spaces.ELSEWHERE)}
        return self.account.known(here)

    def place_to_post(self, name: str) -> Place:
        """The mailbox that mail addressed to it goes to: needs ``p`` (RFC 4314 §2.1 "post").

        A mailbox is known to those who have its address, so here it is told that there is one.
        Raises: NotFound, Denied, Invalid, LimitReached.
        """
        place = self._place(spaces.parse(name))
        if place.entry is None or place.entry.no_select:
            raise no_mailbox(name)
        if "p" not in place.rights:
            raise Denied(f"mail may not be sent to {place.name}")
        return place

    def rights_now(self, opened: Opened) -> Rights:
        """What the user may do now with a mailbox that he opened some time ago; none when it is gone.

        Raises: Unavailable, Corrupt.
        """
        before = opened.entry
        try:
            if opened.personal:
                entries = opened.account.mailboxes()
            else:
                person = self.people.by_id(opened.account.id)
                if person is None:
                    return NONE
                entries = self.store.account(person).mailboxes()
            entry = entries.get(before.name)
            if entry is None or entry.id != before.id:
                entry = next((other for other in entries.values() if other.id == before.id), None)
            return NONE if entry is None else self._rights_in(entry.acl, opened.owner)
        except (Denied, NotFound):
            return NONE

    def normalize(self, name: str) -> str:
        """The one canonical form of a full name, whether there is such a mailbox or not.

        Raises: Invalid, LimitReached.
        """
        full = spaces.parse(name, new=True)
        person = self.people.find(full.owner) if full.space is Space.OTHERS and full.owner else None
        if person is None:
            return str(full)
        return (
            full.inner
            if person.id == self._id and full.inner
            else spaces.join(full.space, person.name, full.inner)
        )

    def may_create(self, name: str) -> bool:
        """Whether the user may make a mailbox of this name, whether there is one already or not.

        Raises: Unavailable, Corrupt.
        """
        try:
            self._new_place(name)
        except (Denied, Invalid, LimitReached, NotFound):
            return False
        return True

    def site_account(self, make: bool = False) -> Account | None:
        """The account of the shared mailboxes; with ``make`` an administrator makes it. Raises: NotFound."""
        person = self.people.shared()
        if person is None and make:
            person = self._owner_of(FullName(Space.SHARED, "", ""), new=True)
        return None if person is None else self.store.account(person)

    def account_of(self, name: str) -> Person:
        """Whose quota governs a mailbox, or one that the user might make.

        Raises: NotFound where he may neither know of one nor make one, Invalid, LimitReached.
        """
        try:
            return self.place_known(name).person
        except NotFound:
            try:
                return self._new_place(name).person
            except (Denied, Invalid):
                raise no_mailbox(name) from None

    # -- changing

    def create(self, name: str, special_use: str | None = None) -> MailboxEntry:
        """Make a mailbox, with the list of the nearest level above it.

        RFC 4314 §4: needs ``k`` there. At the top of a namespace its owner may, and administrators.
        Durable: the mailbox.
        Raises: Exists, Denied, Invalid, LimitReached, Busy, StorageFailed, UseRefused.
        """
        place = self._new_place(name)
        check = partial(self._check_create, place, uses=special_use)
        return place.account.create(place.inner, special_use, check)

    def delete(self, name: str) -> None:
        """Remove a mailbox with its messages and its list.

        RFC 4314 §4: needs ``x``.
        Durable: the removal.
        Raises: NotFound, Denied, Invalid, Busy, StorageFailed.
        """
        place = self.place(name, "x")
        place.account.delete(place.inner, partial(self._check, place, "x"))
        if place.entry is not None and place.entry.acl:
            with suppress(Busy, NotFound):
                place.account.note_grants(self._noting(place.person))

    def rename(self, old: str, new: str) -> None:
        """Give a mailbox, and all beneath it, another name of the same account; lists go along.

        RFC 4314 §4: needs ``x`` on the mailbox and all beneath it, and ``k`` on the level above the new name.
        Only its owner may rename an INBOX, which moves its messages (RFC 3501 §6.3.5).
        Durable: the names.
        Raises: NotFound, Exists, Denied, Invalid, LimitReached, Busy, StorageFailed.
        """
        source = self.place(old, "x")
        target = self._new_place(new)
        if source.person.id != target.person.id:
            raise Invalid("a mailbox cannot be renamed into another user's or the shared hierarchy")
        if source.inner == INBOX and not source.personal and not self._is_superuser:
            raise Denied("only its owner may rename an INBOX")

        def check(entries: Mapping[str, MailboxEntry]) -> None:
            self._check(source, "x", entries)
            self._check_create(target, entries)
            if source.inner == INBOX:
                return
            beneath = {
                entry.acl
                for name, entry in entries.items()
                if names.is_inferior(name, source.inner) and not entry.no_select
            }
            if any("x" not in self._rights_in(acl, source.owner) for acl in beneath):
                raise Denied(f"you have no right 'x' to everything beneath {source.name}")

        source.account.rename(source.inner, target.inner, check)

    # -- access control lists

    def acl(self, name: str) -> list[tuple[str, Rights]]:
        """The identifiers of a mailbox's list and their rights, the owner's first: GETACL.

        RFC 4314 §3.3; needs ``a``.
        Raises: NotFound, Denied.
        """
        place = self.place(name, "a")
        acl = place.acl
        shown = []
        if place.space is not Space.SHARED:
            own = acl.get(USER + place.person.id)
            shown.append((place.person.name, ALL if own is None else own | OWNER_ALWAYS))
        others = []
        for identifier, rights in acl:
            if place.space is Space.SHARED or identifier != USER + place.person.id:
                name_shown = show_identifier(self.people, identifier)
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
        stored = find_identifier(self.people, identifier)
        is_owner = place.space is not Space.SHARED and stored == USER + place.person.id

        def change(acl: Acl) -> Acl:
            old = acl.get(stored)
            if old is None:
                old = ALL if is_owner else NONE
            after = modify(old, op, rights)
            return acl.without(stored) if is_owner and after == ALL else acl.put(stored, after)

        permit = partial(self._check, place, "a")
        place.account.change_acl(place.inner, change, self._noting(place.person), permit)

    def delete_acl(self, name: str, identifier: str) -> None:
        """Take an identifier off a mailbox's list: DELETEACL.

        RFC 4314 §3.2; needs ``a``.
        Durable: the list.
        Raises: NotFound, Denied, Invalid where nobody is called so, Busy, StorageFailed.
        """
        place = self.place(name, "a")
        stored = find_identifier(self.people, identifier)
        place.account.change_acl(
            place.inner,
            lambda acl: acl.without(stored),
            self._noting(place.person),
            partial(self._check, place, "a"),
        )

    def list_rights(self, name: str, identifier: str) -> tuple[str, tuple[str, ...]]:
        """The rights an identifier always has in a mailbox, and those it can be given: LISTRIGHTS.

        RFC 4314 §3.4; needs ``a``.
        Raises: NotFound, Denied, Invalid where nobody is called so.
        """
        place = self.place(name, "a")
        stored = find_identifier(self.people, identifier)
        always, never = NONE, NONE
        if stored.startswith(USER):
            person = self.people.by_id(AccountId(stored.removeprefix(USER)))
            if place.space is not Space.SHARED and stored == USER + place.person.id:
                always = OWNER_ALWAYS
            if person is not None and self.people.is_administrator(person.name):
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
        if personal:
            entries, account = self._own_names(), self.account
        else:
            account = self.store.account(person)
            entries = account.mailboxes()
        entry = entries.get(full.inner)
        owner = None if full.space is Space.SHARED else person.id
        rights = self._rights_in(EMPTY if entry is None else entry.acl, owner)
        if personal:
            name = full.inner
        else:
            name = spaces.join(full.space, person.name, full.inner)
        return Place(name, full.space, person, account, full.inner, entry, rights, personal)

    def _rights_in(self, acl: Acl, owner: AccountId | None) -> Rights:
        """The user's rights in a mailbox with this list."""
        if self._has_all(acl, owner):
            return ALL
        return effective(acl, self.who, owner)

    def _has_all(self, acl: Acl, owner: AccountId | None) -> bool:
        """Whether he needs no looking up: in his own mailbox, where the list does not speak of him."""
        if owner is None or owner != self._id:
            return self._is_superuser
        return not acl or not acl.speaks_of(owner)

    def _check(self, place: Place, right: str, entries: Mapping[str, MailboxEntry]) -> None:
        """Pass a mailbox that is still the one found and gives the right needed.

        Raises: NotFound, Denied.
        """
        entry = entries.get(place.inner)
        if entry is None:
            raise no_mailbox(place.name)
        check_rights(place.name, self._rights_in(entry.acl, place.owner), right)

    def _check_create(
        self, place: Place, entries: Mapping[str, MailboxEntry], uses: str | None = None
    ) -> None:
        """Pass a name that the user may make: he has ``k`` on the nearest level above it.

        Raises: Denied, UseRefused.
        """
        above = next((s for s in reversed(names.superiors(place.inner)) if s in entries), None)
        acl = EMPTY if above is None else entries[above].acl
        if "k" not in self._rights_in(acl, place.owner):
            raise may_not_create(place.name)
        check_uses(entries, uses, place.inner, place.personal)

    def _owner_of(self, full: FullName, new: bool) -> Person:
        person: Person | None
        if full.space is Space.PERSONAL:
            if self._id is None:
                raise no_mailbox(str(full))
            return self.person
        if full.space is Space.OTHERS:
            person = self.people.find(full.owner) if full.owner else None
        else:
            person = self.people.shared()
            if person is None and new and self.is_administrator:
                mailstore = self.people.assign(spaces.SHARED)
                person = blocking.call(self.people.make_shared, mailstore)
        if person is None or (not full.inner and not new):
            raise no_mailbox(str(full))
        return person

    def _new_place(self, name: str) -> Place:
        """Where a name to be made leads, for a user who may make it, whether or not there is one already.

        Raises: Denied, also where there is no such user and he may not know; Invalid, LimitReached.
        """
        full = spaces.parse(name, new=True)
        try:
            if not full.inner:
                raise Invalid(f"{full} is only a level above mailboxes")
            place = self._place(full, new=True)
        except (Invalid, NotFound):
            if self.is_administrator:
                raise
            raise may_not_create(str(full)) from None
        self._check_create(place, place.account.mailboxes())
        if place.owner is not None:
            spaces.check_personal(place.inner)
        return place

    def _noting(self, person: Person) -> Callable[[frozenset[str], bool], None]:
        """Keeps whom an account's lists give something in the account database, for ``listing``.

        What is kept beyond the truth costs a look and no more, so a failure to shorten it fails nothing.
        """

        def note(identifiers: frozenset[str], only: bool) -> None:
            try:
                blocking.call(self.people.note_grants, person.id, identifiers, only)
            except MStoreError:
                if not only:
                    raise

        return note
