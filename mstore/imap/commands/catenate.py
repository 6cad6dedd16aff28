"""CATENATE: a message put together from texts and from parts of messages that are here (RFC 4469, RFC 6855).

A URL names a message, or a section of one, of a mailbox that the client may read (RFC 5092, relative forms
only). The mailbox goes through the same gate as every other name; \\Seen is not set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import numpy as np

from mstore.base.errors import Denied, Expunged, Invalid, LimitReached, NotFound, TooBig
from mstore.base.numset import NumSet
from mstore.files.spool import Spool
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor, Literal
from mstore.imap.grammar.fetchitems import FetchItem, Section, parse_section
from mstore.imap.grammar.names import fold_inbox
from mstore.imap.reader import SPOOL_ABOVE_BYTES
from mstore.imap.render.section import SectionItem
from mstore.mail.summary import PARTS

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.mailbox import Mailbox
    from mstore.store.view import View

MAX_PARTS = 1000
_URL = re.compile(
    rb"(?:(?:/(?P<mailbox>[^;/]+(?:/[^;/]+)*))?(?:;UIDVALIDITY=(?P<validity>[1-9][0-9]{0,9}))?/)?"
    rb";UID=(?P<uid>[1-9][0-9]{0,9})"
    rb"(?:/;SECTION=(?P<section>[^;/]+))?"
    rb"(?:/;PARTIAL=(?P<origin>[0-9]{1,10})(?:\.(?P<length>[1-9][0-9]{0,9}))?)?",
    re.IGNORECASE,
)
_UNTOLD = re.compile(rb"[^\x20-\x5c\x5e-\x7e]")


@dataclass(frozen=True, slots=True)
class Url:
    """Where a part of the message is to be found."""

    text: bytes


Source = Literal | Url


def parse_catenation(cursor: Cursor) -> tuple[tuple[Source, ...], bool]:
    """The parts behind ``CATENATE``, which has been read, and whether UTF8 is among them.

    RFC 4469 §5 "cat-part", RFC 6855 §4.
    """
    cursor.space()
    parts = cursor.list_of(lambda: _parse_part(cursor))
    if len(parts) > MAX_PARTS:
        raise Bad("too many parts")
    return tuple(source for source, _ in parts), any(is_utf8 for _, is_utf8 in parts)


def _parse_part(cursor: Cursor) -> tuple[Source, bool]:
    kind = cursor.word()
    cursor.space()
    if kind == b"TEXT":
        return cursor.literal(), False
    if kind == b"URL":
        return Url(cursor.astring()), False
    if kind == b"UTF8":
        return parse_utf8_literal(cursor), True
    raise Bad("TEXT or URL expected")


def parse_utf8_literal(cursor: Cursor) -> Literal:
    """What follows ``UTF8 ``: a literal8 in parentheses (RFC 6855 §4 "utf8-literal")."""
    cursor.expect(b"(")
    content, is_literal8 = cursor.literal8()
    if not is_literal8:
        raise Bad("~{ expected")
    cursor.expect(b")")
    return content


def assemble(session: Session, parts: tuple[Source, ...], stack: ExitStack) -> Literal:
    """The message of these parts; good while the stack is.

    Raises: No with BADURL or TOOBIG (RFC 4469 §4).
    """
    settings = session.service.settings
    spool = Spool(settings.spool_path, settings.message_size_limit)
    stack.callback(spool.close)
    try:
        for part in parts:
            if isinstance(part, Url):
                for piece in _fetch(session, part.text):
                    spool.append(piece)
            elif isinstance(part, bytes):
                spool.append(part)
            else:
                for piece in part.chunks():
                    spool.append(piece)
    except TooBig as error:
        raise No(str(error), b"TOOBIG") from None
    return spool if spool.size > SPOOL_ABOVE_BYTES else bytes(spool.buffer())


def _fetch(session: Session, url: bytes) -> Iterator[bytes]:
    """The bytes that a URL names."""
    match = _URL.fullmatch(url)
    if match is None:
        raise _bad_url(url, "not the URL of a message here")
    named = match["mailbox"]
    try:
        if named is None:
            if session.selected is None:
                raise _bad_url(url, "no mailbox is selected")
            yield from _read(session.selected.mailbox, session.selected.view, match, url)
            return
        name = unquote_to_bytes(named).decode("utf-8")
        mailbox = session.mailstore.open(fold_inbox(name), "r").mailbox
    except (Denied, Invalid, LimitReached, NotFound, UnicodeDecodeError):
        raise _bad_url(url, "there is no such mailbox to read") from None
    try:
        yield from _read(mailbox, mailbox.view(), match, url)
    finally:
        mailbox.release()


def _read(mailbox: Mailbox, view: View, match: re.Match[bytes], url: bytes) -> Iterator[bytes]:
    if match["validity"] is not None and int(match["validity"]) != mailbox.uid_validity:
        raise _bad_url(url, "the mailbox has other UIDs now")
    uid = int(match["uid"])
    rows = view.rows_of_uids(NumSet([(uid, uid)])) if uid < 1 << 32 else np.empty(0, np.int32)
    if not len(rows):
        raise _bad_url(url, "there is no such message")
    section = _parse_section(match["section"], url)
    partial = None
    if match["origin"] is not None:
        partial = int(match["origin"]), int(match["length"] or 1 << 40)
    item = SectionItem(FetchItem(b"BODY[]", section, partial=partial), section)
    row = int(rows[0])
    full = mailbox.columns.full
    try:
        parts = mailbox.derived(rows, (PARTS,))[0][0] if item.needs_parts else b""
        place = item.find(full.header_length.item(row), full.size.item(row), parts)
        if place is None:
            raise _bad_url(url, "the message has no such section")
        if item.fields is not None:
            text = item.fields.pick(mailbox.read(row, place[0], place[1] - place[0]))
            yield text[slice(*item.cut(0, len(text)))]
            return
        start, end = item.cut(*place)
        if end > start:
            yield from mailbox.chunks(row, start, end - start)
    except Expunged:
        raise _bad_url(url, "the message has been deleted") from None


def _parse_section(text: bytes | None, url: bytes) -> Section:
    cursor = Cursor(unquote_to_bytes(text or b""))
    try:
        section = parse_section(cursor)
        cursor.end()
    except Bad:
        raise _bad_url(url, "not a section") from None
    return section


def _bad_url(url: bytes, why: str) -> No:
    return No(why, b"BADURL " + (_UNTOLD.sub(b"?", url[:400]) or b"?"))
