"""Commands for any state: CAPABILITY, NOOP, LOGOUT, ID (RFC 3501 §6.1, RFC 2971)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mstore
from mstore.imap import state
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.respond import format_string

if TYPE_CHECKING:
    from mstore.imap.session import Session

MAX_ID_FIELDS = 30
MAX_ID_FIELD_BYTES = 30
MAX_ID_VALUE_BYTES = 1024


def run_capability(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.1.1."""
    cursor.end()
    session.send(b"* CAPABILITY " + session.capabilities() + b"\r\n")


def run_noop(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.1.2: the news that every command brings are all there is to it."""
    cursor.end()


def run_logout(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.1.3."""
    cursor.end()
    session.send(b"* BYE Logging out\r\n")
    session.state = state.LOGGED_OUT


def run_id(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 2971 §3.1: what the client says of itself is noted in the log."""
    cursor.space()
    fields = parse_id(cursor)
    cursor.end()
    if fields:
        said = b" ".join(b"%b=%b" % (name, value) for name, value in fields if value is not None)
        client = said.decode("utf-8", "replace")
        session.service.log.info("client-id", session=session.id, user=session.user, client=client)
    values = (b"name", b"M-Store", b"version", mstore.__version__.encode())
    session.send(b"* ID (" + b" ".join(format_string(value) for value in values) + b")\r\n")


def parse_id(cursor: Cursor) -> list[tuple[bytes, bytes | None]]:
    """The parameter list of ID within the limits of RFC 2971 §3.3; NIL gives an empty one."""
    if cursor.peek() != 40:
        if cursor.nstring() is not None:
            raise Bad("parameter list or NIL expected")
        return []
    strings = cursor.list_of(cursor.nstring, may_be_empty=True)
    if len(strings) % 2:
        raise Bad("a parameter has no value")
    fields = []
    for name, value in zip(strings[::2], strings[1::2], strict=True):
        if name is None:
            raise Bad("a parameter has no name")
        if len(name) > MAX_ID_FIELD_BYTES or len(value or b"") > MAX_ID_VALUE_BYTES:
            raise Bad("parameter too long")
        fields.append((name, value))
    if len(fields) > MAX_ID_FIELDS:
        raise Bad("too many parameters")
    return fields
