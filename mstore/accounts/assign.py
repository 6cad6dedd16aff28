"""Which mailstore a new account goes to: the rules of ``ms-assignment-policy``.

The first rule whose pattern fits the name decides; without one, accounts go round all mailstores. Whatever a
rule says, it says it of new accounts alone: one that exists stays where its record says it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from mstore.accounts.login import LoginRules, fold
from mstore.base.errors import Invalid, Unavailable
from mstore.base.values import AssignmentRule


def free_bytes(path: Path) -> int | None:
    """What an ordinary user may still write to the file system of a mailstore; None when that is unknown."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def assign(
    name: str,
    rules: Sequence[AssignmentRule],
    mailstores: Mapping[str, Path],
    counts: Mapping[str, int],
    login_rules: LoginRules | None = None,
    free: Callable[[Path], int | None] = free_bytes,
) -> str:
    """The mailstore for a new account, given how many accounts each has.

    A pattern fits when it fits any spelling of the name that means the same account.
    Raises: Invalid when there is no mailstore at all, Unavailable when none of those that a rule compares by
    their space can be looked at.
    """
    login_rules = login_rules or LoginRules()
    spellings = login_rules.keys(name)
    rule = AssignmentRule("round-robin", "*", tuple(mailstores))
    for candidate in rules:
        if any(fnmatchcase(spelling, fold(candidate.glob)) for spelling in spellings):
            rule = candidate
            break
    if not rule.mailstores:
        raise Invalid("no mailstore is configured")
    if rule.rule == "hash":
        return by_hash(login_rules.key(name), rule.mailstores)
    if rule.rule == "most-free":
        return _most_free(rule.mailstores, mailstores, counts, free)
    return in_turn(rule.mailstores, counts)


def in_turn(candidates: Sequence[str], counts: Mapping[str, int]) -> str:
    """The one with the fewest accounts, the first of them where some have equally few.

    That is going round, and evens out whatever was removed or moved meanwhile.
    """
    return min(candidates, key=lambda mailstore: counts.get(mailstore, 0))


def by_hash(key: str, candidates: Sequence[str]) -> str:
    """The one to which the name alone leads, in whatever order they stand.

    Each pair of name and mailstore has a number, and the highest wins: a mailstore that is added takes its
    share of names from all others and moves no name between them.
    """

    def weight(mailstore: str) -> bytes:
        return blake2b(f"{mailstore}\0{key}".encode(), digest_size=8).digest()

    return max(sorted(candidates), key=weight)


def _most_free(
    candidates: Sequence[str],
    mailstores: Mapping[str, Path],
    counts: Mapping[str, int],
    free: Callable[[Path], int | None],
) -> str:
    room = {mailstore: free(mailstores[mailstore]) for mailstore in candidates}
    known = {mailstore: size for mailstore, size in room.items() if size is not None}
    if not known:
        raise Unavailable(f"cannot tell how much space is left in {', '.join(candidates)}")
    most = max(known.values())
    return in_turn([mailstore for mailstore, size in known.items() if size == most], counts)
