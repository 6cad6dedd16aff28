"""What has become of names: made, removed, renamed, found by comparing the names before with those of now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from mstore.store.names import SEPARATOR, is_inferior, sorted_names
from mstore.store.namestate import MailboxEntry
from mstore.store.news import NAMES, NameNews

Wanted = Callable[[str, bool], int]


@dataclass(frozen=True, slots=True)
class Seen:
    """The names that somebody may see, and those he has subscribed."""

    names: Mapping[str, MailboxEntry]
    subscribed: frozenset[str]
    _parents: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def describe(self, news: NameNews, no_access: bool) -> NameNews:
        """The same with all that is to be said of a name as it is now."""
        return replace(
            news,
            has_children=self._has_children(news.name),
            subscribed=news.name in self.subscribed,
            no_access=no_access,
        )

    def _has_children(self, name: str) -> bool:
        if not self._parents:
            for one in self.names:
                at = one.rfind(SEPARATOR)
                while at >= 0 and one[:at] not in self._parents:
                    self._parents.add(one[:at])
                    at = one.rfind(SEPARATOR, 0, at)
        return name in self._parents


def compare_names(before: Seen, now: Seen, wanted: Wanted, own: Set[str]) -> Iterator[NameNews]:
    """What there is to tell of names, but for those that are one's ``own`` doing.

    RFC 5465 §5.4: of a name that is made or removed, and of the level above it; of one that is renamed once,
    not of those beneath it.
    """
    gone = {name for name, entry in before.names.items() if not _is_same(entry, now.names.get(name))}
    come = {name for name, entry in now.names.items() if not _is_same(entry, before.names.get(name))}
    renamed = _find_renamed(before, now, gone, come)
    affected: set[str] = set()
    for name in (gone | come) - own:
        affected.add(name)
        above = name.rpartition(SEPARATOR)[0]
        if above and above not in own:
            affected.add(above)
    for name in sorted_names(affected.union(renamed)):
        old = renamed.get(name)
        if old is not None and (name in own or old in own):
            continue
        if _wants(name, before, now, wanted) or (old is not None and _wants(old, before, now, wanted)):
            yield NameNews(name, now.names.get(name), old)


def _wants(name: str, before: Seen, now: Seen, wanted: Wanted) -> bool:
    return bool(wanted(name, name in now.subscribed or name in before.subscribed) & NAMES)


def _is_same(entry: MailboxEntry, other: MailboxEntry | None) -> bool:
    return other is not None and entry.id == other.id and entry.no_select == other.no_select


def _find_renamed(before: Seen, now: Seen, gone: set[str], come: set[str]) -> dict[str, str]:
    """New names and the old ones, the topmost of each hierarchy; takes what they explain out of the sets."""
    ids = {before.names[name].id: name for name in gone if not before.names[name].no_select}
    renamed: dict[str, str] = {}
    for name in sorted(come):
        entry = now.names[name]
        old = None if entry.no_select else ids.get(entry.id)
        if old is not None and not any(
            is_inferior(old, renamed[top]) and name == top + old[len(renamed[top]) :] for top in renamed
        ):
            renamed[name] = old
    for new, old in renamed.items():
        for name in [name for name in gone if name == old or is_inferior(name, old)]:
            follower = new + name[len(old) :]
            if follower in come:
                gone.discard(name)
                come.discard(follower)
    return renamed
