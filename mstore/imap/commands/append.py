"""APPEND: messages into a mailbox (RFC 3501 §6.3.11, RFC 3502, 4469, 6855; APPENDUID of RFC 4315 §3)."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstore.base.errors import Invalid, NotFound, UnknownEncoding
from mstore.base.flags import FIRST_KEYWORD_BIT
from mstore.base.numset import format_numset
from mstore.files.spool import CHUNK_BYTES, Part, Spool
from mstore.imap.commands.catenate import Source, assemble, parse_catenation, parse_utf8_literal
from mstore.imap.commands.list import tell_name
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor, Literal
from mstore.imap.grammar.extensions import UTF8_ACCEPT
from mstore.imap.grammar.flags import split_flags
from mstore.imap.grammar.names import fold_inbox
from mstore.imap.reader import MESSAGES_BYTES, MOST_SPOOLS, SPOOL_ABOVE_BYTES
from mstore.mail.crlf import has_bare_lf
from mstore.mail.header import header_end
from mstore.mail.transfer import encode_binary
from mstore.store.append import NewMessage, append
from mstore.store.rights import flag_mask

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.place import Opened

EIGHT_BIT = (
    "There are bytes beyond ASCII in the header: ENABLE UTF8=ACCEPT to store them, or encode them (RFC 2047)"
)
_BARE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Upload:
    """One message as the client sends it, with what it says of it."""

    content: Literal | tuple[Source, ...]
    """The message, or the parts of which it is to be made."""
    internal_date: int
    bits: int
    keywords: tuple[bytes, ...]
    is_binary: bool = False
    """It may have NULs in it (RFC 3516 §4.4)."""
    is_utf8: bool = False
    """Its header, or that of a part of it, is said to be in UTF-8 (RFC 6855 §4)."""


def run_append(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """Add one or more messages, all or none. RFC 3501 §6.3.11, RFC 3502.

    Flags that the client may not set there are left out (RFC 4314 §4).
    Durable: the messages are on disk before the tagged OK.
    """
    cursor.space()
    written = cursor.written_mailbox()
    uploads = []
    while True:
        cursor.space()
        uploads.append(parse_upload(cursor))
        if cursor.at_end():
            break
    with ExitStack() as stack:
        opened = open_target(session, fold_inbox(written))
        stack.callback(opened.mailbox.release)
        contents = complete(session, uploads, stack)
        selected = session.selected
        view = selected.view if selected is not None and selected.mailbox is opened.mailbox else None
        uids = append(opened.mailbox, make_messages(opened, uploads, contents), claimant=view)
        uid_validity = opened.mailbox.uid_validity
        session.note_own_messages(opened.mailbox, uids)
        tells = tells_uids(opened)
    tell_name(session, written)
    if not tells:
        return b"APPEND completed"
    return b"[APPENDUID %d %b] APPEND completed" % (uid_validity, format_numset(uids))


def tells_uids(opened: Opened) -> bool:
    """Whether the client may know the UIDs there: only where it may read (RFC 4315 §3, RFC 9051 §11.4)."""
    return "r" in opened.rights


def parse_upload(cursor: Cursor) -> Upload:
    """Flags and date, both of which may be missing, and the message."""
    bits = 0
    keywords: tuple[bytes, ...] = ()
    if cursor.peek() == 40:
        try:
            bits, keywords = split_flags(cursor.flag_list())
        except Invalid as error:
            raise Bad(str(error)) from None
        cursor.space()
    internal_date = int(time.time())
    if cursor.peek() == 34:
        internal_date = cursor.date_time()
        cursor.space()
    if cursor.take(b"CATENATE"):
        parts, is_utf8 = parse_catenation(cursor)
        return Upload(parts, internal_date, bits, keywords, is_utf8, is_utf8)
    if cursor.take(b"UTF8"):
        cursor.space()
        return Upload(parse_utf8_literal(cursor), internal_date, bits, keywords, True, True)
    content, is_binary = cursor.literal8()
    return Upload(content, internal_date, bits, keywords, is_binary)


def complete(session: Session, uploads: Sequence[Upload], stack: ExitStack) -> list[Literal]:
    """The messages as they are to be stored; good while the stack is.

    Of many small ones those that were made here are gathered, so that they are not in memory all at once.
    Raises: No, also for an empty one (RFC 3502 §6.3.11) and for one with a header that this client cannot be
    shown (RFC 6855 §4); UnknownEncoding, TooBig, StorageFailed.
    """
    settings = session.service.settings
    offers_utf8 = session.offers(UTF8_ACCEPT)
    needs_ascii = offers_utf8 and not session.utf8
    room_bytes = max(settings.message_size_limit, MESSAGES_BYTES)
    contents: list[Literal] = []
    gathered: Spool | None = None
    for upload in uploads:
        content = upload.content
        if upload.is_utf8 and not offers_utf8:
            raise No("UTF8 is switched off", b"CANNOT")
        if isinstance(content, tuple):
            content = assemble(session, content, stack)
        if not _size_of(content):
            raise No("An empty message cannot be stored", b"CANNOT")
        if upload.is_binary:
            content = encode(content, session, stack)
        whole = normalize(content, session)
        if needs_ascii and not has_ascii_header(whole):
            raise No(EIGHT_BIT, b"CANNOT")
        if isinstance(whole, Spool) and whole is not upload.content:
            stack.callback(whole.close)
        elif isinstance(whole, bytes) and whole is not upload.content and len(uploads) > 1:
            if gathered is None:
                gathered = Spool(settings.spool_path)
                stack.callback(gathered.close)
            whole = gathered.append_part(whole)
        contents.append(whole)
        room_bytes -= _size_of(whole)
        if room_bytes < 0 or sum(isinstance(one, Spool) for one in contents) > MOST_SPOOLS:
            raise No("Too much for one command", b"LIMIT")
    return contents


def has_ascii_header(content: Literal) -> bool:
    """Whether the header of a message, which may be all of it, is ASCII."""
    if isinstance(content, bytes):
        return content.isascii() or content[: header_end(content)].isascii()
    data = content.buffer()
    end = header_end(data)
    return all(data[at : min(at + CHUNK_BYTES, end)].isascii() for at in range(0, end, CHUNK_BYTES))


def _size_of(content: Literal) -> int:
    return len(content) if isinstance(content, bytes) else content.size


def make_messages(opened: Opened, uploads: Sequence[Upload], contents: Sequence[Literal]) -> list[NewMessage]:
    """Messages for an open mailbox, with the flags that the client may set there."""
    mask = flag_mask(opened.rights)
    return [
        NewMessage(
            content,
            upload.internal_date,
            upload.bits & mask,
            upload.keywords if mask >> FIRST_KEYWORD_BIT else (),
        )
        for upload, content in zip(uploads, contents, strict=True)
    ]


def encode(content: Literal, session: Session, stack: ExitStack) -> Literal:
    """A message that may be binary as one that every client can read (RFC 3516 §4.4, §6).

    Raises: UnknownEncoding when it has a NUL in what is not said to be binary; TooBig.
    """
    settings = session.service.settings
    spool = Spool(settings.spool_path, settings.message_size_limit)
    stack.callback(spool.close)
    for piece in encode_binary(content if isinstance(content, bytes) else content.buffer()):
        if b"\0" in piece:
            raise UnknownEncoding("there is a NUL in what is not said to be binary")
        spool.append(piece)
    if spool.size > SPOOL_ABOVE_BYTES:
        return spool
    return bytes(spool.buffer())


def open_target(session: Session, name: str) -> Opened:
    """The mailbox to which messages are to be added.

    Raises: No with TRYCREATE when there is none that the client may know of, and it may create one there
    (RFC 3501 §6.3.11, §6.4.7); Denied, NotFound.
    """
    access = session.mailstore
    try:
        return access.open(name, "i")
    except NotFound as error:
        if access.may_create(name):
            raise No(str(error), b"TRYCREATE") from None
        raise


def normalize(content: Literal, session: Session) -> Literal:
    """The message with CR LF for every line end; the same object when it is so already."""
    if isinstance(content, bytes):
        return _BARE_LF.sub(b"\r\n", content) if has_bare_lf(content) else content
    if isinstance(content, Part):
        data = content.buffer()
        return _BARE_LF.sub(b"\r\n", data) if has_bare_lf(data) else content
    last = b""
    for chunk in content.chunks():
        if has_bare_lf(chunk, last == b"\r"):
            break
        last = chunk[-1:]
    else:
        return content
    settings = session.service.settings
    spool = Spool(settings.spool_path, settings.message_size_limit)
    try:
        last = b""
        for chunk in content.chunks():
            data = _BARE_LF.sub(b"\r\n", chunk)
            if last == b"\r" and chunk[:1] == b"\n":
                data = data[1:]
            spool.append(data)
            last = chunk[-1:]
    except BaseException:
        spool.close()
        raise
    return spool
