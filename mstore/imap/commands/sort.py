"""SORT and THREAD, also with UIDs (RFC 5256), by what is shown (RFC 5957), with RETURN (RFC 5267 §3)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.returnoptions import parse_return
from mstore.imap.grammar.searchkeys import parse_criteria
from mstore.imap.progress import Progress
from mstore.imap.render.esearch import format_correlator
from mstore.imap.render.threads import format_threads
from mstore.imap.searching import (
    check_tag,
    completion,
    format_numbers,
    highest_modseq,
    note_modseq,
    note_numbers,
    refuse_updates,
    save,
    saving,
    send_results,
)
from mstore.imap.threading import threads_of
from mstore.store.search import find
from mstore.store.sort import Criterion, Key, sort_rows

if TYPE_CHECKING:
    from mstore.imap.session import Session

MAX_CRITERIA = 20
CRITERIA = MappingProxyType[bytes, Key](
    {
        b"ARRIVAL": "arrival",
        b"CC": "cc",
        b"DATE": "date",
        b"FROM": "from",
        b"SIZE": "size",
        b"SUBJECT": "subject",
        b"TO": "to",
        b"DISPLAYFROM": "displayfrom",
        b"DISPLAYTO": "displayto",
    }
)
ALGORITHMS = frozenset((b"ORDEREDSUBJECT", b"REFERENCES", b"REFS"))


def run_sort(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the sequence numbers of the messages that match, in order. RFC 5256 §3."""
    return _sort(session, tag, cursor, uid=False)


def run_uid_sort(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the UIDs of the messages that match, in order. RFC 5256 §3."""
    return _sort(session, tag, cursor, uid=True)


def run_thread(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the sequence numbers of the messages that match, as threads. RFC 5256 §3."""
    return _thread(session, tag, cursor, uid=False)


def run_uid_thread(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the UIDs of the messages that match, as threads. RFC 5256 §3."""
    return _thread(session, tag, cursor, uid=True)


def parse_sort_criteria(cursor: Cursor) -> list[Criterion]:
    """``(REVERSE DATE SUBJECT)`` (RFC 5256 §5 "sort-criteria")."""
    criteria: list[Criterion] = []
    cursor.expect(b"(")
    while True:
        word = cursor.word()
        reverse = word == b"REVERSE"
        if reverse:
            cursor.space()
            word = cursor.word()
        key = CRITERIA.get(word)
        if key is None:
            raise Bad("Unknown sort criterion")
        criteria.append(Criterion(key, reverse))
        if len(criteria) > MAX_CRITERIA:
            raise Bad("Too many sort criteria")
        if cursor.take(b")"):
            return criteria
        cursor.space()


def _sort(session: Session, tag: bytes, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    options = parse_return(cursor)
    selected = session.mailbox
    check_tag(selected, options, tag)
    with saving(selected, options):
        criteria = parse_sort_criteria(cursor)
        cursor.space()
        key = parse_criteria(cursor, selected.saved, session.uid_only)
        asks = note_modseq(session, key)
        note_numbers(session, key)
        pulse = Progress(session, tag)
        view = selected.view
        found = find(selected.mailbox, view, key, pulse)
        found = found[sort_rows(selected.mailbox, view.rows[found], criteria, pulse)]
    if options is None:
        numbers = view.uids[found] if uid else found + 1
        modseq = highest_modseq(selected.mailbox, view, found) if asks else 0
        session.send(format_numbers(b"SORT", numbers, modseq))
        return completion(session)
    save(selected, options, found)
    send_results(session, selected.mailbox, view, options, found, format_correlator(tag), uid, asks)
    if options.updates:
        refuse_updates(session, tag)
    return completion(session)


def _thread(session: Session, tag: bytes, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    algorithm = cursor.word()
    if algorithm not in ALGORITHMS:
        raise Bad("Unknown threading algorithm")
    cursor.space()
    selected = session.mailbox
    key = parse_criteria(cursor, selected.saved, session.uid_only)
    note_modseq(session, key)
    note_numbers(session, key)
    pulse = Progress(session, tag)
    view = selected.view
    found = find(selected.mailbox, view, key, pulse)
    threads = threads_of(selected.mailbox, view.rows[found], algorithm.decode().lower(), pulse)
    session.send(format_threads(threads, view.uids[found] if uid else found + 1))
    return completion(session)
