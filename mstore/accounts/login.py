"""What makes two spellings of a login name or an address the same account.

Names are compared in Unicode NFC without case. A domain is part of the name unless the site says otherwise:
``default-domain`` is left out (``joe@default.example`` is ``joe``), and with ``single-domain`` every domain
is.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from mstore.base.errors import Invalid, LimitReached

MAX_BYTES = 255

RESERVED = frozenset(("anyone", "anonymous"))
"""Identifiers of access control lists (RFC 4314 §2)."""

_FORBIDDEN = frozenset('/%*"\\()<>{},;:')


@dataclass(frozen=True, slots=True)
class LoginRules:
    """How a site reads names: its default domain (already folded) and whether domains count at all."""

    default_domain: str | None = None
    single_domain: bool = False

    @classmethod
    def of(cls, default_domain: str | None, single_domain: bool) -> LoginRules:
        """The rules for the values of ``default-domain`` and ``single-domain``."""
        return cls(fold(default_domain) if default_domain else None, single_domain)

    def key(self, name: str) -> str:
        """The form of a name under which its account is kept; two names with one key are one account."""
        folded = fold(name)
        local, at, domain = folded.rpartition("@")
        if not at:
            return folded
        return local if self.single_domain or domain in ("", self.default_domain) else folded

    def new_key(self, name: str) -> str:
        """The form under which a name that somebody is to get is kept.

        Raises: Invalid, LimitReached for a name that nobody may have, in whichever spelling.
        """
        check_account_name(name)
        key = self.key(name)
        _check_means_somebody(key, name)
        return key

    def keys(self, name: str) -> list[str]:
        """All forms to look for, the right one first.

        The others find accounts that were made before the site changed its rules.
        """
        folded = fold(name)
        key = self.key(name)
        found = [key]
        if folded != key:
            found.append(folded)
        elif self.default_domain and "@" not in folded:
            found.append(f"{folded}@{self.default_domain}")
        return found


def fold(name: str) -> str:
    """A name without what does not distinguish it: composed (NFC) and case-folded."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_account_name(name: str) -> None:
    """Pass what may be the name of an account, an alias or a group.

    Account names appear as a component of mailbox names (``user/NAME``), in lists of rights and in
    addresses, so separators, wildcards, spaces and quoting characters are refused.
    Raises: Invalid, LimitReached.
    """
    if not name:
        raise Invalid("an account name cannot be empty")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Cf", "Cn", "Co") for c in name) or not name.isprintable():
        raise Invalid("an account name cannot contain control or unprintable characters")
    if len(name.encode()) > MAX_BYTES:
        raise LimitReached(f"an account name cannot be longer than {MAX_BYTES} bytes")
    if not _FORBIDDEN.isdisjoint(name) or any(c.isspace() for c in name):
        raise Invalid('an account name cannot contain spaces or any of / % * " \\ ( ) < > { } , ; :')
    _check_means_somebody(fold(name), name)
    local, at, domain = name.partition("@")
    if not local or (at and not domain) or "@" in domain:
        raise Invalid("an account name is LOCAL or LOCAL@DOMAIN")
    if name[0] in "-+.$#&":
        raise Invalid("an account name cannot begin with any of - + . $ # &")
    if ".." in name or local.endswith("."):
        raise Invalid("an account name cannot have two dots in a row or one before '@', as no address can")
    if "+" in local:
        raise Invalid("an account name cannot contain '+': what follows it in an address names a mailbox")


def _check_means_somebody(key: str, name: str) -> None:
    if key in RESERVED:
        raise Invalid(f"{name} means no single account in lists of rights")
