"""STATUS: counts of a mailbox without selecting it (RFC 3501 §6.3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import format_mailbox

if TYPE_CHECKING:
    from mstore.imap.session import Session

ITEMS = (b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN")


def run_status(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.10."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = cursor.list_of(cursor.word)
    cursor.end()
    for item in items:
        if item not in ITEMS:
            raise Bad(f"unknown status item {item.decode()[:40]}")
    mailbox = session.mailstore.open(name)
    try:
        mailbox.refresh()
        status = mailbox.status()
        recent = status.recent
        selected = session.selected
        if selected is not None and selected.mailbox is mailbox:
            # Those that this session was the first to see are recent here, and nowhere else.
            recent = selected.recent_count()
        values = {
            b"MESSAGES": status.messages,
            b"RECENT": recent,
            b"UIDNEXT": status.uid_next,
            b"UIDVALIDITY": status.uid_validity,
            b"UNSEEN": status.unseen,
        }
    finally:
        mailbox.release()
    pairs = b" ".join(b"%b %d" % (item, values[item]) for item in dict.fromkeys(items))
    session.send(b"* STATUS %b (%b)\r\n" % (format_mailbox(name), pairs))
