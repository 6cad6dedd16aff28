"""STATUS: counts of a mailbox without selecting it (RFC 3501 §6.3.10, RFC 9208 §4.1.4, RFC 8438)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mstore.base.flags import DELETED, TOMBSTONE
from mstore.imap.capability import append_limit
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import fold_inbox, format_mailbox
from mstore.imap.respond import format_mailbox_id
from mstore.store.change import MailboxStatus

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.mailbox import Mailbox
    from mstore.store.namestate import MailboxEntry

RECENT, HIGHESTMODSEQ = b"RECENT", b"HIGHESTMODSEQ"
ITEMS: Mapping[bytes, str] = MappingProxyType(
    {
        b"MESSAGES": "messages",
        RECENT: "recent",
        b"UIDNEXT": "uid_next",
        b"UIDVALIDITY": "uid_validity",
        b"UNSEEN": "unseen",
        b"DELETED": "deleted",
        HIGHESTMODSEQ: "highest_modseq",
        b"SIZE": "size_bytes",
    }
)
"""Where the value of an item stands in the totals of a mailbox."""
DELETED_STORAGE = b"DELETED-STORAGE"
OTHERS: Mapping[bytes, Callable[[Session, Mailbox], bytes]] = MappingProxyType(
    {
        DELETED_STORAGE: lambda session, mailbox: b"%d" % _deleted_bytes(mailbox),
        b"APPENDLIMIT": lambda session, mailbox: _format_limit(session),
        b"MAILBOXID": lambda session, mailbox: b"(" + format_mailbox_id(mailbox.id) + b")",
    }
)
_PLAIN = re.compile(
    rb' (?:"([^"\\&\x00-\x1f\x7f-\xff]+)"|([^\x00-\x20\x7f-\xff(){%*"\\&]+)) (\([A-Za-z0-9 \-]{1,100}\))\Z'
)
"""Arguments as nearly all of them are: the name says what it is in any encoding, and nothing is a literal."""
_MASK = np.uint64(DELETED | TOMBSTONE)


def run_status(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.10."""
    plain = _PLAIN.match(cursor.data, cursor.pos)
    if plain is not None:
        name = fold_inbox((plain[1] or plain[2]).decode("ascii"))
        items = _parse_items(plain[3], session.rev2)
    else:
        cursor.space()
        name = cursor.mailbox()
        cursor.space()
        items = tuple(cursor.words())
        cursor.end()
        check_items(items, session.rev2)
    session.stream.write(count(session, name, items))


@lru_cache(maxsize=64)
def _parse_items(text: bytes, rev2: bool) -> tuple[bytes, ...]:
    """The items of a list in parentheses; clients send the same ones over and over.

    Raises: Bad.
    """
    cursor = Cursor(text)
    items = tuple(cursor.words())
    cursor.end()
    check_items(items, rev2)
    return items


def check_items(items: Sequence[bytes], rev2: bool) -> None:
    """Pass items that are there; in IMAP4rev2 nothing is recent (RFC 9051, Appendix E).

    Raises: Bad.
    """
    for item in items:
        if (item not in ITEMS and item not in OTHERS) or (rev2 and item == RECENT):
            raise Bad(f"unknown status item {item.decode()[:40]}")


def count(session: Session, name: str, items: tuple[bytes, ...], listed: MailboxEntry | None = None) -> bytes:
    """The STATUS response for a mailbox; ``listed`` is what a listing has just found of the name.

    Raises: NotFound, Denied, Corrupt.
    """
    form = _form(items)
    if form is None or (session.selected is not None and RECENT in items):
        values = _count_open(session, name, items)
    else:
        _, status = session.mailstore.status(name, listed)
        if HIGHESTMODSEQ in items:
            session.enable(b"CONDSTORE")
        return form(format_mailbox(name, session.utf8), status)
    return b"* STATUS %b (%b)\r\n" % (format_mailbox(name, session.utf8), values)


def count_known(
    session: Session, items: tuple[bytes, ...], listed: Mapping[str, MailboxEntry]
) -> dict[str, bytes]:
    """The STATUS responses for those mailboxes of a listing that need not be opened for them."""
    form, utf8 = _form(items), session.utf8
    if form is None or (session.selected is not None and RECENT in items):
        return {}
    known = session.mailstore.known(listed)
    if known and HIGHESTMODSEQ in items:
        session.enable(b"CONDSTORE")
    return {name: form(format_mailbox(name, utf8), status) for name, status in known.items()}


@lru_cache(maxsize=64)
def _form(items: tuple[bytes, ...]) -> Callable[[bytes, MailboxStatus], bytes] | None:
    """What writes a response with these items, each once; None where the totals alone will not do."""
    if not ITEMS.keys() >= set(items):
        return None
    once = dict.fromkeys(items)
    places = [MailboxStatus._fields.index(ITEMS[item]) for item in once]
    template = b"* STATUS %b (" + b" ".join([item + b" %d" for item in once]) + b")\r\n"
    if len(places) == 1:
        place = places[0]
        return lambda name, status: template % (name, status[place])
    pick = itemgetter(*places)
    return lambda name, status: template % (name, *pick(status))


def _count_open(session: Session, name: str, items: tuple[bytes, ...]) -> bytes:
    """Each item asked for, once, and its value; from the mailbox itself."""
    mailbox = session.mailstore.open(name, "r").mailbox
    try:
        if HIGHESTMODSEQ in items:
            session.enable(b"CONDSTORE")
        mailbox.refresh()
        status = mailbox.status()
        values = {
            item: b"%d" % getattr(status, ITEMS[item]) if item in ITEMS else OTHERS[item](session, mailbox)
            for item in items
        }
        selected = session.selected
        if selected is not None and selected.mailbox is mailbox and RECENT in items:
            # Those that this session was the first to see are recent here, and nowhere else.
            selected.report(session.stream, expunges=True)
            values[RECENT] = b"%d" % selected.recent_count()
    finally:
        mailbox.release()
    return b" ".join([b"%b %b" % pair for pair in values.items()])


def _deleted_bytes(mailbox: Mailbox) -> int:
    """How many bytes EXPUNGE would set free."""
    columns = mailbox.columns
    return int(columns.size[(columns.flags & _MASK) == np.uint64(DELETED)].sum(dtype=np.uint64))


def _format_limit(session: Session) -> bytes:
    """The size of a message that APPEND takes, for this mailbox as for any (RFC 7889 §3)."""
    return b"%d" % append_limit(session.service)
