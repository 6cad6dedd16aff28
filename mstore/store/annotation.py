"""Annotations of mailboxes and of the site (RFC 5464): who may see and set which, and where they are kept.

What is shared about a mailbox is kept in the catalog of the account it belongs to, and goes with it. What is
private is kept in the catalog of the user whose it is, also about mailboxes of others. What is shared about
the site is kept in the account of the shared mailboxes. ``/private/specialuse`` is no annotation of its own:
it is the special uses of one of the user's mailboxes (RFC 6154 §4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mstore.base.errors import Denied, Invalid, MStoreError, NotFound
from mstore.store import namestate
from mstore.store.namestate import NO_MAILBOX, Annotations, MailboxEntry, NameState, Record
from mstore.store.specialuse import parse_uses

if TYPE_CHECKING:
    from mstore.store.access import Access
    from mstore.store.account import Account
    from mstore.store.mailbox import Mailbox
    from mstore.store.place import Place

MAX_VALUE_BYTES = 32 << 10
MAX_ENTRIES = 100
"""For one mailbox, private and shared each."""
MAX_ACCOUNT_BYTES = 1 << 20
"""All that one catalog holds."""
SHARED_PREFIX, PRIVATE_PREFIX = "/shared/", "/private/"
SPECIAL_USE = "/private/specialuse"
ADMIN = "/shared/admin"
READING = frozenset("rswip")
"""Besides ``l``, one of these opens a mailbox's annotations (RFC 5464 §3.3)."""

Changes = Mapping[str, bytes | None]


class TooLong(MStoreError):
    """A value is longer than the limit (RFC 5464 METADATA MAXSIZE)."""


class TooMany(MStoreError):
    """There are as many annotations as there may be (RFC 5464 METADATA TOOMANY)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an account's annotations are about: a mailbox of its own or of another's, or the site."""

    owner: int = 0
    """The account whose mailbox it is; 0 for the account's own."""
    mailbox: int = 0
    """0 for the site."""


SITE = Subject()


def read(access: Access, name: str) -> dict[str, bytes]:
    """All annotations of a mailbox, or of the site where the name is empty, that the user may see.

    Raises: NotFound, Denied where he has no right to read or change anything in the mailbox.
    """
    if not name:
        site = access.site_account()
        found = {} if site is None else _of(site, SITE, SHARED_PREFIX)
        return found if access.is_anonymous else found | _of(access.account, SITE, PRIVATE_PREFIX)
    place = _place(access, name)
    assert place.entry is not None
    if place.entry.no_select:
        return {}
    own = Subject(0, int(place.entry.id, 16))
    found = _of(place.account, own, SHARED_PREFIX)
    if not access.is_anonymous:
        found |= _of(access.account, _private_subject(place), PRIVATE_PREFIX)
    if place.personal and place.entry.special_use is not None:
        found[SPECIAL_USE] = place.entry.special_use.encode("ascii")
    return found


def write(
    access: Access, name: str, changes: Changes, note: Callable[[Mailbox], object] = lambda mailbox: None
) -> None:
    """Set annotations, or remove those whose value is None; all or none of them.

    Shared ones of a mailbox need ``w``, those of the site an administrator. Once they are set, the mailbox
    gets a higher HIGHESTMODSEQ (RFC 7162 §3.2); ``note`` is then told of the mailbox.
    Locks: takes the account's, and then that of the mailbox. Durable: the annotations.
    Raises: NotFound, Denied, Invalid, UseRefused, TooLong, TooMany, Busy, StorageFailed.
    """
    if any(value is not None and len(value) > MAX_VALUE_BYTES for value in changes.values()):
        raise TooLong(f"a value cannot be longer than {MAX_VALUE_BYTES} bytes")
    shared = {entry: value for entry, value in changes.items() if entry.startswith(SHARED_PREFIX)}
    private = {entry: value for entry, value in changes.items() if entry not in shared}
    if not name:
        _write_site(access, shared, private)
        return
    place = _place(access, name)
    assert place.entry is not None
    if place.entry.no_select:
        raise Invalid(f"{place.name} is only a name for what lies beneath it")
    if shared and "w" not in place.rights:
        raise Denied(f"you have no right 'w' to {place.name}")
    if SPECIAL_USE in private and not place.personal:
        raise Invalid("only one's own mailboxes have special uses")
    own = Subject(0, int(place.entry.id, 16))
    if place.personal:
        access.account.annotate(own, changes, place.entry)
    else:
        if private:
            access.account.check_annotations(_private_subject(place), private)
        if shared:
            place.account.annotate(own, shared, place.entry)
        if private:
            access.account.annotate(_private_subject(place), private)
    _raise_modseq(access, place, note)


def _raise_modseq(access: Access, place: Place, note: Callable[[Mailbox], object]) -> None:
    """Let clients that resume by MODSEQ see that something has changed about a mailbox."""
    assert place.entry is not None
    reader = None if place.personal or access.is_anonymous else access.account.id
    try:
        mailbox = place.account.open_entry(place.entry, reader)
    except NotFound:
        return  # it was deleted meanwhile, and its annotations with it
    try:
        with mailbox.transaction() as tx:
            tx.raise_modseq()
        note(mailbox)
    except NotFound:
        pass
    finally:
        mailbox.release()


def _write_site(access: Access, shared: Changes, private: Changes) -> None:
    if SPECIAL_USE in private:
        raise Invalid("only mailboxes have special uses")
    if private:
        access.account.check_annotations(SITE, private)
    if shared:
        if ADMIN in shared:
            raise Denied("the administrator's address is set in the configuration")
        if not access.is_administrator:
            raise Denied("only administrators may annotate the site")
        site = access.site_account(make=True)
        assert site is not None
        site.annotate(SITE, shared)
    if private:
        access.account.annotate(SITE, private)


def records_for(
    state: NameState, subject: Subject, changes: Changes, entry: MailboxEntry | None = None
) -> list[Record]:
    """The records that change an account's annotations; ``entry`` is the mailbox they are about.

    A special use is taken from the mailbox that had it (RFC 6154 §5.4).
    Raises: NotFound when the mailbox is no more, UseRefused, TooMany.
    """
    records: list[Record] = []
    entries = state.entries
    if entry is not None:
        now = entries.get(entry.name)
        if now is None or now.id != entry.id:
            now = next((other for other in entries.values() if other.id == entry.id), None)
        if now is None:
            raise NotFound(f"there is no mailbox {entry.name}")
        if SPECIAL_USE in changes:
            records += _records_for_use(entries.values(), now, changes[SPECIAL_USE])
    plain = {name: value for name, value in changes.items() if name != SPECIAL_USE}
    check_room(state.annotations, subject, plain)
    records += [
        namestate.annotated(subject.owner, subject.mailbox, name, value) for name, value in plain.items()
    ]
    return records


def check_room(annotations: Annotations, subject: Subject, changes: Changes) -> None:
    """Pass changes after which there are no more annotations than there may be.

    Raises: TooMany.
    """
    if all(value is None for value in changes.values()):
        return
    after = dict(annotations.get((subject.owner, subject.mailbox), {}))
    before_bytes = sum(map(len, after.values()))
    for entry, value in changes.items():
        if value is None:
            after.pop(entry, None)
        else:
            after[entry] = value
    for prefix in (SHARED_PREFIX, PRIVATE_PREFIX):
        if sum(entry.startswith(prefix) for entry in after) > MAX_ENTRIES:
            raise TooMany(f"there cannot be more than {MAX_ENTRIES} annotations here")
    used = sum(len(value) for of_one in annotations.values() for value in of_one.values())
    if used - before_bytes + sum(map(len, after.values())) > MAX_ACCOUNT_BYTES:
        raise TooMany("there is no room for more annotations")


def _records_for_use(
    entries: Iterable[MailboxEntry], entry: MailboxEntry, value: bytes | None
) -> list[Record]:
    uses = parse_uses((value or b"").decode("utf-8", "replace").split())
    records = [namestate.name_set(replace(entry, special_use=uses))]
    wanted = set((uses or "").split())
    for other in entries:
        held = (other.special_use or "").split()
        if other.id != entry.id and not wanted.isdisjoint(held):
            kept = parse_uses(use for use in held if use not in wanted)
            records.append(namestate.name_set(replace(other, special_use=kept)))
    return records


def _place(access: Access, name: str) -> Place:
    place = access.place(name, "l")
    if not place.rights & READING:
        raise Denied(f"you may not see annotations of {place.name}")
    return place


def _private_subject(place: Place) -> Subject:
    assert place.entry is not None and place.entry.id != NO_MAILBOX
    return Subject(0 if place.personal else int(place.person.id, 16), int(place.entry.id, 16))


def _of(account: Account, subject: Subject, prefix: str) -> dict[str, bytes]:
    found = account.annotations(subject)
    return {entry: value for entry, value in found.items() if entry.startswith(prefix)}
