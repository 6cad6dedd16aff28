"""The protocol trace of a user's sessions: what clients and servers say, in order, without secrets.

A stream tells its taps of each line and each piece of content that the session takes from it, and of what the
session writes: the plain protocol, above TLS and compression. A tap knows where its protocol has secrets and
content, and puts what may be shown into a trace, which is one asker's queue. Nothing here waits for him: what
he does not take in time is lost, counted and told.

A tap is there from the moment when it is known whose the session is. So no login can be seen; logins that
come later all the same, as those that are refused to somebody who is logged in, are masked.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from mstore.base import clock

QUEUE_BYTES = 1 << 20
"""So much is kept for an asker who is slow."""
ENTRY_COST_BYTES = 300
"""What an entry takes besides its text."""
LINE_BYTES = 4096
"""More of a line is not shown, unless all is wanted."""
PIECE_BYTES = 16384
"""All that is wanted comes in pieces of about this size."""
MASK = b"***"
LOGINS = frozenset((b"LOGIN", b"AUTHENTICATE", b"AUTH", b"USER", b"PASS", b"APOP"))
"""The words in any of the protocols whose arguments are nobody's business."""
_LITERAL = re.compile(rb"\{([0-9]{1,20})\}\r\n\Z")
_TAIL_BYTES = 32

Entry = dict[str, Any]


class Trace:
    """What one asker wants to see, and what he has not taken yet."""

    def __init__(self, user: str, content_bytes: int, whole: bool, wake: Callable[[], object]) -> None:
        """``content_bytes`` of each content are shown, or with ``whole`` everything.

        ``wake`` is called when there is something to take.
        """
        self.user = user
        self.content_bytes = content_bytes
        self.whole = whole
        self._wake = wake
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._lost = 0

    def put(self, entry: Entry) -> None:
        """Queue an entry, or count it as lost."""
        cost = len(entry["text"]) + ENTRY_COST_BYTES
        if self._queued_bytes + cost > QUEUE_BYTES:
            self._lost += 1
            return
        if self._lost:
            self._queue.append(self._tell_lost())
        self._queued_bytes += cost
        self._queue.append(entry)
        self._wake()

    def take(self, limit_bytes: int) -> list[Entry]:
        """The next entries, about so much of them; one with ``lost`` where some are missing."""
        taken: list[Entry] = []
        while self._queue and limit_bytes > 0:
            entry = self._queue.popleft()
            taken.append(entry)
            cost = len(entry.get("text", "")) + ENTRY_COST_BYTES
            limit_bytes -= cost
            if "lost" not in entry:
                self._queued_bytes -= cost
        if self._lost and not self._queue:
            taken.append(self._tell_lost())
        return taken

    def _tell_lost(self) -> Entry:
        lost, self._lost = self._lost, 0
        return {"time": clock.now(), "lost": lost}


class Tap(ABC):
    """Tells a trace what is said on one stream; each protocol has its own."""

    by_login: ClassVar[bool] = True
    """Sessions are followed from login on; otherwise only where the session itself asks for it."""
    has_literals: ClassVar[bool] = False
    """What we write has literals (RFC 3501 §4.3)."""

    def __init__(self, trace: Trace, session: str, in_step: bool) -> None:
        """``session``: its name for people. ``in_step``: the next thing written begins a response."""
        self.trace = trace
        self._session = session
        self.is_secret = False
        """The command under way must not be shown."""
        self._in_step = in_step
        self._has_content = False
        """What came last from the client was content."""
        self._content = _Gathered(self, "client", trace.content_bytes)
        self._response = _Gathered(self, "server", LINE_BYTES, self._judge_response)
        self._literal = _Gathered(self, "server", trace.content_bytes)
        self._literal_bytes = 0
        self._tail = b""
        self._is_behind_literal = False

    # -- from the stream

    def line(self, data: bytes) -> None:
        """The session has read a line."""
        has_content, self._has_content = self._has_content, False
        self._content.end()
        shown = self.judge(data.rstrip(b"\r\n"), has_content)
        while self.trace.whole and len(shown) > PIECE_BYTES:
            self.put("client", shown[:PIECE_BYTES], more=True)
            shown = shown[PIECE_BYTES:]
        if len(shown) <= LINE_BYTES or self.trace.whole:
            self.put("client", shown)
        else:
            self.put("client", shown[:LINE_BYTES], len(shown))

    def dropped(self) -> None:
        """The session has read a line that was too long for it."""
        self._has_content = False
        self._content.end()
        self.judge(b"", False)
        self.note("a line that is too long")

    def content(self, data: bytes) -> None:
        """The session has read a piece of what is no line."""
        self._has_content = True
        if self.is_secret:
            self.put("client", MASK)
        else:
            self._content.add(data)

    def unread(self, size: int) -> None:
        """So much of the last piece was too much."""
        self._content.give_back(size)

    def wrote(self, data: bytes) -> None:
        """The session has written something: responses, cut anywhere."""
        if self._in_step:
            self._has_content = False
            self._content.end()
            self.take_responses(data)

    def note(self, text: str) -> None:
        """Something worth knowing, that nobody has said."""
        self.put("note", text.encode())

    # -- for the protocols

    @abstractmethod
    def judge(self, line: bytes, has_content: bool) -> bytes:
        """What may be shown of a line of the client's; ``has_content``: it comes behind content."""

    def judge_response(self, line: bytes, is_rest: bool) -> bytes:
        """What may be shown of a line of ours; ``is_rest``: of a response that has begun before it."""
        return line

    def begin_command(self) -> None:
        """What was said before is complete: the next thing written begins a response."""
        if not self._in_step:
            self._in_step = True
            self.note("the rest of an answer was left out")

    def take_responses(self, data: bytes) -> None:
        """Cut what is written into lines and literals."""
        at = 0
        while at < len(data):
            if self._literal_bytes:
                piece = data[at : at + self._literal_bytes]
                at += len(piece)
                self._literal_bytes -= len(piece)
                self._literal.add(piece)
                if not self._literal_bytes:
                    self._literal.end()
                continue
            end = data.find(b"\n", at) + 1
            piece = data[at:end] if end else data[at:]
            at += len(piece)
            self._response.add(piece)
            self._tail = (self._tail + piece[-_TAIL_BYTES:])[-_TAIL_BYTES:]
            if end:
                self._response.end()
                literal = _LITERAL.search(self._tail) if self.has_literals else None
                self._tail, self._is_behind_literal = b"", literal is not None
                if literal is not None:
                    self._literal_bytes = int(literal[1])

    def _judge_response(self, line: bytes, is_rest: bool) -> bytes:
        return self.judge_response(line, is_rest or self._is_behind_literal)

    def put(
        self, direction: str, text: bytes, size: int | None = None, content: bool = False, more: bool = False
    ) -> None:
        """Put an entry into the trace.

        ``size`` is told of contents, and where the text is not all of it; with ``more`` the rest comes next.
        """
        entry: Entry = {"time": clock.now(), "session": self._session, "direction": direction}
        if size is not None:
            entry["bytes"] = size
        if content:
            entry["content"] = True
        if more:
            entry["more"] = True
        entry["text"] = text.decode("utf-8", "backslashreplace")
        self.trace.put(entry)


class _Gathered:
    """A line or a content that comes in pieces: its beginning, or the pieces where all is wanted."""

    __slots__ = ("_direction", "_head", "_is_begun", "_is_shown", "_judge", "_limit", "_size", "_tap")

    def __init__(
        self, tap: Tap, direction: str, limit: int, judge: Callable[[bytes, bool], bytes] | None = None
    ) -> None:
        """``judge`` says what may be shown of a line, or of the rest of one; without it this is content."""
        self._tap = tap
        self._judge = judge
        self._direction = direction
        self._limit = limit
        self._head = b""
        self._size = 0
        self._is_begun = False
        self._is_shown = False
        """Some of it has been put into the trace."""

    def add(self, data: bytes) -> None:
        self._is_begun = True
        if self._tap.trace.whole:
            # The last piece is kept back: some of it may be given back.
            if len(self._head) >= PIECE_BYTES:
                self._put_pieces(b"")
            self._head += data
        elif len(self._head) < self._limit:
            self._head += data[: self._limit - len(self._head)]
        self._size += len(data)

    def give_back(self, size: int) -> None:
        self._size -= size
        if self._tap.trace.whole:
            self._head = self._head[: len(self._head) - size]
        else:
            self._head = self._head[: self._size]

    def end(self) -> None:
        if not self._is_begun:
            return
        if self._judge is not None:
            self._head = self._head.rstrip(b"\r\n")
        if self._tap.trace.whole:
            self._put_pieces(self._head[len(self._head) // PIECE_BYTES * PIECE_BYTES :])
        is_told = self._judge is None or (self._size > self._limit and not self._tap.trace.whole)
        self._put(self._head, self._size if is_told else None)
        self._head, self._size, self._is_begun, self._is_shown = b"", 0, False, False

    def _put_pieces(self, rest: bytes) -> None:
        """Show all but the rest; more comes."""
        head, self._head = self._head, rest
        for at in range(0, len(head) - len(rest), PIECE_BYTES):
            self._put(head[at : at + PIECE_BYTES], None, more=True)

    def _put(self, text: bytes, size: int | None, more: bool = False) -> None:
        if self._judge is not None:
            text = self._judge(text, self._is_shown)
        self._is_shown = True
        self._tap.put(self._direction, text, size, content=self._judge is None, more=more)
