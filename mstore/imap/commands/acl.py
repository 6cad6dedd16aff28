"""Access control lists: GETACL, SETACL, DELETEACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3).

Who may see or change a list, and whether there is such a mailbox for this user, is for ``store.access`` to
say. Here an identifier is made ready and rights are read and written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base.errors import Invalid
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.identifiers import prepare_identifier
from mstore.imap.respond import format_astring, format_mailbox
from mstore.store.rights import Rights, format_rights, parse_rights

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_getacl(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 4314 §3.3."""
    name = _mailbox(cursor)
    cursor.end()
    words = [format_mailbox(name, session.utf8)]
    for identifier, rights in session.mailstore.acl(name):
        words += [format_astring(identifier.encode()), _format_rights(format_rights(rights))]
    session.send(b"* ACL " + b" ".join(words) + b"\r\n")


def run_setacl(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 4314 §3.1.

    Durable: the list.
    """
    name = _mailbox(cursor)
    cursor.space()
    identifier = prepare_identifier(cursor.astring())
    cursor.space()
    op, rights = _parse_change(cursor.astring())
    cursor.end()
    session.note_own(name)
    session.mailstore.set_acl(name, identifier, op, rights)


def run_deleteacl(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 4314 §3.2.

    Durable: the list.
    """
    name = _mailbox(cursor)
    cursor.space()
    identifier = prepare_identifier(cursor.astring())
    cursor.end()
    session.note_own(name)
    session.mailstore.delete_acl(name, identifier)


def run_listrights(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 4314 §3.4; the identifier is told as the client has written it."""
    name = _mailbox(cursor)
    cursor.space()
    written = cursor.astring()
    cursor.end()
    always, possible = session.mailstore.list_rights(name, prepare_identifier(written))
    words = [format_mailbox(name, session.utf8), format_astring(written)]
    words += [_format_rights(rights) for rights in (always, *possible)]
    session.send(b"* LISTRIGHTS " + b" ".join(words) + b"\r\n")


def run_myrights(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 4314 §3.5."""
    name = _mailbox(cursor)
    cursor.end()
    rights = _format_rights(format_rights(session.mailstore.rights(name)))
    session.send(b"* MYRIGHTS %b %b\r\n" % (format_mailbox(name, session.utf8), rights))


def _mailbox(cursor: Cursor) -> str:
    cursor.space()
    return cursor.mailbox()


def _parse_change(text: bytes) -> tuple[str, Rights]:
    """The third argument of SETACL: what is done, and with which rights.

    Raises: Bad for a letter that is no right (RFC 4314 §3.1 "MUST cause the command to return the BAD").
    """
    op = "=" if text[:1] not in (b"+", b"-") else chr(text[0])
    try:
        return op, parse_rights(text[op != "=" :].decode("ascii", "replace"))
    except Invalid as error:
        raise Bad(str(error)) from None


def _format_rights(rights: str) -> bytes:
    return format_astring(rights.encode("ascii"))
