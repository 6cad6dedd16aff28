"""STATUS: counts of a mailbox without selecting it (RFC 3501 §6.3.10, RFC 9208 §4.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mstore.base.flags import DELETED, TOMBSTONE
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import format_mailbox

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.change import MailboxStatus
    from mstore.store.mailbox import Mailbox

ITEMS: Mapping[bytes, Callable[[MailboxStatus], int]] = MappingProxyType(
    {
        b"MESSAGES": lambda status: status.messages,
        b"RECENT": lambda status: status.recent,
        b"UIDNEXT": lambda status: status.uid_next,
        b"UIDVALIDITY": lambda status: status.uid_validity,
        b"UNSEEN": lambda status: status.unseen,
        b"DELETED": lambda status: status.deleted,
        b"HIGHESTMODSEQ": lambda status: status.highest_modseq,
    }
)
DELETED_STORAGE = b"DELETED-STORAGE"
_MASK = np.uint64(DELETED | TOMBSTONE)


def run_status(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.10."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = cursor.words()
    cursor.end()
    for item in items:
        if item not in ITEMS and item != DELETED_STORAGE:
            raise Bad(f"unknown status item {item.decode()[:40]}")
    mailbox = session.mailstore.open(name, "r").mailbox
    try:
        if b"HIGHESTMODSEQ" in items:
            session.enable(b"CONDSTORE")
        mailbox.refresh()
        values = _count(mailbox, items)
        selected = session.selected
        if selected is not None and selected.mailbox is mailbox and b"RECENT" in items:
            # Those that this session was the first to see are recent here, and nowhere else.
            selected.report(session.stream, expunges=True)
            values[b"RECENT"] = selected.recent_count()
    finally:
        mailbox.release()
    pairs = b" ".join([b"%b %d" % pair for pair in values.items()])
    session.send(b"* STATUS %b (%b)\r\n" % (format_mailbox(name), pairs))


def _count(mailbox: Mailbox, items: list[bytes]) -> dict[bytes, int]:
    """Each item asked for, once, and its number."""
    status = mailbox.status()
    return {
        item: _deleted_bytes(mailbox) if item == DELETED_STORAGE else ITEMS[item](status) for item in items
    }


def _deleted_bytes(mailbox: Mailbox) -> int:
    """How many bytes EXPUNGE would set free."""
    columns = mailbox.columns
    return int(columns.size[(columns.flags & _MASK) == np.uint64(DELETED)].sum(dtype=np.uint64))
