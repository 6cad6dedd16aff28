"""The three namespaces (RFC 2342): one's own mailboxes, those of other users, and the shared ones.

A full name is what a user sees: ``work/plans`` is his own, ``user/joe/plans`` is joe's, ``shared/bugs`` is
the site's. Here it is taken apart into the namespace, the owner's name and the name within the owner's
account. Nothing here knows whether there is such a user or mailbox.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum

from mstore.base.errors import Invalid
from mstore.store import names
from mstore.store.names import INBOX, SEPARATOR

OTHERS = "user"
SHARED = "shared"
OTHERS_PREFIX = OTHERS + SEPARATOR
SHARED_PREFIX = SHARED + SEPARATOR
ELSEWHERE = (OTHERS, SHARED)
"""How names begin that may be those of other namespaces."""

_RESERVED = frozenset((OTHERS, SHARED))


class Space(Enum):
    """A namespace."""

    PERSONAL = "personal"
    OTHERS = "others"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class FullName:
    """A name taken apart, in its canonical form."""

    space: Space
    owner: str
    """As it was written, for OTHERS; empty otherwise."""
    inner: str
    """The name within the owner's account; empty for a level that only leads to mailboxes (``user/joe``)."""

    def __str__(self) -> str:
        if self.space is Space.PERSONAL:
            return self.inner
        parts = [OTHERS, self.owner, self.inner] if self.space is Space.OTHERS else [SHARED, self.inner]
        return SEPARATOR.join(part for part in parts if part)


def parse(name: str, new: bool = False) -> FullName:
    """Take a full name apart; a ``new`` one may have a separator at its end (RFC 3501 §6.3.3).

    Raises: Invalid for what can never be a name, LimitReached.
    """
    first, _, rest = name.partition(SEPARATOR)
    if first not in _RESERVED:
        return FullName(Space.PERSONAL, "", names.normalize_new(name) if new else names.normalize(name))
    if new:
        rest = rest.removesuffix(SEPARATOR)
    if first == SHARED:
        inner = names.normalize(rest) if rest else ""
        if inner == INBOX or names.is_inferior(inner, INBOX):
            raise Invalid("there is no shared INBOX")
        return FullName(Space.SHARED, "", inner)
    owner, slash, rest = rest.partition(SEPARATOR)
    if owner:
        owner = unicodedata.normalize("NFC", owner)
        names.check(owner)
    elif slash:
        raise Invalid("a user's name belongs between user/ and the mailbox")
    return FullName(Space.OTHERS, owner, names.normalize(rest) if rest else "")


def join(space: Space, owner: str, inner: str) -> str:
    """The full name of a mailbox."""
    return str(FullName(space, unicodedata.normalize("NFC", owner), inner))


def check_personal(inner: str) -> None:
    """Pass a name that a mailbox of a user may be given.

    Raises: Invalid for one that would be taken for another namespace's.
    """
    first = inner.partition(SEPARATOR)[0]
    if first in _RESERVED:
        raise Invalid(f"a mailbox of one's own cannot be called {first}: that is another namespace")
