"""Pushing news: one writer at a time, no change forgotten, nothing after the end."""

import threading
from types import SimpleNamespace
from typing import Any

from mstore.imap.errors import Bye
from mstore.imap.pushing import Pusher
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
        self.go.wait(40)
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


def make() -> tuple[Slow, Session, Pusher]:
    selected = Slow()
    session = Session(selected)
    pusher = Pusher(session, lambda: selected.report(session.stream, expunges=True))  # type: ignore[arg-type]
    pusher.open()
    return selected, session, pusher


def test_changes_while_one_is_told_are_told_together_afterwards() -> None:
    with waiting_by_threads() as threads:
        selected, _, pusher = make()
        pusher.notify()
        while not selected.writers:
            pass
        for _ in range(20):
            pusher.notify()
        selected.go.set()
        threads.join()
        assert selected.most_writers == 1
        assert selected.reports == 2


def test_holding_waits_for_the_writer_and_keeps_the_next_away() -> None:
    with waiting_by_threads() as threads:
        selected, _, pusher = make()
        pusher.notify()
        while not selected.writers:
            pass
        selected.go.set()
        pusher.hold()
        assert selected.writers == 0
        before = selected.reports
        pusher.notify()
        threads.join()
        assert selected.reports == before


def test_nothing_is_told_until_the_session_waits_and_what_is_held_back_is_told_then() -> None:
    with waiting_by_threads() as threads:
        selected, _, pusher = make()
        selected.go.set()
        pusher.hold()
        pusher.notify()
        pusher.notify()
        threads.join()
        assert selected.reports == 0
        pusher.open()
        threads.join()
        assert selected.reports == 1
        pusher.hold()
        pusher.owe()
        pusher.open()
        threads.join()
        assert selected.reports == 2
        pusher.end()
        with pusher.alone():
            pusher.notify()
        threads.join()
        assert selected.reports == 2


def test_closing_does_not_wait_for_a_writer() -> None:
    with waiting_by_threads() as threads:
        selected, _, pusher = make()
        pusher.notify()
        while not selected.writers:
            pass
        assert not pusher.close()
        selected.go.set()
        threads.join()
        assert pusher.close()
        pusher.end()


def test_a_lost_client_ends_the_session() -> None:
    with waiting_by_threads() as threads:
        selected, session, pusher = make()
        selected.error = Disconnected("gone")
        selected.go.set()
        pusher.notify()
        threads.join()
        assert session.interrupted
        pusher.notify()
        threads.join()
        assert selected.reports == 1


def test_a_mailbox_that_is_gone_ends_the_session_with_words() -> None:
    with waiting_by_threads() as threads:
        selected, session, pusher = make()
        selected.error = Bye("deleted")
        selected.go.set()
        pusher.notify()
        threads.join()
        assert session.last_words == ["deleted"]
        assert session.interrupted
