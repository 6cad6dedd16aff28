"""What a watch has to tell: values that say what happened to mailboxes, for ``watching`` and protocols."""

from __future__ import annotations

from dataclasses import dataclass

from mstore.store.change import MailboxStatus
from mstore.store.namestate import MailboxEntry

COUNTS, FLAGS, NAMES, SUBSCRIPTIONS, ANNOTATIONS, SITE = (1 << bit for bit in range(6))
"""What may be watched: arrivals and removals; flags; names; subscriptions; annotations, of a mailbox, of the
site."""


@dataclass(frozen=True, slots=True)
class NameNews:
    """A name is not what it was: made, removed, renamed, subscribed, or readable no more."""

    name: str
    entry: MailboxEntry | None
    """None where there is no such mailbox, or none that the user may see."""
    old_name: str | None = None
    has_children: bool = False
    subscribed: bool = False
    no_access: bool = False
    """It is there, and the user may not read it."""


@dataclass(frozen=True, slots=True)
class CountNews:
    """What a mailbox holds is not what it was."""

    name: str
    before: MailboxStatus | None
    """None where everything is news."""
    now: MailboxStatus
    wanted: int
    """What of it is wanted."""


@dataclass(frozen=True, slots=True)
class AnnotationNews:
    """Annotations of a mailbox, or of the site where the name is empty, have changed or gone."""

    name: str
    entries: tuple[str, ...]


News = NameNews | CountNews | AnnotationNews
