"""Follows the sessions of one user as a worker does, and keeps what a trace shows."""

from __future__ import annotations

from typing import Any

from mstore.net.trace import Tap, Trace

DIRECTIONS = {"client": "C:", "server": "S:", "note": "--"}


class Watching:
    """A follower of sessions with a trace of its own."""

    def __init__(self, tap: type[Tap], content_bytes: int = 10, whole: bool = False) -> None:
        self._tap = tap
        self.woken = 0
        self.trace = Trace("joe", content_bytes, whole, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def attach(self, session: Any, in_step: bool) -> None:
        """See what is said there from now on."""
        session.stream.taps = (self._tap(self.trace, "1", in_step),)

    def enter(self, session: Any, user: str, text: str) -> None:
        if user == self.trace.user and not session.stream.taps:
            self.attach(session, True)
            session.stream.taps[0].note(text)

    def leave(self, session: Any, text: str) -> None:
        for tap in session.stream.taps:
            tap.note(text)
        session.stream.taps = ()

    def lines(self) -> list[str]:
        """What is to be seen, an entry each; contents in quotes."""
        found = []
        while entries := self.trace.take(1 << 20):
            found += [self._format(entry) for entry in entries]
        return found

    @staticmethod
    def _format(entry: dict[str, Any]) -> str:
        if "lost" in entry:
            return f"{entry['lost']} lost"
        text = repr(entry["text"]) if entry.get("content") else entry["text"]
        size = f"({entry['bytes']}) " if "bytes" in entry else ""
        return f"{DIRECTIONS[entry['direction']]} {size}{text}{' …' if entry.get('more') else ''}"
