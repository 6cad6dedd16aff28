"""STATUS: counts of a mailbox without selecting it (RFC 3501 §6.3.10, RFC 9208 §4.1.4, RFC 8438)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mstore.base.flags import DELETED, TOMBSTONE
from mstore.imap.capability import append_limit
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import format_mailbox
from mstore.imap.respond import format_mailbox_id

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
        b"SIZE": lambda status: status.size_bytes,
    }
)
DELETED_STORAGE = b"DELETED-STORAGE"
OTHERS: Mapping[bytes, Callable[[Session, Mailbox], bytes]] = MappingProxyType(
    {
        DELETED_STORAGE: lambda session, mailbox: b"%d" % _deleted_bytes(mailbox),
        b"APPENDLIMIT": lambda session, mailbox: _format_limit(session),
        b"MAILBOXID": lambda session, mailbox: b"(" + format_mailbox_id(mailbox.id) + b")",
    }
)
_MASK = np.uint64(DELETED | TOMBSTONE)


def run_status(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.10."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = cursor.words()
    cursor.end()
    check_items(items, session.rev2)
    session.send(count(session, name, items))


def check_items(items: list[bytes], rev2: bool) -> None:
    """Pass items that are there; in IMAP4rev2 nothing is recent (RFC 9051, Appendix E).

    Raises: Bad.
    """
    for item in items:
        if (item not in ITEMS and item not in OTHERS) or (rev2 and item == b"RECENT"):
            raise Bad(f"unknown status item {item.decode()[:40]}")


def count(session: Session, name: str, items: Sequence[bytes]) -> bytes:
    """The STATUS response for a mailbox.

    Raises: NotFound, Denied, Corrupt.
    """
    mailbox = session.mailstore.open(name, "r").mailbox
    try:
        if b"HIGHESTMODSEQ" in items:
            session.enable(b"CONDSTORE")
        mailbox.refresh()
        values = _count(session, mailbox, items)
        selected = session.selected
        if selected is not None and selected.mailbox is mailbox and b"RECENT" in items:
            # Those that this session was the first to see are recent here, and nowhere else.
            selected.report(session.stream, expunges=True)
            values[b"RECENT"] = b"%d" % selected.recent_count()
    finally:
        mailbox.release()
    pairs = b" ".join([b"%b %b" % pair for pair in values.items()])
    return b"* STATUS %b (%b)\r\n" % (format_mailbox(name, session.utf8), pairs)


def _count(session: Session, mailbox: Mailbox, items: Sequence[bytes]) -> dict[bytes, bytes]:
    """Each item asked for, once, and its value."""
    status = mailbox.status()
    return {
        item: b"%d" % ITEMS[item](status) if item in ITEMS else OTHERS[item](session, mailbox)
        for item in items
    }


def _deleted_bytes(mailbox: Mailbox) -> int:
    """How many bytes EXPUNGE would set free."""
    columns = mailbox.columns
    return int(columns.size[(columns.flags & _MASK) == np.uint64(DELETED)].sum(dtype=np.uint64))


def _format_limit(session: Session) -> bytes:
    """The size of a message that APPEND takes, for this mailbox as for any (RFC 7889 §3)."""
    return b"%d" % append_limit(session.service)
