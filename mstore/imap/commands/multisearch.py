"""ESEARCH: one search in several mailboxes, without selecting them (RFC 7377)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mstore.base.errors import Denied, Invalid, LimitReached, NotFound
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import format_mailbox
from mstore.imap.grammar.returnoptions import ALL, ReturnOptions, parse_return
from mstore.imap.grammar.searchkeys import parse_search
from mstore.imap.grammar.sources import Source, parse_sources
from mstore.imap.progress import Progress
from mstore.imap.render.esearch import format_correlator
from mstore.imap.searching import (
    check_tag,
    completion,
    follow,
    note_modseq,
    note_numbers,
    save,
    saving,
    send_results,
)
from mstore.store.names import SEPARATOR
from mstore.store.search import find
from mstore.store.searchkeys import SearchKey, asks_modseq
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.access import Access

SELECTED = b"SELECTED"
MAX_MAILBOXES = 10_000


def run_esearch(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the UIDs of the messages that match, mailbox by mailbox. RFC 7377 §2."""
    cursor.space()
    sources = parse_sources(cursor)
    options = parse_return(cursor) or ALL
    selected = session.selected
    only_selected = all(source.kind == SELECTED for source in sources)
    if selected is None and any(source.kind == SELECTED for source in sources):
        raise Bad("Select a mailbox first")
    if only_selected:
        check_tag(selected, options, tag)
    elif options.saves or options.updates:
        raise Bad("SAVE and UPDATE are for the selected mailbox alone")
    with saving(selected if only_selected else None, options):
        saved = selected.saved if selected is not None and only_selected else None
        key = parse_search(cursor, saved, session.uid_only)
        if session.selected is not None:
            note_numbers(session, key)
        if only_selected:
            _search_selected(session, tag, key, options)
            return completion(session)
        names = list(dict.fromkeys(_resolve(session, sources)))
        if len(names) > MAX_MAILBOXES:
            raise LimitReached("too many mailboxes to search")
        pulse = Progress(session, tag)
        done: set[str] = set()
        for number, name in enumerate(names):
            pulse.count(number, len(names))
            _search_named(session, tag, name, key, options, pulse, done)
            pulse()
    return None


def _search_selected(session: Session, tag: bytes, key: SearchKey, options: ReturnOptions) -> None:
    selected = session.mailbox
    if not selected.personal:
        selected.follow_rights(session.stream)
    view = selected.view
    asks = note_modseq(session, key)
    modseq = view.modseq
    found = find(selected.mailbox, view, key, Progress(session, tag))
    save(selected, options, found)
    correlator = format_correlator(tag, _where(session, selected.name, selected.mailbox.uid_validity))
    if len(found):
        send_results(session, selected.mailbox, view, options, found, correlator, True, asks)
    if options.updates:
        follow(session, selected, tag, key, found, correlator, True, modseq, options.items)


def _search_named(
    session: Session,
    tag: bytes,
    name: str,
    key: SearchKey,
    options: ReturnOptions,
    pulse: Progress,
    done: set[str],
) -> None:
    """One mailbox; one that the client may not read, or that is not there, is passed over (RFC 7377 §2.2)."""
    try:
        opened = session.mailstore.open(name, "r")
    except (NotFound, Denied, Invalid):
        return
    mailbox = opened.mailbox
    try:
        if opened.name in done:
            return
        done.add(opened.name)
        selected = session.selected
        if selected is not None and selected.mailbox is mailbox:
            view = selected.view
        else:
            mailbox.refresh()
            view = mailbox.view(False)
        found = find(mailbox, view, key, pulse)
        if len(found):
            correlator = format_correlator(tag, _where(session, opened.name, mailbox.uid_validity))
            send_results(session, mailbox, view, options, found, correlator, True, asks_modseq(key))
    finally:
        mailbox.release()


def _where(session: Session, name: str, uid_validity: int) -> bytes:
    return b" MAILBOX %b UIDVALIDITY %d" % (format_mailbox(name, session.utf8), uid_validity)


def _resolve(session: Session, sources: Iterable[Source]) -> Iterator[str]:
    """The full names of what is to be searched; those that the client does not name it has to see."""
    access = session.mailstore
    for source in sources:
        kind = source.kind
        if kind == SELECTED:
            yield session.mailbox.name
        elif kind in (b"PERSONAL", b"INBOXES"):
            # Mail may be delivered to any mailbox of one's own (``joe+work``).
            foreign = (OTHERS_PREFIX, SHARED_PREFIX)
            yield from (name for name in _visible(access) if not name.startswith(foreign))
        elif kind == b"SUBSCRIBED":
            subscribed = access.subscriptions()
            yield from (name for name in _visible(access) if name in subscribed)
        elif kind == b"MAILBOXES":
            yield from source.names
        else:
            for name in source.names:
                yield name
                yield from _below(access, name, only_next=kind == b"SUBTREE-ONE")


def _visible(access: Access, prefix: str = "") -> Iterator[str]:
    """What can be selected of the names that the client sees (RFC 4314 §4, right ``l``)."""
    return (name for name, entry in access.listing(prefix).items() if not entry.no_select)


def _below(access: Access, name: str, only_next: bool) -> Iterator[str]:
    prefix = name + SEPARATOR
    for inner in _visible(access, prefix):
        if inner.startswith(prefix) and not (only_next and SEPARATOR in inner[len(prefix) :]):
            yield inner
