"""Opening and leaving mailboxes: SELECT, EXAMINE, CHECK, CLOSE (RFC 3501 §6.3.1, §6.4), UNSELECT.

Each of them ends the view of the mailbox that was selected before, and with it its sequence numbers. A client
that speaks IMAP4rev2 is told the mailbox as LIST tells it, and neither RECENT nor UNSEEN (RFC 9051 §6.3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstore.base.flags import DELETED, SEEN, TOMBSTONE
from mstore.imap import state
from mstore.imap.commands.list import format_name
from mstore.imap.errors import Bad, No, uid_required
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.modifiers import parse_select_parameters
from mstore.imap.grammar.names import fold_inbox
from mstore.imap.respond import format_mailbox_id
from mstore.imap.resync import tell_missed
from mstore.imap.selected import Selected
from mstore.store.rights import is_read_only

if TYPE_CHECKING:
    from mstore.imap.session import Session

_ROWS = 16_384


def run_select(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.3.1."""
    return open_mailbox(session, cursor, read_only=False)


def run_examine(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.3.2: like SELECT, and changes nothing, \\Recent neither."""
    return open_mailbox(session, cursor, read_only=True)


def open_mailbox(session: Session, cursor: Cursor, read_only: bool) -> bytes:
    """Leave the mailbox selected so far, whatever comes of it, and open another."""
    cursor.space()
    try:
        written = cursor.written_mailbox()
    except No:
        _leave(session)
        raise
    parameters = parse_select_parameters(cursor)
    if parameters.resync is not None and b"QRESYNC" not in session.enabled:
        raise Bad("ENABLE QRESYNC first")
    if session.uid_only and parameters.resync is not None and parameters.resync.seqs is not None:
        raise uid_required()
    _leave(session)
    if parameters.condstore:
        session.enable(b"CONDSTORE")
    opened = session.mailstore.open(fold_inbox(written), "r")
    mailbox = opened.mailbox
    try:
        # Who may change nothing that others see does not take \Recent from them either.
        changes_nothing = read_only or is_read_only(opened.rights, opened.personal)
        view = mailbox.view(not changes_nothing, tells_recent=not session.rev2)
        selected = Selected(opened, view, read_only, session.rev2)
        session.adapt(selected)
        session.send(format_opening(selected))
        if session.rev2:
            session.send(format_name(session, opened.name, written))
        if parameters.resync is not None:
            tell_missed(selected, parameters.resync, session.send)
    except BaseException:
        mailbox.release()
        raise
    session.selected, session.state = selected, state.SELECTED
    if session.notifying is not None:
        session.notifying.attach(selected)
    if read_only:
        return b"[READ-ONLY] EXAMINE completed"
    return b"[READ-ONLY] SELECT completed" if changes_nothing else b"[READ-WRITE] SELECT completed"


def _leave(session: Session) -> None:
    """Leave the mailbox selected so far, and say so (RFC 7162 §3.2.11, RFC 9051 §6.3.2)."""
    if session.selected is not None:
        session.leave_mailbox()
        session.send(b"* OK [CLOSED] The mailbox selected before is closed\r\n")


def format_opening(selected: Selected) -> bytes:
    """The untagged responses that SELECT and EXAMINE require."""
    view, mailbox = selected.view, selected.mailbox
    lines = [selected.flags_lines(), b"* %d EXISTS\r\n" % view.count]
    if not selected.rev2:
        lines.append(b"* %d RECENT\r\n" % selected.recent_count())
        # It is a message number, which who uses UIDs alone is told none of (RFC 9586 §3).
        first = 0 if selected.uid_only else first_unseen(selected)
        if first:
            lines.append(b"* OK [UNSEEN %d] First unseen\r\n" % first)
    lines.append(
        b"* OK [UIDVALIDITY %d] UIDs valid\r\n* OK [UIDNEXT %d] Predicted next UID\r\n"
        b"* OK [MAILBOXID (%b)] Its lasting name\r\n"
        % (mailbox.uid_validity, mailbox.uid_next, format_mailbox_id(mailbox.id))
    )
    if selected.aware:
        lines.append(b"* OK [" + selected.format_modseq() + b"] Highest\r\n")
    return b"".join(lines)


def first_unseen(selected: Selected) -> int:
    """The sequence number of the first message without \\Seen, 0 when there is none."""
    view, mask = selected.view, np.uint64(SEEN | TOMBSTONE)
    if not selected.mailbox.status().unseen or not view.count:
        return 0
    # Of all rows, as they lie: a look at chosen ones costs ten times as much.
    flags = selected.mailbox.columns.flags[: int(view.rows[-1]) + 1]
    for start in range(0, len(flags), _ROWS):
        unseen = (flags[start : start + _ROWS] & mask) == 0
        first = int(unseen.argmax())
        if unseen[first]:
            return int(view.seqs_of_rows(np.array([start + first]))[0])
    return 0


def run_check(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.4.1: every change is in the journal already, so this is NOOP."""
    cursor.end()


def run_close(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.4.2: removes what is flagged \\Deleted, without a word, unless opened by EXAMINE.

    RFC 4314 §4: without the right to do so it removes nothing, and is a success all the same.
    Locks: takes the mailbox lock, if anything is to be removed.
    Durable: the removal.
    """
    cursor.end()
    selected = session.mailbox
    mailbox = selected.mailbox
    mailbox.refresh()
    if not selected.read_only and selected.personal:
        selected.follow_rights(session.stream)
    if not selected.read_only and "e" in selected.rights and mailbox.status().deleted:
        with mailbox.transaction() as tx:
            rows = deleted_rows(selected)
            if len(rows):
                tx.expunge(rows)
    session.leave_mailbox()


def deleted_rows(selected: Selected) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The rows flagged \\Deleted and not yet gone, of the whole mailbox."""
    mask = np.uint64(DELETED | TOMBSTONE)
    return np.flatnonzero((selected.mailbox.columns.flags & mask) == np.uint64(DELETED))


def run_unselect(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3691: leaves the mailbox and removes nothing."""
    cursor.end()
    session.leave_mailbox()
