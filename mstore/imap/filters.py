"""Which events are wanted of a mailbox, by its name: the groups of one NOTIFY (RFC 5465 §6).

Several groups can be about the same mailbox: what any of them wants is wanted, unless one of them says NONE,
which means that nothing is wanted of its mailboxes (§8 "NONE"), wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mstore.base.errors import Invalid, LimitReached
from mstore.imap.grammar import notify as words
from mstore.imap.grammar.notify import EventGroup
from mstore.store import news
from mstore.store.access import Access
from mstore.store.names import SEPARATOR, is_inferior
from mstore.store.neighbours import is_personal
from mstore.store.spaces import OTHERS

_BITS = {
    words.NEW: news.COUNTS,
    words.FLAG: news.FLAGS,
    words.NAME: news.NAMES,
    words.SUBSCRIPTION: news.SUBSCRIPTIONS,
    words.METADATA: news.ANNOTATIONS,
    words.SERVER_METADATA: news.SITE,
}


@dataclass(frozen=True, slots=True)
class _Group:
    kind: bytes
    names: frozenset[str]
    bits: int
    """0 for NONE."""

    def holds(self, name: str, subscribed: bool) -> bool:
        if self.kind in (b"PERSONAL", b"INBOXES"):
            # Mail may be delivered to any mailbox of one's own (``joe+work``).
            return is_personal(name)
        if self.kind == b"SUBSCRIBED":
            return subscribed
        if name in self.names:
            return True
        if self.kind == b"SUBTREE":
            return any(is_inferior(name, top) for top in self.names)
        return self.kind == b"SUBTREE-ONE" and name.rpartition(SEPARATOR)[0] in self.names


class Filters:
    """The groups of one NOTIFY SET, but for that of the selected mailbox."""

    __slots__ = ("_groups", "_named", "_subscribed", "with_others", "with_site")

    def __init__(self, groups: Iterable[EventGroup], access: Access) -> None:
        self._groups = tuple(
            _Group(
                group.source.kind,
                frozenset(_normalize(group.source.names, access)),
                sum(_BITS.get(event, 0) for event in group.events),
            )
            for group in groups
        )
        names = {name for group in self._groups for name in group.names}
        self._named = frozenset(_owners(names))
        self._subscribed = any(group.kind == b"SUBSCRIBED" for group in self._groups)
        self.with_others = self._subscribed or any(not is_personal(name) for name in names)
        """Whether mailboxes of others, or shared ones, can be meant."""
        self.with_site = any(group.bits & news.SITE for group in self._groups)
        """Whether changes of the site's annotations are wanted."""

    def wanted(self, name: str, subscribed: bool) -> int:
        """What is wanted of a mailbox: bits of ``store.news``."""
        bits = 0
        for group in self._groups:
            if group.holds(name, subscribed):
                if not group.bits:
                    return 0
                bits |= group.bits
        return bits

    def owners(self, subscribed: frozenset[str]) -> frozenset[str]:
        """The other users of whom mailboxes are meant by name."""
        return self._named.union(_owners(subscribed)) if self._subscribed else self._named


def _owners(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        parts = name.split(SEPARATOR, 2)
        if parts[0] == OTHERS and len(parts) > 1:
            yield parts[1]


def _normalize(names: Iterable[str], access: Access) -> Iterable[str]:
    """The names in their canonical form; what can never be a name is passed over (RFC 5465 §3.1)."""
    for name in names:
        try:
            yield access.normalize(name)
        except (Invalid, LimitReached):
            continue
