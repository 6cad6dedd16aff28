"""SEARCH and UID SEARCH (RFC 3501 §6.4.4, §6.4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.searchkeys import parse_search
from mstore.imap.render.columns import Array, join_decimals
from mstore.store.search import find

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
    found = find(selected.mailbox, selected.view, key)
    numbers = selected.view.uids[found] if uid else found + 1
    session.send(format_search(numbers))
    return None


def format_search(numbers: Array) -> bytes:
    """The SEARCH response, also for no message at all (RFC 3501 §7.2.5)."""
    return b"* SEARCH" + join_decimals(numbers, b" ") + b"\r\n"
