"""IDLE: news as they happen, until the client says DONE (RFC 2177).

Of a client that has used NOTIFY the same news are told as outside of IDLE (RFC 5465 §4), but removals too, of
which a client that numbers messages wants to hear only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.pushing import Pusher
from mstore.net.stream import StreamFailed

if TYPE_CHECKING:
    from mstore.imap.session import Session

MAX_LINE_BYTES = 8192


def run_idle(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 2177 §3."""
    cursor.end()
    if session.notifying is not None and session.pusher is not None:
        with session.notifying.idling():
            line = _wait(session, session.pusher)
    elif session.notifying is not None:
        line = _wait(session, Pusher(session, lambda: None))
    else:
        line = _wait_for_selected(session)
    if line.upper() != b"DONE":
        raise Bad("DONE expected")
    return b"IDLE completed"


def _wait_for_selected(session: Session) -> bytes:
    selected = session.selected

    def tell() -> None:
        if selected is not None:
            selected.report(session.stream, expunges=True)

    pusher = session.pusher = Pusher(session, tell)
    if selected is not None:
        selected.mailbox.listen(pusher.notify)
    try:
        return _wait(session, pusher)
    finally:
        if selected is not None:
            selected.mailbox.unlisten(pusher.notify)
        if pusher.is_held:
            # Otherwise the session is over, and says so only if nobody is writing.
            pusher.end()
            session.pusher = None


def _wait(session: Session, pusher: Pusher) -> bytes:
    """The client's next line; meanwhile news are pushed."""
    session.send(b"+ idling\r\n")
    session.stream.flush()
    session.idle = True
    is_over = False
    try:
        # From here on changes are told as they happen; those of before are told now.
        pusher.notify()
        pusher.open()
        return session.read_line(MAX_LINE_BYTES)
    except StreamFailed:
        is_over = True
        raise
    finally:
        session.idle = False
        if not is_over:
            pusher.hold()
