"""Pushing news: one writer at a time, no change forgotten, nothing after the end."""

import threading
from types import SimpleNamespace
from typing import Any

from mstore.imap.commands.idle import Idling
from mstore.imap.errors import Bye
from mstore.net.stream import Disconnected
from tests.kit.waiting import waiting_by_threads


class Slow:
    """A selected mailbox whose report takes until it is let go."""

    def __init__(self) -> None:
        self.reports = 0
        self.writers = 0
        self.most_writers = 0
        self.go = threading.Event()
        self.error: Exception | None = None

    def report(self, stream: Any, expunges: bool) -> None:
        assert expunges
        self.writers += 1
        self.most_writers = max(self.most_writers, self.writers)
        self.go.wait(5)
        self.reports += 1
        self.writers -= 1
        if self.error is not None:
            raise self.error


class Session:
    """As much of a session as is pushed through."""

    def __init__(self, selected: Slow) -> None:
        self.selected = selected
        self.mailstore = SimpleNamespace(is_fresh=True)
        self.stream = SimpleNamespace(flush=lambda: None, interrupt=self._interrupt)
        self.interrupted = False
        self.last_words: list[str] = []

    def say_goodbye(self, text: str, code: bytes | None = None) -> None:
        self.last_words.append(text)

    def _interrupt(self) -> None:
        self.interrupted = True


def make() -> tuple[Slow, Session, Idling]:
    selected = Slow()
    session = Session(selected)
    return selected, session, Idling(session)  # type: ignore[arg-type]


def test_changes_while_one_is_told_are_told_together_afterwards() -> None:
    with waiting_by_threads() as threads:
        selected, _, idling = make()
        idling.notify()
        while not selected.writers:
            pass
        for _ in range(20):
            idling.notify()
        selected.go.set()
        threads.join()
        assert selected.most_writers == 1
        assert selected.reports == 2


def test_holding_waits_for_the_writer_and_keeps_the_next_away() -> None:
    with waiting_by_threads() as threads:
        selected, _, idling = make()
        idling.notify()
        while not selected.writers:
            pass
        selected.go.set()
        idling.hold()
        assert selected.writers == 0
        before = selected.reports
        idling.notify()
        threads.join()
        assert selected.reports == before


def test_a_lost_client_ends_the_session() -> None:
    with waiting_by_threads() as threads:
        selected, session, idling = make()
        selected.error = Disconnected("gone")
        selected.go.set()
        idling.notify()
        threads.join()
        assert session.interrupted
        idling.notify()
        threads.join()
        assert selected.reports == 1


def test_a_mailbox_that_is_gone_ends_the_session_with_words() -> None:
    with waiting_by_threads() as threads:
        selected, session, idling = make()
        selected.error = Bye("deleted")
        selected.go.set()
        idling.notify()
        threads.join()
        assert session.last_words == ["deleted"]
        assert session.interrupted
