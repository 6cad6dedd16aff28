"""Traces of a worker: which are asked for, whose sessions they are of, and how they get to who asks.

While nobody asks, a session pays for this once at its login. A trace is fed by the sessions and sent by a
greenlet of its own, so that a slow asker keeps nobody waiting (``mstore.net.trace``).
"""

from __future__ import annotations

import json
from typing import Any

import gevent
from gevent.event import Event

from mstore.base import blocking
from mstore.base.clock import format_timestamp
from mstore.net.trace import Tap, Trace
from workers.connections import Connections

BATCH_BYTES = 65536
CONTENT_BYTES = 200
"""So much of a content is shown, unless the asker says otherwise."""


class Tracing:
    """Follows the sessions of a worker for those who want to see them."""

    def __init__(self, tap: type[Tap] | None) -> None:
        """``tap`` knows the worker's protocol."""
        self._tap = tap
        self._traces: list[Trace] = []
        self.connections: Connections | None = None
        """Those of the worker, when it has begun to accept."""

    # -- from the sessions

    def enter(self, session: Any, user: str, text: str) -> None:
        """From now on a session is this user's; the next thing that it writes begins a response."""
        for trace in self._traces:
            if trace.user == user and not any(tap.trace is trace for tap in session.stream.taps):
                self._attach(trace, session, True, text)

    def leave(self, session: Any, text: str) -> None:
        """A session is nobody's any more."""
        stream = session.stream
        if stream.taps:
            for tap in stream.taps:
                tap.note(text)
            stream.taps = ()

    # -- from the control socket

    def serve(self, asker: Any, request: dict[str, Any]) -> None:
        """Send lines of JSON until the asker hangs up.

        Raises: OSError when he has.
        """
        news = Event()
        trace = Trace(
            request["user"], request.get("bytes", CONTENT_BYTES), request.get("whole", False), news.set
        )
        gone: list[bool] = []

        def hang_up() -> None:
            watcher.stop()  # An end of file stays readable.
            gone.append(True)
            news.set()

        watcher = gevent.get_hub().loop.io(asker.fileno(), 1)
        watcher.start(hang_up)
        try:
            self._begin(trace)
            asker.sendall(json.dumps({"tracing": trace.user}).encode("ascii") + b"\n")
            while not gone:
                news.wait()
                news.clear()
                while entries := trace.take(BATCH_BYTES):
                    asker.sendall("".join([json.dumps(entry) + "\n" for entry in entries]).encode("ascii"))
                    blocking.breathe()
        finally:
            watcher.close()
            self._end(trace)

    def _begin(self, trace: Trace) -> None:
        self._traces.append(trace)
        if self._tap is not None and self._tap.by_login and self.connections is not None:
            for session, since_s in self.connections.sessions_of(trace.user):
                since = format_timestamp(since_s)
                # Who waits for his client has written whole responses.
                self._attach(trace, session, session.idle, f"connected since {since}")

    def _end(self, trace: Trace) -> None:
        self._traces.remove(trace)
        if self.connections is not None:
            for session, _ in self.connections.sessions_of(None):
                stream = getattr(session, "stream", None)
                if stream is not None and stream.taps:
                    stream.taps = tuple(tap for tap in stream.taps if tap.trace is not trace)

    def _attach(self, trace: Trace, session: Any, in_step: bool, text: str) -> None:
        if self._tap is None or self.connections is None:
            return
        stream = session.stream
        tap = self._tap(trace, self.connections.identify(session), in_step)
        tap.note(f"{text}, from {stream.peer}{' under TLS' if stream.tls else ''}")
        stream.taps = (*stream.taps, tap)
