"""Names of mailboxes: LIST, LSUB, NAMESPACE (RFC 3501 §6.3.8, §6.3.9, RFC 3348, 2342, 5258, 9051).

What is told follows from the names alone that the client may see (RFC 4314 §4). With a name, extended LIST
tells what the client asks for besides: subscriptions, special uses (RFC 6154), STATUS (RFC 5819), rights
(RFC 8440), annotations (RFC 9590).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import Denied, Invalid, MStoreError, NotFound
from mstore.imap.commands import metadata, status
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.entries import Wanted
from mstore.imap.grammar.listrequest import ListRequest, parse_list, parse_pattern
from mstore.imap.grammar.names import compile_pattern, format_mailbox
from mstore.store.names import SEPARATOR, sorted_names
from mstore.store.rights import format_rights
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.namestate import MailboxEntry

_WILDCARD = re.compile("[%*]")
_FOREIGN = (OTHERS_PREFIX, SHARED_PREFIX)
AT_ONCE = 64
"""So many names are told between two pauses, with what is asked for besides."""
_CHILDINFO = b' ("CHILDINFO" ("SUBSCRIBED"))'


def run_list(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.8, RFC 5258, with \\HasChildren and \\HasNoChildren always (RFC 3348 §3)."""
    request = parse_list(cursor, partial(status.check_items, rev2=session.rev2))
    if request.wanted is not None:
        metadata.check_offered(session)
    if request.separator_only:
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')
    elif request.patterns:
        Listing(session, request).send()


class Listing:
    """One LIST being answered."""

    def __init__(self, session: Session, request: ListRequest) -> None:
        self._session = session
        self._utf8 = session.utf8
        self._tells_missing = request.extended or session.rev2
        """A name without a mailbox is told as such (RFC 5258 §3.5, RFC 9051 §7.3.1), not as \\Noselect."""
        self._request = request
        access = session.mailstore
        heads = [_WILDCARD.split(pattern, 1)[0] for pattern in request.patterns]
        self._entries: Mapping[str, MailboxEntry] = access.listing(_common_start(heads))
        self._shows_uses = session.offers(b"SPECIAL-USE")
        wants = request.select | request.returns
        self._subscribed = access.subscriptions() if b"SUBSCRIBED" in wants else frozenset[str]()
        if b"SUBSCRIBED" in request.select and access.is_administrator:
            # Of all users' mailboxes, which a listing does not show unasked, those that are subscribed.
            for owner in sorted({name.split(SEPARATOR)[1] for name in self._subscribed if _is_others(name)}):
                self._entries = {**self._entries, **access.listing(f"{OTHERS_PREFIX}{owner}{SEPARATOR}")}
        self._parents = find_parents(self._entries)
        self._matches = _compile_patterns(request.patterns)
        self._above: set[str] = set()
        """Names that are above one that was selected (CHILDINFO)."""

    def send(self) -> None:
        """Tell all names asked for, with what is asked for besides."""
        request = self._request
        chosen = self._choose()
        if not request.returns & {b"STATUS", b"MYRIGHTS", b"METADATA"}:
            self._session.stream.writelines(map(self._line, self._order(chosen)))
            return
        names = list(self._order(chosen))
        step = AT_ONCE if request.wanted is None else 1  # annotations may be long
        for start in range(0, len(names), step):
            some = names[start : start + step]
            self._session.stream.writelines(self._lines_with_more(some, chosen))
            blocking.breathe()

    def _lines_with_more(self, names: list[str], chosen: Collection[str]) -> Iterator[bytes]:
        """Some names and what is told beside each of those that were chosen."""
        request, entries = self._request, self._entries
        known: Mapping[str, bytes] = {}
        if request.status_items:
            listed = {name: entries[name] for name in names if name in chosen and name in entries}
            known = status.count_known(self._session, request.status_items, listed)
        tells_rights, wanted = b"MYRIGHTS" in request.returns, request.wanted
        for name in names:
            counts = known.get(name)
            if counts is None:
                if name not in chosen:
                    yield self._line(name)
                    continue
                counts = self._count(name)
                blocking.breathe()
            yield self._line(name, hidden=counts is None)
            if counts:
                yield counts
            if tells_rights:
                yield self._rights(name)
            if wanted is not None:
                yield from self._metadata(name, wanted)

    def _choose(self) -> Collection[str]:
        """The names that match a pattern and meet the selection criteria; notes those above others."""
        select = self._request.select
        if b"SUBSCRIBED" not in select:
            if b"SPECIAL-USE" in select:
                return {name for name in self._entries if self._uses(name) and self._matches(name)}
            if self._request.patterns == ("*",):
                return self._entries.keys()
            return set(filter(self._matches, self._entries))
        meeting = set(self._subscribed)
        if b"SPECIAL-USE" in select:
            meeting = {name for name in meeting if self._uses(name)}
        if b"RECURSIVEMATCH" in select:
            self._above = find_parents(meeting)
        return set(filter(self._matches, meeting))

    def _order(self, chosen: Collection[str]) -> Iterable[str]:
        """The names to be told, each once: those chosen, and levels above them that are to be told.

        A level above names that is none itself, or none for this client, is told where a ``%`` at the end
        asks for levels. With RECURSIVEMATCH one is told where what lies beneath it is not (RFC 5258 §3.5).
        """
        request = self._request
        others: set[str] = set()
        if b"RECURSIVEMATCH" in request.select:
            meeting = self._subscribed
            if b"SPECIAL-USE" in request.select:
                meeting = frozenset(name for name in meeting if self._uses(name))
            others = find_parents(name for name in meeting if name not in chosen)
        elif not request.select & {b"SUBSCRIBED", b"SPECIAL-USE"} and any(
            pattern.endswith("%") for pattern in request.patterns
        ):
            others = self._parents.difference(self._entries)
        others = {name for name in others if name not in chosen and self._matches(name)}
        if not others:
            # Entries come in the order of a listing.
            if isinstance(chosen, set) and b"SUBSCRIBED" in request.select:
                return sorted_names(chosen)
            return [name for name in self._entries if name in chosen]
        return sorted_names(others.union(chosen))

    def _line(self, name: str, hidden: bool = False) -> bytes:
        entry = self._entries.get(name)
        attributes = b"\\HasChildren" if name in self._parents else b"\\HasNoChildren"
        if entry is None:
            attributes = (b"\\NonExistent " if self._tells_missing else b"\\Noselect ") + attributes
        else:
            if entry.no_select or hidden:
                attributes = b"\\Noselect " + attributes
            if entry.special_use is not None and self._uses(name):
                attributes += b" " + entry.special_use.encode("ascii")
        if name in self._subscribed:
            attributes += b" \\Subscribed"
        tail = _CHILDINFO if name in self._above else b""
        return b'* LIST (%b) "/" %b%b\r\n' % (attributes, format_mailbox(name, self._utf8), tail)

    def _uses(self, name: str) -> str | None:
        """The special uses of a mailbox, which are shown to its owner alone."""
        entry = self._entries.get(name)
        if entry is None or not self._shows_uses or name.startswith(_FOREIGN):
            return None
        return entry.special_use

    def _count(self, name: str) -> bytes | None:
        """The STATUS response; nothing where none is asked for; None for what cannot be selected."""
        items = self._request.status_items
        entry = self._entries.get(name)
        if not items or entry is None or entry.no_select:
            return b""
        try:
            return status.count(self._session, name, items, entry)
        except (Denied, NotFound):
            return None
        except MStoreError as error:
            # RFC 5819 §2 "If the server runs into unexpected problems [...] it MAY drop".
            self._session.service.log.error("list-status-failed", session=self._session.id, error=str(error))
            return b""

    def _rights(self, name: str) -> bytes:
        if name in self._entries:
            with suppress(NotFound):
                rights = format_rights(self._session.mailstore.rights(name)).encode("ascii")
                return b"* MYRIGHTS %b %b\r\n" % (format_mailbox(name, self._utf8), rights or b'""')
        return b""

    def _metadata(self, name: str, wanted: Wanted) -> Iterable[bytes]:
        """RFC 9590 §3: annotations that cannot be looked up are left out."""
        entry = self._entries.get(name)
        if entry is not None and not entry.no_select:
            with suppress(Denied, NotFound):
                found, _ = metadata.select(metadata.read(self._session, name), wanted)
                if found:
                    return metadata.format_metadata(name, found, self._utf8)
        return ()


def _is_others(name: str) -> bool:
    return name.startswith(OTHERS_PREFIX)


def _common_start(texts: list[str]) -> str:
    """With what all of these begin."""
    first, last = min(texts), max(texts)
    at = 0
    while at < len(first) and first[at] == last[at]:
        at += 1
    return first[:at]


def _compile_patterns(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    predicates = [compile_pattern(pattern) for pattern in patterns]
    if len(predicates) == 1:
        return predicates[0]
    return lambda name: any(matches(name) for matches in predicates)


def run_lsub(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.9: a level above subscribed names that ``%`` matches stands for them, as \\Noselect."""
    cursor.space()
    reference = cursor.astring()
    cursor.space()
    written = cursor.list_mailbox()
    cursor.end()
    if not written:
        session.send(b'* LSUB (\\Noselect) "/" ""\r\n')
        return
    try:
        pattern = parse_pattern(reference, written, cursor.utf8)
    except Invalid:
        return
    subscribed = session.mailstore.subscriptions()
    matches = compile_pattern(pattern)
    found = {name: b"" for name in subscribed if matches(name)}
    if "%" in pattern:
        for name in find_parents(subscribed):
            if name not in subscribed and matches(name):
                found[name] = b"\\Noselect"
    utf8 = session.utf8
    session.stream.writelines(
        b'* LSUB (%b) "/" %b\r\n' % (found[name], format_mailbox(name, utf8)) for name in sorted_names(found)
    )


def run_namespace(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 2342 §5: one's own mailboxes, which nobody anonymous has; those of other users; the shared ones."""
    cursor.end()
    personal = b"NIL" if session.mailstore.is_anonymous else b'(("" "/"))'
    session.send(b"* NAMESPACE " + personal + b' (("user/" "/")) (("shared/" "/"))\r\n')


def format_name(session: Session, name: str, written: str) -> bytes:
    """The LIST response for a mailbox that is there, with all attributes it has (RFC 9051 §6.3.2).

    Where the client has ``written`` its name otherwise, that is told too (RFC 9051 §6.3.9.7).
    """
    access = session.mailstore
    entries = access.listing(name)
    beneath = name + SEPARATOR
    has_children = any(other.startswith(beneath) for other in entries)
    attributes = b"\\HasChildren" if has_children else b"\\HasNoChildren"
    entry = entries.get(name)
    use = None if entry is None or name.startswith(_FOREIGN) else entry.special_use
    if use is not None and session.offers(b"SPECIAL-USE"):
        attributes += b" " + use.encode("ascii")
    if name in access.subscriptions():
        attributes += b" \\Subscribed"
    return _format_other_name(session, attributes, name, written)


def tell_name(session: Session, written: str) -> None:
    """Tell a client that speaks IMAP4rev2 how a mailbox is called that it has written otherwise.

    RFC 9051 §6.3.4, §6.3.12.
    """
    if session.rev2:
        name = session.mailstore.normalize(written)
        if name != written.removesuffix(SEPARATOR):
            session.send(format_name(session, name, written))


def tell_deleted(session: Session, written: str) -> None:
    """The same of a mailbox that is gone (RFC 9051 §6.3.5)."""
    if session.rev2:
        name = session.mailstore.normalize(written)
        if name != written:
            session.send(_format_other_name(session, b"\\NonExistent", name, written))


def tell_renamed(session: Session, old: str, new: str) -> None:
    """The same of a mailbox that has a new name: told with its old one, as written (RFC 9051 §6.3.6)."""
    if session.rev2:
        normalize = session.mailstore.normalize
        name = normalize(new)
        if name != new.removesuffix(SEPARATOR) or normalize(old) != old:
            session.send(format_name(session, name, old))


def _format_other_name(session: Session, attributes: bytes, name: str, written: str) -> bytes:
    utf8 = session.utf8
    tail = b"" if written == name else b' ("OLDNAME" (%b))' % format_mailbox(written, utf8)
    return b'* LIST (%b) "/" %b%b\r\n' % (attributes, format_mailbox(name, utf8), tail)


def find_parents(names: Iterable[str]) -> set[str]:
    """All names that are a level above one of these."""
    parents: set[str] = set()
    for name in names:
        at = name.rfind(SEPARATOR)
        while at >= 0:
            name = name[:at]
            if name in parents:
                break
            parents.add(name)
            at = name.rfind(SEPARATOR)
    return parents
