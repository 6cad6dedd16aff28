"""How long messages stay: in a mailbox, by rules for some; and once expunged, for ``msadm undelete``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mstore.base.options import Settings
from mstore.base.values import ExpiryRule
from mstore.store.namestate import MailboxEntry

DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What the configuration says of it."""

    retain_s: int = 0
    """How long the bytes of an expunged message are not given back."""
    rules: Sequence[ExpiryRule] = ()

    @classmethod
    def of(cls, settings: Settings) -> Lifetimes:
        """Those of a site."""
        return cls(settings.retain_expunged * DAY_S, settings.auto_expunge)

    def days_in(self, entry: MailboxEntry) -> int | None:
        """How many days messages stay in a mailbox; None for ever.

        What is said of this mailbox alone goes before all rules; of several rules the shortest counts.
        """
        if entry.days is not None:
            return entry.days or None
        if not self.rules:
            return None
        name = entry.name.casefold()
        own = [rule.days for rule in self.rules if rule.mailbox.casefold() == name]
        uses = (entry.special_use or "").split()
        return min(own or [rule.days for rule in self.rules if rule.mailbox in uses], default=None)


FOR_EVER = Lifetimes()
"""Messages stay until they are expunged, and are gone then."""
