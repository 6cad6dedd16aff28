"""Which mailstore a new account goes to: the rules of ``ms-assignment-policy``.

The first rule whose pattern fits the name decides; without one, all mailstores are candidates. Of several
candidates the one with the fewest accounts is taken, the first of them where some have equally few: that is
going round in turn, whatever was removed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from mstore.accounts.login import fold
from mstore.base.errors import Invalid
from mstore.base.values import AssignmentRule


def assign(
    name: str, rules: Sequence[AssignmentRule], mailstores: Iterable[str], counts: Mapping[str, int]
) -> str:
    """The mailstore for a new account, given how many accounts each has.

    Raises: Invalid when there is no mailstore at all.
    """
    folded = fold(name)
    candidates = tuple(mailstores)
    for rule in rules:
        if rule.rule == "all" or fnmatchcase(folded, fold(rule.glob)):
            candidates = rule.mailstores
            break
    if not candidates:
        raise Invalid("no mailstore is configured")
    return min(candidates, key=lambda mailstore: counts.get(mailstore, 0))
