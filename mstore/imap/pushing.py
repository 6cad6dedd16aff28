"""News outside of answers: written while the session waits for its client, never beside an answer.

The session's own greenlet stays in its read. A change starts a short-lived one, which writes the difference
and ends; so a session that waits costs no more for being told. Of a slow client's news no more than one
difference is under way; what happens meanwhile is part of the next. Between two waits the session holds the
mutex, so that whatever comes in, whole or in part, is answered without anything in between, and news begin
only when the answer is out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import Moved, MStoreError
from mstore.imap.errors import Bye
from mstore.net.stream import StreamFailed

if TYPE_CHECKING:
    from mstore.imap.session import Session


class Pusher:
    """Pushes news while its session waits; made by the session's greenlet, which holds the mutex then."""

    __slots__ = ("_changed", "_closed", "_is_held", "_is_wanted", "_mutex", "_owes", "_session", "_tell")

    def __init__(self, session: Session, tell: Callable[[], None]) -> None:
        """``tell`` writes what the client has not been told."""
        self._session = session
        self._tell = tell
        self._mutex = blocking.make_mutex()
        self._mutex.acquire()
        self._changed = False
        self._closed = False
        self._is_held = True
        self._is_wanted = False
        self._owes = False

    # -- from anywhere

    def notify(self) -> None:
        """There may be something to tell; never waits."""
        if not self._changed and not self._closed:
            self._changed = True
            if not self._is_held:
                blocking.spawn(self._push)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody writes, neither session nor push, and keep both from it within the block."""
        self._mutex.acquire()
        try:
            yield
        finally:
            self._mutex.release()

    def owe(self) -> None:
        """Something is held back: look again after the next command. Called while telling."""
        self._owes = True

    # -- from the session's greenlet

    @property
    def is_held(self) -> bool:
        """Whether the session has the stream for itself."""
        return self._is_held

    def open(self) -> None:
        """The session is about to wait: from now on news may be written, those of before at once."""
        if not self._is_held or self._closed:
            return
        if self._owes:
            self._owes, self._changed = False, True
        self._is_held = False
        self._mutex.release()
        if self._changed:
            blocking.spawn(self._push)

    def hold(self) -> None:
        """Something has come: on return nobody else is writing, until the next ``open``."""
        if not self._is_held:
            self._is_wanted = True
            self._mutex.acquire()
            self._is_held, self._is_wanted = True, False

    def close(self) -> bool:
        """Push nothing any more, without waiting; whether the session has the stream for itself now."""
        self._closed = True
        if not self._is_held:
            self._is_held = self._mutex.acquire(blocking=False)
        return self._is_held

    def end(self) -> None:
        """The session is over; lets go of the mutex, for those who still wait for it."""
        if self.close():
            self._is_held = False
            self._mutex.release()

    # -- inside

    @property
    def _is_paused(self) -> bool:
        return self._is_held or self._is_wanted or self._closed

    def _push(self) -> None:
        """Write what the client has not been told. Whoever holds the mutex looks again before leaving."""
        while self._changed and not self._is_paused:
            if not self._mutex.acquire(blocking=False):
                return
            try:
                while self._changed and not self._is_paused:
                    self._changed = False
                    self._write()
            finally:
                self._mutex.release()

    def _write(self) -> None:
        session = self._session
        try:
            session.mailstore.is_fresh = False
            self._tell()
            session.stream.flush()
        except StreamFailed:
            self._closed = True
            session.stream.interrupt()
        except Moved as error:
            self._end(str(error), b"UNAVAILABLE")
        except Bye as last:
            self._end(last.text, last.code)
        except MStoreError as error:
            session.service.log.error("news-failed", session=session.id, user=session.user, error=str(error))

    def _end(self, text: str, code: bytes | None) -> None:
        self._closed = True
        self._session.say_goodbye(text, code)
        self._session.stream.interrupt()
