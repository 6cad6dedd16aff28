"""IDLE: news as they happen, until the client says DONE (RFC 2177).

The session's own greenlet stays in its read. A change of the mailbox starts a short-lived one, which writes
the difference and ends; so a session that idles costs no more than one that waits. Of a slow client's news
no more than one answer is under way; what happens meanwhile is part of the next difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import Moved, MStoreError
from mstore.imap.errors import Bad, Bye
from mstore.imap.grammar.cursor import Cursor
from mstore.net.stream import StreamFailed

if TYPE_CHECKING:
    from mstore.imap.session import Session

MAX_LINE_BYTES = 8192


class Idling:
    """Pushes news of the selected mailbox while its session waits for DONE."""

    __slots__ = ("_changed", "_closed", "_mutex", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._mutex = blocking.make_mutex()
        self._changed = False
        self._closed = False

    def notify(self) -> None:
        """The mailbox has changed; called from any greenlet."""
        if not self._changed and not self._closed:
            self._changed = True
            blocking.spawn(self.push)

    def push(self) -> None:
        """Write what the client has not been told. Whoever holds the mutex looks again before leaving."""
        while self._changed and not self._closed:
            if not self._mutex.acquire(blocking=False):
                return
            try:
                while self._changed and not self._closed:
                    self._changed = False
                    self._write()
            finally:
                self._mutex.release()

    def hold(self) -> None:
        """Push nothing any more; on return no other greenlet is writing."""
        self._closed = True
        self._mutex.acquire()
        self._mutex.release()

    def _write(self) -> None:
        session = self._session
        selected = session.selected
        if selected is None:
            return
        try:
            session.mailstore.is_fresh = False
            selected.report(session.stream, expunges=True)
            session.stream.flush()
        except StreamFailed:
            self._closed = True
            session.stream.interrupt()
        except Moved as error:
            self._end(str(error), b"UNAVAILABLE")
        except Bye as last:
            self._end(last.text, last.code)
        except MStoreError as error:
            session.service.log.error("idle", session=session.id, user=session.user, error=str(error))

    def _end(self, text: str, code: bytes | None) -> None:
        self._closed = True
        self._session.say_goodbye(text, code)
        self._session.stream.interrupt()


def run_idle(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 2177 §3."""
    cursor.end()
    selected = session.selected
    idling = session.idling = Idling(session)
    if selected is not None:
        selected.mailbox.listen(idling.notify)
    try:
        session.send(b"+ idling\r\n")
        # From here on changes are told by push; those that came before it listened are told now.
        idling.notify()
        session.stream.flush()
        session.idle = True
        line = session.read_line(MAX_LINE_BYTES)
    finally:
        session.idle = False
        if selected is not None:
            selected.mailbox.unlisten(idling.notify)
        idling.hold()
        session.idling = None
    if line.upper() != b"DONE":
        raise Bad("DONE expected")
    return b"IDLE completed"
