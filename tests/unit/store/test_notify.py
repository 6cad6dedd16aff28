from __future__ import annotations

import functools
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.ids import AccountId
from mstore.files.inotify import Inotify
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from mstore.store.notify import Notifier
from mstore.store.traces import JOURNALS, RARELY, Traces
from tests.kit.mail import make_message


def has_news(notifier: Notifier, seconds: float) -> bool:
    """Whether something is there to be handled; any number of descriptors may be open by now."""
    poll = select.poll()
    poll.register(notifier.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@pytest.fixture
def instance() -> Iterator[None]:
    """The system has an inotify instance left for this test; a user has few, and other programs use them."""
    deadline = time.monotonic() + 3
    while True:
        try:
            Inotify().close()
            break
        except OSError:
            if time.monotonic() > deadline:
                pytest.skip("the user has no inotify instance left")
            time.sleep(0.05)
    yield


def test_listeners_hear_of_every_change_in_the_process(mailbox: Mailbox) -> None:
    heard: list[int] = []

    def listener() -> None:
        heard.append(mailbox.highest_modseq)

    mailbox.listen(listener)
    append(mailbox, [make_message(1)])
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 1)
    assert heard == [2, 3]
    mailbox.unlisten(listener)
    append(mailbox, [make_message(2)])
    assert heard == [2, 3]


def test_changes_of_other_processes_wake_listeners(mailbox: Mailbox, instance: None) -> None:
    notifier = Notifier()
    here = Mailbox(mailbox.path, notifier)
    heard: list[int] = []
    append(mailbox, [make_message(1)])
    here.refresh()
    here.listen(lambda: heard.append(here.columns.count))
    for number in range(2, 5):
        append(mailbox, [make_message(number)])
        if number == 3:
            mailbox.checkpoint()
        assert has_news(notifier, 40)
        notifier.handle()
        assert heard[-1] == number
    assert heard == [2, 3, 4]
    here.close()
    append(mailbox, [make_message(5)])
    assert not has_news(notifier, 0) or not list(notifier._by_watch)
    notifier.handle()
    assert heard == [2, 3, 4]
    notifier.close()


def test_the_slow_poll_finds_what_inotify_missed(mailbox: Mailbox) -> None:
    notifier = Notifier()
    notifier.close()
    here = Mailbox(mailbox.path, notifier)
    heard: list[int] = []
    here.listen(lambda: heard.append(here.columns.count))
    append(mailbox, [make_message(1)])
    notifier.handle()
    assert heard == []
    notifier.poll_all()
    assert heard == [1]


def test_the_slow_poll_leaves_alone_what_is_closed_meanwhile(mailbox: Mailbox) -> None:
    refreshed: list[Mailbox] = []

    class Here(Mailbox):
        def refresh(self) -> None:
            refreshed.append(self)
            super().refresh()

    notifier = Notifier()
    first, second = Here(mailbox.path, notifier), Here(mailbox.path, notifier)
    for here in (first, second):
        here.refresh()
    first.listen(second.close)
    second.listen(lambda: None)
    append(mailbox, [make_message(1)])
    refreshed.clear()
    notifier.poll_all()
    assert refreshed == [first]
    first.close()
    notifier.close()


def test_the_slow_poll_begins_to_watch_only_what_is_still_followed(tmp_path: Path) -> None:
    opened: list[None] = []
    traces = Traces(lambda: opened.append(None))
    for _ in range(RARELY - 1):
        traces.poll()
    here, there = f"{tmp_path}/here", f"{tmp_path}/there"

    def ignore(path: str) -> None:
        pass

    traces.follow(here, JOURNALS, lambda path: traces.unfollow(there, ignore))
    traces.follow(there, JOURNALS, ignore)
    opened.clear()
    traces.poll()
    assert len(opened) == 1


def test_an_instance_is_taken_with_the_first_watch(mailbox: Mailbox, instance: None) -> None:
    notifier = Notifier()
    opened: list[int] = []
    notifier.on_open = opened.append
    here = Mailbox(mailbox.path, notifier)
    append(mailbox, [make_message(1)])
    here.refresh()
    assert notifier.fileno() == -1 and opened == []
    here.listen(lambda: None)
    assert opened == [notifier.fileno()] and opened[0] >= 0
    here.close()
    here.listen(lambda: None)
    assert len(opened) == 1
    here.close()
    notifier.close()


def test_where_none_is_left_the_next_watch_tries_again(mailbox: Mailbox, monkeypatch) -> None:
    def refuse() -> Inotify:
        raise OSError(24, "no instance left")

    class Late:
        fd = 77

        def add(self, path: object) -> int:
            return 1

        def remove(self, watch: int) -> None:
            pass

    notifier = Notifier()
    monkeypatch.setattr("mstore.store.notify.Inotify", refuse)
    here = Mailbox(mailbox.path, notifier)
    here.listen(lambda: None)
    assert notifier.fileno() == -1
    monkeypatch.setattr("mstore.store.notify.Inotify", Late)
    other = Mailbox(mailbox.path, notifier)
    other.listen(lambda: None)
    assert notifier.fileno() == 77
    other.close()
    here.close()


def test_an_overflow_looks_at_everything(mailbox: Mailbox, instance: None, monkeypatch) -> None:
    notifier = Notifier()
    here = Mailbox(mailbox.path, notifier)
    heard: list[int] = []
    here.listen(lambda: heard.append(here.columns.count))
    append(mailbox, [make_message(1)])
    monkeypatch.setattr(notifier._inotify, "read", lambda: iter([(-1, 0x4000, "")]))
    notifier.handle()
    assert heard == [1]
    monkeypatch.undo()
    notifier.close()


def test_objects_of_several_readers_are_all_woken(mailbox: Mailbox, instance: None) -> None:
    notifier = Notifier()
    readers = [Mailbox(mailbox.path, notifier, AccountId(f"{number:016x}")) for number in (1, 2, 3)]
    heard: list[int] = []
    for number, reader in enumerate(readers):
        reader.listen(functools.partial(heard.append, number))
    append(mailbox, [make_message(1)])
    assert has_news(notifier, 40)
    notifier.handle()
    assert sorted(heard) == [0, 1, 2]
    readers[1].close()
    mailbox.checkpoint()
    append(mailbox, [make_message(2)])
    assert has_news(notifier, 40)
    notifier.handle()
    assert sorted(heard[3:]) == [0, 2]
    for reader in readers:
        reader.close()
    notifier.close()


class OneWatch:
    """An inotify for which all that is followed is the same directory, under the names it has had."""

    def __init__(self) -> None:
        self.removed: list[int] = []

    def add(self, path: str, mask: int) -> int:
        return 7

    def remove(self, watch: int) -> None:
        self.removed.append(watch)


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_directory_followed_under_two_names_is_left_under_each(tmp_path: Path, is_gone: bool) -> None:
    inotify = OneWatch()
    traces = Traces(lambda: inotify)  # type: ignore[arg-type, return-value]
    before, now = f"{tmp_path}/before", f"{tmp_path}/now"
    bells: list[str] = []
    for path in (before, now):
        traces.follow(path, JOURNALS, bells.append)
    if is_gone:
        traces.note(7, "")
        traces.ring()
        assert bells == [now]
    traces.unfollow(before, bells.append)
    assert inotify.removed == [], "the other goes on by it"
    traces.note(7, f"{JOURNALS}1")
    traces.ring()
    assert bells == [now]
    traces.unfollow(now, bells.append)
    assert inotify.removed == [] if is_gone else [7]
    assert not len(traces)
