"""APPEND: one message into a mailbox (RFC 3501 §6.3.11, APPENDUID of RFC 4315 §3)."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from mstore.base.errors import Invalid, NotFound
from mstore.base.flags import FIRST_KEYWORD_BIT
from mstore.files.spool import Spool
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor, Literal
from mstore.imap.grammar.flags import split_flags
from mstore.store.append import NewMessage, append
from mstore.store.rights import flag_mask

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.place import Opened

_BARE_LF = re.compile(rb"(?<!\r)\n")


def run_append(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.3.11. Flags that the client may not set there are left out (RFC 4314 §4).

    Durable: the message is on disk before the tagged OK.
    """
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
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
    content = cursor.literal()
    cursor.end()
    if not (len(content) if isinstance(content, bytes) else content.size):
        raise No("An empty message cannot be stored", b"CANNOT")
    opened = open_target(session, name)
    mailbox = opened.mailbox
    mask = flag_mask(opened.rights)
    bits &= mask
    if not mask >> FIRST_KEYWORD_BIT:
        keywords = ()
    spool: Spool | None = None
    try:
        whole = normalize(content, session)
        spool = whole if isinstance(whole, Spool) and whole is not content else None
        (uid,) = append(mailbox, [NewMessage(whole, internal_date, bits, keywords)])
        return b"[APPENDUID %d %d] APPEND completed" % (mailbox.uid_validity, uid)
    finally:
        if spool is not None:
            spool.close()
        mailbox.release()


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
        if content.count(b"\n") == content.count(b"\r\n"):
            return content
        return _BARE_LF.sub(b"\r\n", content)
    last, bare = b"", 0
    for chunk in content.chunks():
        bare += chunk.count(b"\n") - chunk.count(b"\r\n") - (last == b"\r" and chunk[:1] == b"\n")
        last = chunk[-1:]
    if not bare:
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
