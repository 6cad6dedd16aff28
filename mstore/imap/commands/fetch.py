"""FETCH and UID FETCH (RFC 3501 §6.4.5, §6.4.8; RFC 7162 §3.1.4, §3.2.6, RFC 9394 §3.3).

Items that read a body set \\Seen, where the client may set it: in one transaction for all messages of the
set, before the first response, so that the flags stand in the same responses. No lock is held while anything
is sent. Messages that another session has expunged, and this one has not been told of, are left out; the form
with sequence numbers says so in the end, the one with UIDs ignores them as it does any UID that is not there
(RFC 2180 §4.1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mstore.imap.chosen import choose
from mstore.imap.errors import Bad, no_for
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.extensions import IMAP4REV2, NONE, REV2
from mstore.imap.grammar.fetchitems import FetchItem, parse_fetch_items
from mstore.imap.grammar.modifiers import FetchModifiers, parse_fetch_modifiers
from mstore.imap.reading import set_seen
from mstore.imap.render.messages import Messages, Program
from mstore.imap.resync import changed_since, tell_vanished

if TYPE_CHECKING:
    from mstore.imap.session import Session

LONGEST_KEPT = 400
MODSEQ = FetchItem(b"MODSEQ")


def run_fetch(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send data of messages named by sequence number. RFC 3501 §6.4.5."""
    return _run(session, cursor, uid=False)


def run_uid_fetch(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send data of messages named by UID, with their UIDs. RFC 3501 §6.4.8."""
    return _run(session, cursor, uid=True)


def _run(session: Session, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    numbers = cursor.sequence_set()
    cursor.space()
    program, modifiers = _parse(cursor)
    if modifiers.vanished and not (uid and b"QRESYNC" in session.enabled):
        raise Bad("VANISHED is for UID FETCH, after ENABLE QRESYNC")
    if modifiers.partial is not None and not uid:
        raise Bad("PARTIAL is for UID FETCH")
    if MODSEQ.name in program.columns:
        session.enable(b"CONDSTORE")
    selected = session.mailbox
    chosen = choose(selected, numbers, uid)
    rows = chosen.rows
    if modifiers.partial is not None:
        # RFC 9394 §3.4: what has not changed is counted all the same.
        rows = rows[modifiers.partial.cut(len(rows))]
    if modifiers.changed_since is not None:
        rows = changed_since(selected, rows, modifiers.changed_since)
        if modifiers.vanished:
            tell_vanished(selected, modifiers.changed_since, numbers, session.send)
    if len(rows):
        selected.announce_keywords(session.stream)
        messages = Messages(program, selected.mailbox, selected.view, uid, selected.uid_only)
        if program.reads and set_seen(selected, rows):
            messages.tell(*selected.news_items(uid))
        if chosen.seq and len(rows) == 1:
            messages.send_one(chosen.seq, rows.item(), session.send)
        else:
            messages.send(selected.view.seqs_of_rows(rows), rows, session.send)
        if messages.failure is not None:
            raise no_for(messages.failure)
    chosen.check_none_gone(uid)
    return None


def _parse(cursor: Cursor) -> tuple[Program, FetchModifiers]:
    """The items and modifiers up to the end of the command; clients send the same ones over and over."""
    text = cursor.data[cursor.pos :]
    if len(text) <= LONGEST_KEPT and b"{" not in text:
        return _compile(text, IMAP4REV2 in cursor.enabled)
    return _compile_at(cursor)


@lru_cache(maxsize=256)
def _compile(text: bytes, rev2: bool) -> tuple[Program, FetchModifiers]:
    return _compile_at(Cursor(text, (), REV2 if rev2 else NONE))


def _compile_at(cursor: Cursor) -> tuple[Program, FetchModifiers]:
    items = parse_fetch_items(cursor)
    modifiers = parse_fetch_modifiers(cursor)
    if modifiers.changed_since is not None:
        items = (*items, MODSEQ)
    return Program(items, cursor.rev2), modifiers
