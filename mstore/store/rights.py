"""The rights of RFC 4314: their letters, how a client writes and is shown them, and what each allows.

Values only; who has which rights is worked out in ``acl`` and asked for in ``access``. Inside the store a set
of rights holds the eleven letters of §2.1 and nothing else: the letters ``c`` and ``d`` of RFC 2086 are read
as what they stand for and added again where a client is told (§2.1.1).
"""

from __future__ import annotations

from functools import lru_cache

from mstore.base.errors import Invalid
from mstore.base.flags import DELETED, SEEN, USER_BITS

Rights = frozenset[str]

ORDER = "lrswipkxtea"
"""All rights, in the order in which they are shown; their places are their bits on disk."""
ALL: Rights = frozenset(ORDER)
NONE: Rights = frozenset()
CREATE: Rights = frozenset("kx")
"""What ``c`` stands for."""
DELETE: Rights = frozenset("te")
"""What ``d`` stands for."""
TELLING: Rights = frozenset("lrikxa")
"""Who has one of these may know that there is such a mailbox (RFC 4314 §4, MYRIGHTS)."""
OWNER_ALWAYS: Rights = frozenset("la")
"""What nobody can take from an owner, so that a mistake can be undone."""
ADMINISTRATOR: Rights = frozenset("lakx")
"""What administrators have everywhere, whatever the lists say: enough to see, to share and to clear away."""

_OBSOLETE = {"c": CREATE, "d": DELETE}
_BITS = {right: 1 << place for place, right in enumerate(ORDER)}


def parse_rights(text: str) -> Rights:
    """The rights that a client or an administrator has written.

    RFC 4314 §2.1.1: ``c`` is ``kx`` and ``d`` is ``te``.
    Raises: Invalid for a letter that is no right (§3.1 "MUST cause the command to return the BAD response").
    """
    found: set[str] = set()
    for letter in text:
        if letter in ALL:
            found.add(letter)
        elif letter in _OBSOLETE:
            found |= _OBSOLETE[letter]
        elif letter.isupper():
            raise Invalid("rights are written in small letters")
        else:
            raise Invalid(f"there is no right {letter!r}; there are {ORDER}, and c and d of RFC 2086")
    return frozenset(found)


def format_rights(rights: Rights) -> str:
    """Rights as clients are shown them, with ``c`` and ``d`` where a part of these is given (§2.1.1)."""
    text = "".join(right for right in ORDER if right in rights)
    if rights & CREATE:
        text += "c"
    if rights & DELETE:
        text += "d"
    return text


def format_choice(always: Rights, never: Rights = NONE) -> tuple[str, tuple[str, ...]]:
    """What LISTRIGHTS tells: the rights always given, and each that can be given; none are tied (§3.4)."""
    possible = [right for right in ORDER if right not in always and right not in never]
    for letter, members in _OBSOLETE.items():
        if not members & always and members - never:
            possible.append(letter)
    return format_rights(always), tuple(possible)


def modify(old: Rights, op: str, rights: Rights) -> Rights:
    """Rights after SETACL's third argument: ``+`` adds, ``-`` takes away, ``=`` replaces (§3.1)."""
    if op == "+":
        return old | rights
    if op == "-":
        return old - rights
    if op == "=":
        return rights
    raise Invalid(f"rights are changed with +, - or =, not {op}")


def pack_rights(rights: Rights) -> int:
    """Rights as a word on disk."""
    word = 0
    for right in rights:
        word |= _BITS[right]
    return word


def unpack_rights(word: int) -> Rights:
    """The rights of a word on disk; bits that mean nothing yet are passed over."""
    return frozenset([right for right, bit in _BITS.items() if word & bit])


@lru_cache(maxsize=256)
def flag_mask(rights: Rights) -> int:
    """The bits of a flag word that may be changed: ``s`` \\Seen, ``t`` \\Deleted, ``w`` all others."""
    mask = USER_BITS & ~(SEEN | DELETED) if "w" in rights else 0
    if "s" in rights:
        mask |= SEEN
    if "t" in rights:
        mask |= DELETED
    return mask


@lru_cache(maxsize=256)
def is_read_only(rights: Rights, personal: bool) -> bool:
    """Whether SELECT says READ-ONLY.

    RFC 4314 §5.2: it does without ``i``, ``e`` and the rights to flags that others see; \\Seen is such a flag
    only in one's own mailboxes.
    """
    return not rights & (frozenset("iewts") if personal else frozenset("iewt"))
