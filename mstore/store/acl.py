"""Access control lists: who has which rights in a mailbox, and what follows for one user.

Plain values. Inside the store an identifier is ``anyone``, ``anonymous``, ``user:ID`` or ``group:ID``, with a
``-`` in front where its rights are taken away. Ids and not names, so that somebody who gets the name of a
removed user inherits nothing; ``access`` translates. A list never changes: each change makes another, and
equal lists that are read from disk are one object, for most mailboxes of a site have the same few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mstore.base.errors import Invalid, LimitReached
from mstore.base.ids import AccountId
from mstore.files.cataloglayout import ACL_ENTRY
from mstore.store.rights import ADMINISTRATOR, ALL, NONE, OWNER_ALWAYS, Rights, pack_rights, unpack_rights

MAX_ENTRIES = 250
"""So many entries a list can have: together they are far below what an attribute's length can say."""

ANYONE = "anyone"
ANONYMOUS = "anonymous"
USER = "user:"
GROUP = "group:"
NEGATIVE = "-"

_KINDS = {1: ANYONE, 2: ANONYMOUS, 3: USER, 4: GROUP}
_NUMBERS = {word: kind for kind, word in _KINDS.items()}


class Acl:
    """A list of identifiers and their rights."""

    __slots__ = ("_entries", "encoded")

    def __init__(self, entries: Mapping[str, Rights]) -> None:
        if len(entries) > MAX_ENTRIES:
            raise LimitReached(f"an access control list cannot have more than {MAX_ENTRIES} entries")
        self._entries = {identifier: entries[identifier] for identifier in sorted(entries)}
        self.encoded = b"".join(_format_entry(*entry) for entry in self._entries.items())
        """As it stands in a catalog."""

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Acl) and self.encoded == other.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        return f"Acl({self._entries})"

    def __iter__(self) -> Iterator[tuple[str, Rights]]:
        return iter(self._entries.items())

    def get(self, identifier: str) -> Rights | None:
        """The rights of an entry, None when there is no such entry."""
        return self._entries.get(identifier)

    def speaks_of(self, account_id: AccountId) -> bool:
        """Whether there is an entry for this user himself, of either kind."""
        own = USER + account_id
        return own in self._entries or NEGATIVE + own in self._entries

    def put(self, identifier: str, rights: Rights) -> Acl:
        """The list with this entry, empty rights included: an owner's say that he has none left.

        Raises: LimitReached.
        """
        return Acl({**self._entries, identifier: rights})

    def without(self, identifier: str) -> Acl:
        """The list without an entry."""
        return Acl({other: rights for other, rights in self._entries.items() if other != identifier})

    def grantees(self) -> frozenset[str]:
        """The identifiers to which this list gives anything."""
        return frozenset(
            identifier
            for identifier, rights in self._entries.items()
            if rights and not identifier.startswith(NEGATIVE)
        )


EMPTY = Acl({})


@dataclass(frozen=True, slots=True)
class Who:
    """A user, as access control lists see one."""

    account_id: AccountId | None
    """None for somebody anonymous."""
    groups: frozenset[str] = frozenset()
    """The ids of the groups that he is in."""
    is_administrator: bool = False
    identifiers: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())
    """The entries of a list that mean him."""

    def __post_init__(self) -> None:
        found = {ANYONE, ANONYMOUS if self.account_id is None else USER + self.account_id}
        found.update(GROUP + group for group in self.groups)
        object.__setattr__(self, "identifiers", frozenset(found))


def effective(acl: Acl, who: Who, owner: AccountId | None) -> Rights:
    """The rights that somebody has in a mailbox with this list.

    What all entries give that mean him, without what the negative ones take away (RFC 4314 §2). An owner has
    all rights unless an entry for himself says less, and always ``l`` and ``a``; what is taken from a group
    or from anyone is not taken from him. An administrator always has ``lakx``. Nobody anonymous has ``s``:
    there is no place for what he has seen.
    """
    is_owner = owner is not None and who.account_id == owner
    given: set[str] = set()
    taken: Rights = NONE
    if is_owner:
        own = USER + str(owner)
        given |= ALL if acl.get(own) is None else OWNER_ALWAYS
        taken = (acl.get(NEGATIVE + own) or NONE) - OWNER_ALWAYS
    if acl:
        for identifier in who.identifiers:
            given |= acl.get(identifier) or NONE
            if not is_owner:
                taken |= acl.get(NEGATIVE + identifier) or NONE
    given -= taken
    if who.is_administrator:
        given |= ADMINISTRATOR
    if who.account_id is None:
        given.discard("s")
    return frozenset(given)


@lru_cache(maxsize=4096)
def parse_acl(data: bytes) -> Acl:
    """The list in a catalog's attribute.

    Raises: IndexError when it is damaged.
    """
    if len(data) % ACL_ENTRY.size or len(data) > MAX_ENTRIES * ACL_ENTRY.size:
        raise IndexError("an access control list is cut off")
    return Acl(dict(_parse_entries(data)))


def check_identifier(identifier: str) -> None:
    """Pass an identifier of the store's own form.

    Raises: Invalid.
    """
    try:
        _format_entry(identifier, NONE)
    except (KeyError, ValueError):
        raise Invalid(f"{identifier} is no identifier") from None


def all_grantees(acls: Iterable[Acl]) -> frozenset[str]:
    """The identifiers to which any of these lists gives anything."""
    found: set[str] = set()
    for acl in set(acls):
        found |= acl.grantees()
    return frozenset(found)


def _parse_entries(data: bytes) -> Iterator[tuple[str, Rights]]:
    for at in range(0, len(data), ACL_ENTRY.size):
        entry = ACL_ENTRY.read(data, at)
        word = _KINDS.get(entry.kind)
        if word is None or entry.negative > 1:
            raise IndexError("an entry of an access control list means nobody known")
        identifier = f"{word}{entry.id:016x}" if word in (USER, GROUP) else word
        yield (NEGATIVE if entry.negative else "") + identifier, unpack_rights(entry.rights)


def _format_entry(identifier: str, rights: Rights) -> bytes:
    positive = identifier.removeprefix(NEGATIVE)
    word, colon, number = positive.partition(":")
    kind = _NUMBERS[word + colon]
    return ACL_ENTRY.pack(kind, int(positive is not identifier), pack_rights(rights), int(number or "0", 16))
