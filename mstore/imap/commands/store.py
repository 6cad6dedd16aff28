"""STORE and UID STORE (RFC 3501 §6.4.6, §6.4.8; RFC 7162 §3.1.3).

The change is one transaction for all messages of the set. The client is told the flags of every message of
the set, unless it asked for silence; other sessions learn of it as news. Of messages that were not to be
changed, because they had been, those are told that the client has not been told of yet, as news too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstore.base.errors import Denied
from mstore.base.flags import FIRST_KEYWORD_BIT, TOMBSTONE, USER_BITS
from mstore.base.numset import format_numset
from mstore.imap.chosen import Array, Chosen, choose
from mstore.imap.commands.storeahead import ATTRIBUTES, Ahead, Operation, look_ahead
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.modifiers import parse_store_modifiers

if TYPE_CHECKING:
    from mstore.imap.selected import Selected
    from mstore.imap.session import Session


def run_store(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Change the flags of messages named by sequence number. RFC 3501 §6.4.6.

    Locks: takes the mailbox lock; nothing is sent while it is held.
    """
    return _run(session, cursor, uid=False)


def run_uid_store(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """Change the flags of messages named by UID. RFC 3501 §6.4.8."""
    return _run(session, cursor, uid=True)


def _run(session: Session, cursor: Cursor, uid: bool) -> bytes | None:
    cursor.space()
    numbers = cursor.sequence_set()
    cursor.space()
    unchanged_since = parse_store_modifiers(cursor)
    attribute = ATTRIBUTES.get(cursor.atom().upper())
    if attribute is None:
        raise Bad("FLAGS, +FLAGS or -FLAGS expected")
    operation, silent = attribute
    cursor.space()
    bits, keywords = cursor.flags()
    cursor.end()
    selected = session.mailbox
    if unchanged_since is not None:
        session.enable(b"CONDSTORE")
    selected.check_may_change(session.stream)
    mask = _check_rights(selected, operation, bits, keywords)
    chosen = choose(selected, numbers, uid)
    rows, modified = chosen.rows, chosen.rows[:0]
    if not len(rows):
        return _finish(chosen, silent, uid, b"")
    mailbox, view = selected.mailbox, selected.view
    ahead = None
    is_plain = len(rows) == 1 and not keywords and unchanged_since is None and session.pace is None
    if is_plain and _may_share(selected, chosen):
        ahead = look_ahead(session.stream, selected, rows, uid, silent)
    with mailbox.transaction() as tx:
        if unchanged_since is not None:
            rows, modified = _split(selected, rows, unchanged_since)
        if len(rows) and keywords and mask >> FIRST_KEYWORD_BIT:
            bits |= tx.keyword_bits(keywords, create=operation != "remove")
        changed = tx.flags(rows, operation, bits, mask=mask)
        if ahead is not None:
            changed = np.concatenate([changed, *ahead.change(tx)])
    if len(changed):
        view.silence(changed, tx.modseq)
    items = selected.news_items(uid)
    if silent:
        # Its MODSEQ is told in any case, and of a conditional change that it has been made.
        items = () if not selected.aware else (b"MODSEQ",) if selected.uid_only else (b"UID", b"MODSEQ")
        rows = changed if unchanged_since is None else rows
    if ahead is not None:
        _answer(session, ahead, np.concatenate([rows, ahead.rows]), items)
        return None
    if items:
        selected.announce_keywords(session.stream)
        if chosen.seq and len(rows) == 1:
            session.send(selected.line(chosen.seq, rows.item(), *items))
        else:
            for piece in selected.lines(view.seqs_of_rows(rows), rows, *items):
                session.send(piece)
    if not len(modified):
        return _finish(chosen, silent, uid, b"")
    left = mailbox.columns.full.uid[modified] if uid else view.seqs_of_rows(modified)
    return _finish(chosen, silent, uid, b"MODIFIED " + format_numset(left))


def _may_share(selected: Selected, chosen: Chosen) -> bool:
    """Whether commands that follow may be done along: nobody asks what exactly each has changed."""
    return not (chosen.gone or selected.aware or selected.mask != USER_BITS or selected.mailbox.reader)


def _answer(session: Session, ahead: Ahead, rows: Array, items: tuple[bytes, ...]) -> None:
    """Answer the command that runs and those done along, in their order; but for the last one's end."""
    selected, stream = session.mailbox, session.stream
    ahead.take(stream)
    tags = [session.tag, *ahead.tags]
    session.tag = tags[-1]
    ends = [tag + session.command.done for tag in tags[:-1]]
    if items:
        selected.announce_keywords(stream)
        lines = selected.each_line(rows, *items)
        ends = [line + end for line, end in zip(lines, [*ends, b""], strict=True)]
    stream.writelines(ends)
    session.service.counters.add("commands", len(tags) - 1)


def _split(selected: Selected, rows: Array, unchanged_since: int) -> tuple[Array, Array]:
    """Those of the rows that have not been changed since, and those that have been; without those gone."""
    full = selected.mailbox.columns.full
    there = rows[full.flags[rows] & np.uint64(TOMBSTONE) == 0]
    newer = full.modseq[there] > np.uint64(unchanged_since)
    return there[~newer], there[newer]


def _check_rights(selected: Selected, operation: Operation, bits: int, keywords: tuple[bytes, ...]) -> int:
    """The flag bits that the client may change, if they are any of those it wants to change.

    RFC 4314 §4: what is not allowed is left out, unless nothing is left.
    Raises: Denied.
    """
    mask = selected.mask
    wanted = USER_BITS if operation == "set" else bits | (-1 << FIRST_KEYWORD_BIT if keywords else 0)
    if wanted and not wanted & mask:
        raise Denied("you have no right to change these flags")
    return mask


def _finish(chosen: Chosen, silent: bool, uid: bool, modified: bytes) -> bytes | None:
    """The reply: a silent change of what is left is a success (RFC 2180 §4.2.1), others say what is gone.

    ``modified`` is the code that tells what was left alone (RFC 7162 §3.1.3).
    """
    if modified and chosen.gone and not uid:
        raise No("Some of the messages have been deleted", modified)
    if modified:
        return b"[" + modified + b"] Some of the messages have been changed meanwhile"
    if silent and chosen.gone and not uid:
        return b"[EXPUNGEISSUED] STORE completed for the messages that are left"
    chosen.check_none_gone(uid)
    return None
