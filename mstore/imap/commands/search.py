"""SEARCH and UID SEARCH (RFC 3501 §6.4.4, §6.4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.searchkeys import parse_search
from mstore.imap.render.columns import Array, join_decimals
from mstore.imap.selected import Selected
from mstore.store.search import find
from mstore.store.searchkeys import asks_modseq

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_search(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the sequence numbers of the messages that match. RFC 3501 §6.4.4."""
    return _run(session, cursor, uid=False)


def run_uid_search(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Send the UIDs of the messages that match. RFC 3501 §6.4.8."""
    return _run(session, cursor, uid=True)


def _run(session: Session, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    key = parse_search(cursor)
    selected = session.mailbox
    with_modseq = asks_modseq(key)
    if with_modseq:
        session.enable(b"CONDSTORE")
    found = find(selected.mailbox, selected.view, key)
    numbers = selected.view.uids[found] if uid else found + 1
    session.send(format_search(numbers, highest_modseq(selected, found) if with_modseq else 0))
    return None


def highest_modseq(selected: Selected, found: Array) -> int:
    """The highest MODSEQ of the messages found (RFC 7162 §3.1.5), 0 when there is none."""
    rows = selected.view.rows[found]
    return int(selected.mailbox.columns.full.modseq[rows].max()) if len(rows) else 0


def format_search(numbers: Array, modseq: int = 0) -> bytes:
    """The SEARCH response, also for no message at all (RFC 3501 §7.2.5), with a MODSEQ if there is one."""
    end = b" (MODSEQ %d)\r\n" % modseq if modseq else b"\r\n"
    return b"* SEARCH" + join_decimals(numbers, b" ") + end
