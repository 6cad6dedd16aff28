"""Special uses of one's own mailboxes (RFC 6154): which there are, and the mailboxes that have them at first.

A use belongs to one mailbox of an account at most, and is the owner's affair: nobody else is shown it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mstore.base.errors import UseRefused
from mstore.store.namestate import MailboxEntry

USES: Mapping[str, str] = MappingProxyType(
    {use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}
)
"""By their small letters. ``\\All`` and ``\\Flagged`` would be mailboxes that hold copies of others."""
DEFAULTS = (
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Trash", "\\Trash"),
    ("Junk", "\\Junk"),
    ("Archive", "\\Archive"),
)
"""What every account is given at its first login."""


def parse_uses(words: Iterable[str]) -> str | None:
    """The uses that somebody has written, in the form in which an entry keeps them; None for none.

    Raises: UseRefused for one that is not there.
    """
    found = set()
    for word in words:
        use = USES.get(word.lower())
        if use is None:
            raise UseRefused(f"there is no special use {word}")
        found.add(use)
    return " ".join(sorted(found)) or None


def check_uses(entries: Mapping[str, MailboxEntry], uses: str | None, name: str, personal: bool) -> None:
    """Pass uses for one of the user's own mailboxes, which no other has.

    RFC 6154 §3 "servers MAY refuse the creation".
    Raises: UseRefused.
    """
    if uses is None:
        return
    if not personal:
        raise UseRefused("only one's own mailboxes have special uses")
    for use in uses.split():
        other = holder(entries, use)
        if other is not None and other != name:
            raise UseRefused(f"{other} is the mailbox for {use} already")


def holder(entries: Mapping[str, MailboxEntry], use: str) -> str | None:
    """The mailbox that has a use."""
    return next((name for name, entry in entries.items() if use in (entry.special_use or "").split()), None)
