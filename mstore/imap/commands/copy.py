"""COPY and UID COPY (RFC 3501 §6.4.7, §6.4.8), with the UIDs of both sides (RFC 4315 §3).

All messages are copied or none, with those flags that the client may set there (RFC 4314 §4). A set with
messages that are gone is refused when it is one of sequence numbers (RFC 2180 §4.4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base.numset import format_numset
from mstore.imap.chosen import choose
from mstore.imap.commands.append import open_target
from mstore.imap.grammar.cursor import Cursor
from mstore.store.copy import copy
from mstore.store.rights import flag_mask

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_copy(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Copy messages named by sequence number to the end of another mailbox. RFC 3501 §6.4.7.

    Durable: the copies are on disk before the reply.
    """
    return _run(session, cursor, uid=False)


def run_uid_copy(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Copy messages named by UID. RFC 3501 §6.4.8."""
    return _run(session, cursor, uid=True)


def _run(session: Session, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    numbers = cursor.sequence_set()
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    selected = session.mailbox
    chosen = choose(selected, numbers, uid)
    chosen.check_none_gone(uid)
    opened = open_target(session, name)
    target = opened.mailbox
    try:
        pairs = copy(chosen.rows, selected.mailbox, target, flag_mask(opened.rights))
        uid_validity = target.uid_validity
    finally:
        target.release()
    done = b"UID COPY completed" if uid else b"COPY completed"
    if not pairs:
        return done
    sources, targets = zip(*pairs, strict=True)
    return b"[COPYUID %d %b %b] " % (uid_validity, format_numset(sources), format_numset(targets)) + done
