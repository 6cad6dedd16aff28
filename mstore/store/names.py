"""Mailbox names: their one canonical form, their hierarchy, and the limits on them.

A name inside the store is a ``str`` in Unicode NFC with ``/`` between the components, ``INBOX`` in capitals
where it is the first component. Nothing here touches a file, and no name ever becomes a path: directories
are named by ids. What IMAP sends (modified UTF-7) is decoded before it comes here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from mstore.base.errors import Invalid, LimitReached

SEPARATOR = "/"
INBOX = "INBOX"
MAX_DEPTH = 32
MAX_BYTES = 1000

_INBOX_FOLDED = "inbox"
_FORBIDDEN = frozenset("%*")


def normalize(name: str) -> str:
    """The canonical form of a mailbox name: NFC, ``INBOX`` folded (RFC 3501 §5.1), nothing doubtful in it.

    Raises: Invalid for what can never be a name, LimitReached when it is too long or too deep.
    """
    if name.isascii():
        if name == INBOX:
            return name
    else:
        name = unicodedata.normalize("NFC", name)
    first, slash, rest = name.partition(SEPARATOR)
    if first.lower() == _INBOX_FOLDED:
        name = INBOX + slash + rest
    check(name)
    return name


def normalize_new(name: str) -> str:
    """The canonical form of a name to be created: a trailing separator only announces names beneath it.

    RFC 3501 §6.3.3 "the name created is without the trailing hierarchy delimiter".
    Raises: Invalid, LimitReached.
    """
    return normalize(name[:-1] if len(name) > 1 and name.endswith(SEPARATOR) else name)


def check(name: str) -> None:
    """Pass what may be a mailbox name, already in NFC.

    Raises: Invalid, LimitReached.
    """
    if not name:
        raise Invalid("a mailbox name cannot be empty")
    if len(name) > MAX_BYTES or (not name.isascii() and _utf8_length(name) > MAX_BYTES):
        raise LimitReached(f"a mailbox name cannot be longer than {MAX_BYTES} bytes")
    components = name.split(SEPARATOR)
    if len(components) > MAX_DEPTH:
        raise LimitReached(f"mailbox names cannot have more than {MAX_DEPTH} levels")
    if "" in components:
        raise Invalid("a mailbox name cannot begin or end with '/', nor contain it twice in a row")
    if not name.isprintable():
        _check_characters(name)
    if not _FORBIDDEN.isdisjoint(name):
        raise Invalid("a mailbox name cannot contain '%' or '*'")


def parent(name: str) -> str | None:
    """The name one level up, or None at the top."""
    head, slash, _ = name.rpartition(SEPARATOR)
    return head if slash else None


def superiors(name: str) -> list[str]:
    """All names above this one, the topmost first."""
    found = []
    at = name.find(SEPARATOR)
    while at >= 0:
        found.append(name[:at])
        at = name.find(SEPARATOR, at + 1)
    return found


def is_inferior(name: str, superior: str) -> bool:
    """Whether a name lies anywhere beneath another."""
    return name.startswith(superior) and name[len(superior) : len(superior) + 1] == SEPARATOR


def sort_key(name: str) -> tuple[bool, list[str]]:
    """Orders names as a listing shows them: INBOX first, children straight behind their parent."""
    components = name.split(SEPARATOR)
    return components[0] != INBOX, components


def sorted_names(names: Iterable[str]) -> list[str]:
    """Names in the order of a listing."""
    return sorted(names, key=sort_key)


def _utf8_length(name: str) -> int:
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        raise Invalid("a mailbox name cannot contain surrogates") from None


def _check_characters(name: str) -> None:
    """Refuse control characters, surrogates and line ends; spaces and format characters have their use."""
    for character in name:
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Zl", "Zp"):
            raise Invalid(f"a mailbox name cannot contain the character U+{ord(character):04X}")
        if category == "Cn" and (ord(character) & 0xFFFE) == 0xFFFE:
            raise Invalid(f"a mailbox name cannot contain the character U+{ord(character):04X}")
