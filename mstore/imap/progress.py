"""What a long command does between two pieces of its work: let others run, and keep an eye on its client.

A client that has gone ends the command; one that waits is told from time to time that something is being
done for it (RFC 9585).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base import blocking, clock
from mstore.net.stream import Disconnected, Peer

if TYPE_CHECKING:
    from mstore.imap.session import Session

LOOK_S = 0.5
"""How long a client may be gone before that is noticed."""
TELL_S = 12.0
"""RFC 9585 §4 "RECOMMENDED that these are sent every 10-15 seconds"."""


class Progress:
    """The pulse of one command; call it often, never while a lock is held."""

    __slots__ = ("_asked", "_done", "_goal", "_look_at_s", "_session", "_tag", "_tell_at_s")

    def __init__(self, session: Session, tag: bytes) -> None:
        now = clock.steady()
        self._session = session
        self._tag = tag
        self._look_at_s, self._tell_at_s = now + LOOK_S, now + TELL_S
        self._asked = False
        self._done = self._goal = 0

    def count(self, done: int, goal: int) -> None:
        """So many things are done, of so many."""
        self._done, self._goal = done, goal

    def __call__(self) -> None:
        """Raises: Disconnected when the client has gone; StreamFailed when it takes no data."""
        blocking.breathe()
        now = clock.steady()
        if now < self._look_at_s:
            return
        self._look_at_s = now + LOOK_S
        peer = self._session.stream.look_at_peer()
        if peer is Peer.GONE:
            raise Disconnected("the client has gone")
        # A client that will say nothing more may have gone, or wait for the answer: what is sent tells.
        if now >= self._tell_at_s or (peer is Peer.SILENT and not self._asked):
            self._asked = peer is Peer.SILENT
            self._tell_at_s = now + TELL_S
            self._session.send(self._notice())
            self._session.stream.flush()

    def _notice(self) -> bytes:
        if not self._session.offers(b"INPROGRESS"):
            return b"* OK Still at it\r\n"
        tag = b"NIL" if b"]" in self._tag else b'"' + self._tag + b'"'
        state = b"%d %d" % (self._done, self._goal) if self._done < self._goal else b"NIL NIL"
        return b"* OK [INPROGRESS (" + tag + b" " + state + b")] Still at it\r\n"
