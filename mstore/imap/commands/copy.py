"""COPY, MOVE and their UID forms (RFC 3501 §6.4.7, RFC 6851), with the UIDs of both sides (RFC 4315 §3).

All messages are copied or moved, or none, with those flags that the client may set there (RFC 4314 §4). A set
with messages that are gone is refused when it is one of sequence numbers (RFC 2180 §4.4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mstore.base.errors import Denied
from mstore.base.numset import NumSet, format_numset
from mstore.imap.chosen import choose
from mstore.imap.commands.append import open_target, tells_uids
from mstore.imap.grammar.cursor import Cursor
from mstore.store.copy import Pairs, copy, move
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
    numbers, name = _parse(cursor)
    _, code = _transfer(session, numbers, name, uid, copy)
    done = b"UID COPY completed" if uid else b"COPY completed"
    return b"[" + code + b"] " + done if code else done


def _parse(cursor: Cursor) -> tuple[NumSet, str]:
    """The arguments of all four commands: which messages, and the mailbox they go to."""
    cursor.space()
    numbers = cursor.sequence_set()
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    return numbers, name


def _transfer(
    session: Session, numbers: NumSet, name: str, uid: bool, how: Callable[..., Pairs]
) -> tuple[Pairs, bytes]:
    """Copy or move the messages; gives the UIDs of both sides, and the code that tells them if it may."""
    selected = session.mailbox
    chosen = choose(selected, numbers, uid)
    chosen.check_none_gone(uid)
    opened = open_target(session, name)
    target = opened.mailbox
    try:
        pairs = how(chosen.rows, selected.mailbox, target, flag_mask(opened.rights))
        session.note_own_messages(target, pairs.here)
        return pairs, _format_copyuid(target.uid_validity, pairs) if pairs and tells_uids(opened) else b""
    finally:
        target.release()


def _format_copyuid(uid_validity: int, pairs: Pairs) -> bytes:
    """The response code that tells which UIDs the copies have (RFC 4315 §3)."""
    return b"COPYUID %d %b %b" % (uid_validity, format_numset(pairs.there), format_numset(pairs.here))


def run_move(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Move messages named by sequence number to the end of another mailbox. RFC 6851 §3.1.

    Locks: takes both mailboxes' locks; nothing is sent while they are held.
    Durable: the move is on disk before the reply.
    """
    return _move(session, cursor, uid=False)


def run_uid_move(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Move messages named by UID. RFC 6851 §3.2."""
    return _move(session, cursor, uid=True)


def _move(session: Session, cursor: Cursor, uid: bool) -> bytes | None:
    numbers, name = _parse(cursor)
    selected = session.mailbox
    selected.check_may_expunge(session.stream)
    if "t" not in selected.rights:
        raise Denied("you have no right to mark messages as deleted here")
    pairs, code = _transfer(session, numbers, name, uid, move)
    done = b"UID MOVE completed" if uid else b"MOVE completed"
    if not pairs:
        return done
    # Told before the messages are told to be gone (RFC 6851 §4.3).
    if code:
        session.send(b"* OK [" + code + b"] Moved\r\n")
    if selected.aware:
        return b"[HIGHESTMODSEQ %d] " % selected.mailbox.highest_modseq + done
    return done
