"""The set of mailboxes: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.

RFC 3501 §6.3.3 to §6.3.7, RFC 6154 §3; RFC 9051 §6.3.4 to §6.3.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base.errors import HasInferiors
from mstore.imap.commands.list import tell_deleted, tell_name, tell_renamed
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import fold_inbox
from mstore.imap.respond import format_mailbox_id
from mstore.store.specialuse import parse_uses

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_create(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.3.3, with special uses (RFC 6154 §3) and the mailbox's identifier (RFC 8474 §4.1).

    Durable: the mailbox, and the levels above it.
    """
    cursor.space()
    written = cursor.written_mailbox()
    uses: list[bytes] = []
    if not cursor.at_end():
        cursor.space()
        cursor.list_of(lambda: _parse_create_parameter(cursor, uses))
    cursor.end()
    name = fold_inbox(written)
    session.note_own(name)
    entry = session.mailstore.create(name, parse_uses([use.decode("ascii") for use in uses]))
    tell_name(session, written)
    return b"[MAILBOXID (" + format_mailbox_id(entry.id) + b")] CREATE completed"


def _parse_create_parameter(cursor: Cursor, uses: list[bytes]) -> None:
    """One parameter of CREATE (RFC 4466 §2.2); the only one is USE."""
    parameter = cursor.word()
    if parameter != b"USE":
        raise Bad(f"unknown parameter {parameter.decode()[:40]}")
    cursor.space()
    for use in cursor.flag_list():
        if not use.startswith(b"\\"):
            raise Bad("a special use begins with \\")
        uses.append(use)


def run_delete(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.4.

    Durable: the removal.
    """
    cursor.space()
    written = cursor.written_mailbox()
    cursor.end()
    name = fold_inbox(written)
    session.note_own(name)
    try:
        session.mailstore.delete(name)
    except HasInferiors as error:
        # IMAP4rev2 has a code of its own for that (RFC 9051 §7.1).
        raise No(str(error), b"HASCHILDREN" if session.rev2 else b"CANNOT") from None
    tell_deleted(session, written)
    selected = session.selected
    if selected is not None:
        selected.mailbox.refresh()
        if selected.mailbox.deleted:
            # Other sessions that have it selected are told BYE; this one knows already.
            session.leave_mailbox()


def run_rename(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.5, with what it says of inferior names and of INBOX.

    Durable: the new names.
    """
    cursor.space()
    old = cursor.written_mailbox()
    cursor.space()
    new = cursor.written_mailbox()
    cursor.end()
    names = fold_inbox(old), fold_inbox(new)
    session.note_own(*names)
    session.mailstore.rename(*names)
    tell_renamed(session, old, new)


def run_subscribe(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.6."""
    name = _one_mailbox(cursor)
    session.note_own(name)
    session.mailstore.subscribe(name)


def run_unsubscribe(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.7."""
    name = _one_mailbox(cursor)
    session.note_own(name)
    session.mailstore.unsubscribe(name)


def _one_mailbox(cursor: Cursor) -> str:
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    return name
