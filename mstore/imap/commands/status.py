"""STATUS: counts of a mailbox without selecting it (RFC 3501 §6.3.10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import format_mailbox

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.change import MailboxStatus

ITEMS: Mapping[bytes, Callable[[MailboxStatus], int]] = MappingProxyType(
    {
        b"MESSAGES": lambda status: status.messages,
        b"RECENT": lambda status: status.recent,
        b"UIDNEXT": lambda status: status.uid_next,
        b"UIDVALIDITY": lambda status: status.uid_validity,
        b"UNSEEN": lambda status: status.unseen,
    }
)


def run_status(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.10."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = cursor.words()
    cursor.end()
    for item in items:
        if item not in ITEMS:
            raise Bad(f"unknown status item {item.decode()[:40]}")
    mailbox = session.mailstore.open(name)
    try:
        mailbox.refresh()
        status = mailbox.status()
        pairs = [b"%b %d" % (item, ITEMS[item](status)) for item in dict.fromkeys(items)]
        selected = session.selected
        if selected is not None and selected.mailbox is mailbox and b"RECENT" in items:
            # Those that this session was the first to see are recent here, and nowhere else.
            selected.report(session.stream, expunges=True)
            place = list(dict.fromkeys(items)).index(b"RECENT")
            pairs[place] = b"RECENT %d" % selected.recent_count()
    finally:
        mailbox.release()
    session.send(b"* STATUS %b (%b)\r\n" % (format_mailbox(name), b" ".join(pairs)))
