"""Annotations: GETMETADATA and SETMETADATA (RFC 5464), and METADATA for LIST (RFC 9590).

Who may see and set what is for ``store.annotation`` to say. Of the site's annotations ``/shared/admin`` is
what the configuration says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mstore.imap.errors import No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.entries import (
    INFINITY,
    Wanted,
    is_options,
    parse_entries,
    parse_options,
    parse_values,
)
from mstore.imap.respond import format_astring, format_mailbox, format_string
from mstore.store import annotation
from mstore.store.annotation import MAX_VALUE_BYTES, TooLong, TooMany

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_getmetadata(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """RFC 5464 §4.2; options may stand before the mailbox, as its grammar has it, or behind, as its examples.

    An entry asked for by name that is not there is told as NIL.
    """
    check_offered(session)
    cursor.space()
    depth, max_size = 0, None
    leading = is_options(cursor)
    if leading:
        depth, max_size = parse_options(cursor)
        cursor.space()
    name = cursor.mailbox()
    cursor.space()
    if not leading and is_options(cursor):
        depth, max_size = parse_options(cursor)
        cursor.space()
    wanted = Wanted(parse_entries(cursor), depth, max_size)
    cursor.end()
    found, longest = select(read(session, name), wanted)
    if found:
        session.stream.writelines(format_metadata(name, found, session.utf8))
    if longest:
        return b"[METADATA LONGENTRIES %d] GETMETADATA completed" % longest
    return None


def run_setmetadata(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 5464 §4.3; the mailbox gets a higher HIGHESTMODSEQ (RFC 7162 §3.2), which this client is not told.

    Durable: the annotations, all or none of them.
    """
    check_offered(session)
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    changes = parse_values(cursor)
    cursor.end()
    if session.notifying is not None:
        session.notifying.note_own_annotations(name, changes)
    try:
        annotation.write(
            session.mailstore, name, changes, lambda mailbox: session.note_own_messages(mailbox, ())
        )
    except TooLong as error:
        raise No(str(error), b"METADATA MAXSIZE %d" % MAX_VALUE_BYTES) from None
    except TooMany as error:
        raise No(str(error), b"METADATA TOOMANY") from None


def check_offered(session: Session) -> None:
    """Pass a client for which annotations are not switched off.

    Raises: No.
    """
    if not session.offers(b"METADATA"):
        raise No("Annotations are switched off", b"CANNOT")


def read(session: Session, name: str) -> dict[str, bytes]:
    """All annotations of a mailbox, or of the site, that the client may see."""
    found = annotation.read(session.mailstore, name)
    contact = session.service.settings.imapd_admin_contact
    if not name and contact is not None:
        found[annotation.ADMIN] = contact.encode()
    return found


def select(found: Mapping[str, bytes], wanted: Wanted) -> tuple[dict[str, bytes | None], int]:
    """Those asked for, in order; the size of the longest that is left out for its size, or 0."""
    chosen: dict[str, bytes | None] = {}
    longest = 0
    for entry in wanted.entries:
        values: dict[str, bytes | None] = {}
        if wanted.depth:
            values = {
                other: value
                for other, value in sorted(found.items())
                if other == entry or _is_beneath(other, entry, wanted.depth)
            }
        elif entry.count("/") > 1:
            values[entry] = found.get(entry)
        for other, value in values.items():
            if value is not None and wanted.max_size is not None and len(value) > wanted.max_size:
                longest = max(longest, len(value))
            else:
                chosen[other] = value
    return chosen, longest


def _is_beneath(entry: str, above: str, depth: int) -> bool:
    if not entry.startswith(above + "/"):
        return False
    return depth == INFINITY or entry.count("/", len(above)) <= depth


def format_metadata(name: str, values: Mapping[str, bytes | None], utf8: bool) -> list[bytes]:
    """A METADATA response, in pieces."""
    parts = [b"* METADATA %b (" % (format_mailbox(name, utf8) if name else b'""')]
    for number, (entry, value) in enumerate(values.items()):
        parts.append(
            b"%b%b %b" % (b" " if number else b"", format_astring(entry.encode()), _format_value(value))
        )
    parts.append(b")\r\n")
    return parts


def _format_value(value: bytes | None) -> bytes:
    if value is None:
        return b"NIL"
    # RFC 5464 §5: a literal8 for what no string may hold.
    return b"~{%d}\r\n%b" % (len(value), value) if b"\0" in value else format_string(value)
