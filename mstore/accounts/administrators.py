"""Who is an administrator: what ``admin-users`` and ``admin_domain`` say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mstore.accounts.login import LoginRules, fold


@dataclass(frozen=True, slots=True)
class Administrators:
    """The administrators of a site; without options there are none."""

    rules: LoginRules = field(default_factory=LoginRules)
    keys: frozenset[str] = frozenset()
    domain: str | None = None

    @classmethod
    def of(cls, users: Iterable[str], domain: str | None, rules: LoginRules) -> Administrators:
        """The administrators for the values of the two options."""
        return cls(rules, frozenset(map(rules.key, users)), fold(domain) if domain else None)

    def includes(self, name: str) -> bool:
        """Whether the account of this name is an administrator's.

        A name without a domain is one of the default domain. With ``single-domain`` domains do not count,
        so nobody is an administrator by his.
        """
        if self.rules.key(name) in self.keys:
            return True
        if self.domain is None or self.rules.single_domain:
            return False
        return (fold(name).rpartition("@")[2] if "@" in name else self.rules.default_domain) == self.domain
