"""What one session watches beside the mailbox it has selected: many mailboxes, their names and annotations.

A watch holds what the session knows: the names, and of each mailbox its totals, some hundred bytes; no
mailbox is kept open for it. The directories are followed (``traces``); what rings is noted, and ``look``
gives the difference between what was known and what is. So a session that takes its time is told less, never
more, and nothing is queued for it.

What somebody may not see or not read is not watched; rights are asked for each time (``access``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import LimitReached, MStoreError, Unavailable
from mstore.store import annotation, neighbours
from mstore.store.change import MailboxStatus
from mstore.store.namediff import Seen, compare_names
from mstore.store.namestate import MailboxEntry
from mstore.store.news import ANNOTATIONS, COUNTS, SUBSCRIPTIONS, AnnotationNews, CountNews, NameNews, News
from mstore.store.traces import CATALOG, JOURNALS

if TYPE_CHECKING:
    from mstore.store.access import Access
    from mstore.store.account import Account
    from mstore.store.traces import Traces

_PERSONAL_ONLY = "\0"
"""What no name of other users begins with."""
MOST_MAILBOXES = 2000
MOST_ACCOUNTS = 500
"""For one session."""
Wanted = Callable[[str, bool], int]
"""What is wanted of a name, given whether it is subscribed: bits of ``news``."""
Owners = Callable[[frozenset[str]], frozenset[str]]
"""The other users whose names are asked for, given the subscriptions."""


class TooMuch(LimitReached):
    """More is to be watched than one session may."""


class Followed:
    """A mailbox whose totals are watched."""

    __slots__ = ("counts", "entry", "name", "wanted")

    def __init__(self, name: str, entry: MailboxEntry, wanted: int) -> None:
        self.name = name
        self.entry = entry
        self.wanted = wanted
        self.counts: MailboxStatus | None = None
        """What the session knows; None: nothing."""


class Watch:
    """What one session watches."""

    def __init__(
        self,
        access: Access,
        traces: Traces,
        wanted: Wanted,
        ring: Callable[[], None],
        owners: Owners = lambda subscribed: frozenset(),
        with_others: bool = False,
        with_site: bool = False,
        is_outside: Callable[[str], bool] = lambda path: False,
    ) -> None:
        """``ring`` is called when there may be something to tell.

        ``owners`` gives other users that are named, ``with_others`` says whether anything but the user's own
        is watched, ``is_outside`` which directory is just now none of the watch's business.
        """
        self._access = access
        self._traces = traces
        self._wanted = wanted
        self._ring = ring
        self._owners = owners
        self._with_others = with_others
        self._with_site = with_site
        self._is_outside = is_outside
        self._seen = Seen({}, frozenset())
        self._accounts: dict[str, Account] = {}
        self._catalogs: set[str] = set()
        self._followed: dict[str, Followed] = {}
        self._denied: frozenset[str] = frozenset()
        """Names that may be seen and not read, of which the session has been told so."""
        self._lost: set[str] = set()
        """Names that may not be seen any more, of which it has been told that."""
        self._annotated: dict[str, tuple[str, dict[str, int]]] = {}
        """By mailbox id, empty for the site: the name, and each annotation's hash."""
        self._own: set[str] = set()
        self._own_entries: set[tuple[str, str]] = set()
        self._version = -1
        self._names_rang = False
        self._rang: set[str] = set()

    # -- for the session

    def start(self, counts: bool) -> Iterator[News]:
        """Begin: note what is, and give what the session is to be told at once.

        That is which mailboxes it has no access to and, with ``counts``, what the others hold.
        Raises: TooMuch, Unavailable, Moved, NotFound.
        """
        self._traces.on_poll(self._poll)
        self._version = self._access.people.version()
        yield from self._look_at_names(first=True)
        for path, followed in list(self._followed.items()):
            now = self._count(followed)
            if now is not None:
                followed.counts = now
                if counts and not self._is_outside(path):
                    yield CountNews(followed.name, None, now, followed.wanted)
            blocking.breathe()

    def look(self) -> Iterator[News]:
        """What has happened since the last time, as far as anything rang.

        Raises: TooMuch, Unavailable, Moved, NotFound.
        """
        if self._names_rang:
            self._names_rang = False
            try:
                yield from self._look_at_names()
            except MStoreError:
                self._names_rang = True
                raise
        for _ in range(len(self._rang)):
            try:
                path = self._rang.pop()
            except KeyError:
                return
            followed = self._followed.get(path)
            if followed is None or self._is_outside(path):
                continue
            now = self._count(followed)
            if now is None or now == followed.counts:
                continue
            before, followed.counts = followed.counts, now
            yield CountNews(followed.name, before, now, followed.wanted)
            blocking.breathe()

    def close(self) -> None:
        """Watch nothing any more."""
        self._traces.off_poll(self._poll)
        for path in (*self._catalogs, *self._followed):
            self._traces.unfollow(path, self._rings)
        self._catalogs.clear()
        self._followed.clear()

    def note_own(self, *names: str) -> None:
        """These names are changed by the session itself: it need not be told of that."""
        for name in names:
            self._own.add(name)
            while "/" in name:
                name = name.rpartition("/")[0]
                self._own.add(name)
        self._rings_names()

    def note_own_annotations(self, name: str, entries: Iterator[str]) -> None:
        """These annotations are."""
        self._own_entries.update((name, entry) for entry in entries)
        self._rings_names()

    def note_own_messages(self, path: str, now: MailboxStatus, count: int) -> None:
        """So many messages were just added by the session itself; if that is all, it knows."""
        followed = self._followed.get(path)
        if followed is None or followed.counts is None:
            return
        before = followed.counts
        expected = before._replace(
            messages=before.messages + count,
            uid_next=before.uid_next + count,
            highest_modseq=before.highest_modseq + 1,
            unseen=now.unseen,
            recent=now.recent,
            deleted=now.deleted,
            size_bytes=now.size_bytes,
        )
        if now == expected:
            followed.counts = now

    def note_told(self, path: str, now: MailboxStatus | None) -> None:
        """What the session knows of a mailbox that it has left; None: not what is."""
        followed = self._followed.get(path)
        if followed is not None:
            followed.counts = now
            self._rings(path)

    # -- bells

    def _rings(self, path: str) -> None:
        if path in self._catalogs:
            self._names_rang = True
        else:
            self._rang.add(path)
        self._ring()

    def _rings_names(self) -> None:
        self._names_rang = True
        self._ring()

    def _poll(self) -> None:
        """Users, groups and who lets whom see something: that is in the account database."""
        try:
            version = self._access.people.version()
        except MStoreError:
            return
        if version != self._version:
            self._version = version
            self._rings_names()

    # -- names

    def _look_at_names(self, first: bool = False) -> Iterator[News]:
        access = self._access
        own, self._own = self._own, set()
        before, accounts_before = self._seen, self._accounts
        subscribed = access.subscriptions()
        owners = self._owners(subscribed)
        self._accounts = neighbours.accounts(access, owners, self._with_others)
        self._follow_catalogs()
        names = neighbours.see(access, owners) if self._with_others else access.listing(_PERSONAL_ONLY)
        now = self._seen = Seen(names, subscribed)
        told_denied, self._denied = self._denied, frozenset(self._find_denied(now))
        appeared = self._follow_mailboxes(now)
        told: set[str] = set()
        if first:
            told_denied = frozenset()
        else:
            yield from self._tell_names(before, now, own, told, accounts_before)
        for name in sorted(self._denied ^ told_denied):
            if name not in told and name in names:
                yield now.describe(NameNews(name, names[name]), no_access=name in self._denied)
        if not first:
            self._begin(appeared, own)
        yield from self._look_at_annotations(now, first)

    def _tell_names(
        self, before: Seen, now: Seen, own: set[str], told: set[str], accounts: Mapping[str, Account]
    ) -> Iterator[NameNews]:
        for news in compare_names(before, now, self._wanted, own):
            hidden = news.entry is None and self._is_hidden(news.name, before, accounts)
            told.add(news.name)
            yield now.describe(news, no_access=hidden or news.name in self._denied)
        for name in sorted(before.subscribed ^ now.subscribed):
            if name in own or name in told or not self._wanted(name, True) & SUBSCRIPTIONS:
                continue
            told.add(name)
            yield now.describe(NameNews(name, now.names.get(name)), no_access=name in self._denied)
        # RFC 5465 §5.9: what is there, was watched, and may not be seen any more; and what may be again.
        for name in sorted(before.names.keys() - now.names.keys()):
            wanted = name not in told and self._wanted(name, name in before.subscribed)
            if wanted and self._is_hidden(name, before, accounts) and len(self._lost) < MOST_MAILBOXES:
                self._lost.add(name)
                yield now.describe(NameNews(name, None), no_access=True)
        for name in sorted(self._lost & now.names.keys()):
            self._lost.discard(name)
            if name not in told and name not in self._denied:
                told.add(name)
                yield now.describe(NameNews(name, now.names[name]), no_access=False)

    def _begin(self, paths: list[str], own: set[str]) -> None:
        """Mailboxes that have come to be watched: what they hold is news, unless the session made them."""
        for path in paths:
            followed = self._followed[path]
            if followed.name in own:
                followed.counts = self._count(followed)
            else:
                self._rang.add(path)

    def _follow_catalogs(self) -> None:
        if len(self._accounts) > MOST_ACCOUNTS:
            raise TooMuch(f"mailboxes of more than {MOST_ACCOUNTS} users are to be watched")
        paths = {str(account.path) for account in self._accounts.values()}
        for path in self._catalogs - paths:
            self._traces.unfollow(path, self._rings)
        added = paths - self._catalogs
        self._catalogs = paths
        for path in added:
            self._traces.follow(path, CATALOG, self._rings)

    def _find_denied(self, now: Seen) -> Iterator[str]:
        """The mailboxes that are watched for anything, that may be seen and not read."""
        who = self._access.who
        for name, entry in now.names.items():
            if entry.no_select or not self._wanted(name, name in now.subscribed):
                continue
            key = neighbours.key_of(name)
            account = self._accounts.get(key)
            if account is not None and not neighbours.may_read(who, key, account, entry):
                yield name
            blocking.breathe()

    def _follow_mailboxes(self, now: Seen) -> list[str]:
        """Follow the mailboxes whose totals are wanted; gives those of which the session knows nothing."""
        found: dict[str, Followed] = {}
        for name, entry in now.names.items():
            wanted = self._wanted(name, name in now.subscribed)
            if not wanted & COUNTS or entry.no_select or name in self._denied:
                continue
            account = self._accounts.get(neighbours.key_of(name))
            if account is not None:
                found[f"{account.path}/{entry.id}"] = Followed(name, entry, wanted)
            if len(found) > MOST_MAILBOXES:
                raise TooMuch(f"more than {MOST_MAILBOXES} mailboxes are to be watched")
        appeared = []
        before, self._followed = self._followed, found
        for path in before.keys() - found.keys():
            self._traces.unfollow(path, self._rings)
        for path, followed in found.items():
            known = before.get(path)
            if known is not None:
                followed.counts = known.counts
            else:
                self._traces.follow(path, JOURNALS, self._rings)
                appeared.append(path)
        return appeared

    def _is_hidden(self, name: str, before: Seen, accounts: Mapping[str, Account]) -> bool:
        entry = before.names.get(name)
        if entry is None or neighbours.is_personal(name):
            return False
        return neighbours.is_hidden(accounts.get(neighbours.key_of(name)), entry)

    # -- annotations

    def _look_at_annotations(self, now: Seen, first: bool) -> Iterator[AnnotationNews]:
        own, self._own_entries = self._own_entries, set()
        before, self._annotated = self._annotated, {}
        if self._with_site:
            self._annotated[""] = "", self._annotations("")
        for name, entry in now.names.items():
            wanted = self._wanted(name, name in now.subscribed)
            if wanted & ANNOTATIONS and not entry.no_select and name not in self._denied:
                self._annotated[entry.id] = name, self._annotations(name)
                blocking.breathe()
        if first:
            return
        for key, (name, entries) in self._annotated.items():
            if key not in before:
                continue
            known = before[key][1]
            changed = sorted(
                entry
                for entry in known.keys() | entries.keys()
                if known.get(entry) != entries.get(entry) and (name, entry) not in own
            )
            if changed:
                yield AnnotationNews(name, tuple(changed))

    def _annotations(self, name: str) -> dict[str, int]:
        try:
            found = annotation.read(self._access, name)
        except Unavailable:
            raise
        except MStoreError:
            return {}
        return {entry: hash(value) for entry, value in found.items()}

    # -- totals

    def _count(self, followed: Followed) -> MailboxStatus | None:
        """What a mailbox holds; None where that cannot be said, or may not any more."""
        try:
            mailbox = self._access.open(followed.name, "r").mailbox
        except Unavailable:
            raise
        except MStoreError:
            return None
        try:
            if mailbox.id != followed.entry.id:
                return None
            mailbox.refresh()
            return None if mailbox.deleted else mailbox.status()
        except MStoreError:
            return None
        finally:
            mailbox.release()
