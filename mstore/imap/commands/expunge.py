"""EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

What is removed is reported like any other news of the mailbox, behind the command, by sequence number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstore.base.flags import DELETED, TOMBSTONE
from mstore.imap.chosen import Array, choose
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.selected import Selected

if TYPE_CHECKING:
    from mstore.imap.session import Session

_MASK = np.uint64(DELETED | TOMBSTONE)
_DELETED = np.uint64(DELETED)


def run_expunge(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Remove all messages that have \\Deleted, of those that the client has been told of.

    RFC 3501 §6.4.3.
    Locks: takes the mailbox lock; nothing is sent while it is held.
    Durable: the removal is on disk before the first EXPUNGE is sent.
    """
    cursor.end()
    selected = session.mailbox
    selected.check_may_expunge(session.stream)
    return _finish(selected, expunge_deleted(selected), b"EXPUNGE")


def run_uid_expunge(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Remove those messages of a set of UIDs that have \\Deleted.

    RFC 4315 §2.1.
    Locks: takes the mailbox lock; nothing is sent while it is held.
    Durable: the removal is on disk before the first EXPUNGE is sent.
    """
    cursor.space()
    numbers = cursor.sequence_set()
    cursor.end()
    selected = session.mailbox
    selected.check_may_expunge(session.stream)
    return _finish(
        selected, expunge_deleted(selected, choose(selected, numbers, uid=True).rows), b"UID EXPUNGE"
    )


def _finish(selected: Selected, modseq: int, name: bytes) -> bytes | None:
    """The reply; an aware client is told the MODSEQ of the removal (RFC 7162 §3.2.7)."""
    if not modseq or not selected.aware:
        return None
    return b"[HIGHESTMODSEQ %d] %b completed" % (modseq, name)


def expunge_deleted(selected: Selected, rows: Array | None = None) -> int:
    """Remove messages that have \\Deleted, of all those the client knows or of some rows.

    A message that the client has not been told of stays, though it has \\Deleted: the client cannot have
    meant it. Gives the MODSEQ of the removal, 0 when there was nothing to remove. Which have it is decided
    under the lock: another session may just have taken it back.
    """
    mailbox = selected.mailbox
    if rows is None:
        rows = selected.view.rows
    if not len(_deleted(mailbox.columns.full.flags, rows)):
        mailbox.refresh()
        if not len(_deleted(mailbox.columns.full.flags, rows)):
            return 0
    with mailbox.transaction() as tx:
        doomed = _deleted(mailbox.columns.full.flags, rows)
        if len(doomed):
            tx.expunge(doomed)
    return tx.modseq


def _deleted(flags: Array, rows: Array) -> Array:
    deleted: Array = rows[flags[rows] & _MASK == _DELETED]
    return deleted
