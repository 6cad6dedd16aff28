"""REPLACE and UID REPLACE: a message comes in, another one goes (RFC 8508)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from mstore.base.errors import Denied
from mstore.imap.chosen import choose
from mstore.imap.commands.append import complete, make_messages, open_target, parse_upload, tells_uids
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.store.replace import replace

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_replace(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """Replace the message of a sequence number. RFC 8508 §3.2.

    Locks: takes both mailboxes' locks; nothing is sent while they are held.
    Durable: the new message and the removal of the old one, before the reply.
    """
    return _run(session, cursor, uid=False)


def run_uid_replace(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """Replace the message of a UID. RFC 8508 §3.3."""
    return _run(session, cursor, uid=True)


def _run(session: Session, cursor: Cursor, uid: bool) -> bytes:
    cursor.space()
    numbers = cursor.sequence_set()
    if len(numbers.ranges) != 1 or numbers.ranges[0][0] != numbers.ranges[0][1]:
        raise Bad("one message number expected")
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    upload = parse_upload(cursor)
    cursor.end()
    selected = session.mailbox
    selected.check_may_expunge(session.stream)
    if "t" not in selected.rights:
        raise Denied("you have no right to mark messages as deleted here")
    chosen = choose(selected, numbers, uid)
    chosen.check_none_gone(uid)
    if not len(chosen.rows):
        raise No("There is no such message", b"EXPUNGEISSUED" if chosen.gone else b"NONEXISTENT")
    with ExitStack() as stack:
        opened = open_target(session, name)
        stack.callback(opened.mailbox.release)
        contents = complete(session, [upload], stack)
        (message,) = make_messages(opened, [upload], contents)
        new_uid, modseq = replace(int(chosen.rows[0]), selected.mailbox, opened.mailbox, message)
        uid_validity = opened.mailbox.uid_validity
        tells = tells_uids(opened)
        session.note_own_messages(opened.mailbox, [new_uid])
    if tells:
        # Told before the old message is told to be gone (RFC 8508 §4.3).
        session.send(b"* OK [APPENDUID %d %d] Replacement ready\r\n" % (uid_validity, new_uid))
    done = b"UID REPLACE completed" if uid else b"REPLACE completed"
    return b"[HIGHESTMODSEQ %d] %b" % (modseq, done) if selected.aware else done
