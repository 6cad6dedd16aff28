"""SEARCH and UID SEARCH (RFC 3501 §6.4.4, §6.4.8), with RETURN (RFC 4731, 5182, 5267, 9394; RFC 9051)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.returnoptions import ALL, parse_return
from mstore.imap.grammar.searchkeys import parse_search
from mstore.imap.progress import Progress
from mstore.imap.render.esearch import format_correlator
from mstore.imap.searching import (
    check_tag,
    completion,
    follow,
    format_numbers,
    highest_modseq,
    note_modseq,
    note_numbers,
    save,
    saving,
    send_results,
)
from mstore.store.search import find

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_search(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the sequence numbers of the messages that match. RFC 3501 §6.4.4."""
    return _run(session, tag, cursor, uid=False)


def run_uid_search(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the UIDs of the messages that match. RFC 3501 §6.4.8."""
    return _run(session, tag, cursor, uid=True)


def run_cancelupdate(session: Session, tag: bytes, cursor: Cursor) -> None:
    """Tell no more changes of the results of some commands. RFC 5267 §4.3.5.

    Of those that are followed no more, or never were, there are none to be told anyway.
    """
    cursor.space()
    tags = [cursor.string()]
    while not cursor.at_end():
        cursor.space()
        tags.append(cursor.string())
    contexts = session.mailbox.contexts
    if contexts is not None:
        contexts.cancel(tags)


def _run(session: Session, tag: bytes, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    options = parse_return(cursor)
    if options is None and session.rev2:
        # RFC 9051 §6.4.4: the answer is ESEARCH always.
        options = ALL
    selected = session.mailbox
    view = selected.view
    check_tag(selected, options, tag)
    with saving(selected, options):
        key = parse_search(cursor, selected.saved, session.uid_only)
        asks = note_modseq(session, key)
        note_numbers(session, key)
        modseq = view.modseq
        found = find(selected.mailbox, view, key, Progress(session, tag))
    if options is None:
        numbers = view.uids[found] if uid else found + 1
        modseq_found = highest_modseq(selected.mailbox, view, found) if asks else 0
        session.send(format_numbers(b"SEARCH", numbers, modseq_found))
        return completion(session)
    correlator = format_correlator(tag)
    save(selected, options, found)
    send_results(session, selected.mailbox, view, options, found, correlator, uid, asks)
    if options.updates:
        follow(session, selected, tag, key, found, correlator, uid, modseq, options.items)
    return completion(session)
