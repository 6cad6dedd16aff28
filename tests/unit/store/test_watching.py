"""A watch tells the difference between what its session knows and what is, and keeps nothing open for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.store import annotation, watching
from mstore.store.access import Access
from mstore.store.append import append
from mstore.store.news import ANNOTATIONS, COUNTS, FLAGS, NAMES, AnnotationNews, CountNews, NameNews
from mstore.store.watching import TooMuch, Watch
from tests.kit.mail import make_message
from tests.kit.mailhost import MailHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    made = MailHost(tmp_path, admin_users=("root",))
    made.add("joe")
    yield made
    made.close()


class Watcher:
    """A watch of joe's, with its bell."""

    def __init__(self, host: MailHost, bits: int) -> None:
        self.host = host
        self.rings = 0
        self.access = Access(host.store, host.accounts, host.accounts.find("joe"))
        self.traces = host.store.notifier.traces
        self.watch = Watch(self.access, self.traces, lambda name, subscribed: bits, self._ring)

    def _ring(self) -> None:
        self.rings += 1

    def news(self) -> list[object]:
        """What is told once nothing can have been missed."""
        self.traces.ring_all()
        return list(self.watch.look())


def fill(host: MailHost, name: str, count: int = 1) -> None:
    mailbox = host.account("joe").open(name)
    append(mailbox, [make_message(number) for number in range(count)])
    mailbox.release()


def test_totals_are_told_once_and_as_they_are(host: MailHost) -> None:
    watcher = Watcher(host, COUNTS)
    (first,) = watcher.watch.start(counts=True)
    assert isinstance(first, CountNews)
    assert (first.name, first.before, first.now.messages) == ("INBOX", None, 0)
    assert watcher.news() == []
    fill(host, "INBOX", 2)
    fill(host, "INBOX")
    (news,) = watcher.news()
    assert isinstance(news, CountNews) and news.before == first.now and news.now.messages == 3
    assert watcher.news() == []
    watcher.watch.close()
    assert not len(watcher.traces)


def test_without_inotify_a_poll_finds_what_happened(host: MailHost) -> None:
    host.store.notifier.close()
    watcher = Watcher(host, COUNTS | NAMES)
    assert list(watcher.watch.start(counts=False)) == []
    host.account("joe").create("work")
    fill(host, "INBOX")
    assert list(watcher.watch.look()) == []
    host.store.notifier.poll_all()
    assert watcher.rings
    told = [(type(news), news.name) for news in watcher.watch.look()]  # type: ignore[union-attr]
    assert sorted(told, key=str) == sorted(
        [(NameNews, "work"), (CountNews, "INBOX"), (CountNews, "work")], key=str
    )
    watcher.watch.close()


def test_there_is_a_limit_at_the_beginning_and_later(host: MailHost, monkeypatch) -> None:
    monkeypatch.setattr(watching, "MOST_MAILBOXES", 2)
    watcher = Watcher(host, COUNTS)
    host.account("joe").create("one")
    list(watcher.watch.start(counts=False))
    host.account("joe").create("two")
    with pytest.raises(TooMuch):
        watcher.news()
    watcher.watch.close()
    other = Watcher(host, COUNTS)
    with pytest.raises(TooMuch):
        list(other.watch.start(counts=True))
    other.watch.close()
    assert not len(watcher.traces)


def test_many_mailboxes_are_watched_without_descriptors(host: MailHost) -> None:
    account = host.account("joe")
    for number in range(150):
        account.create(f"lists/{number}")
    before = len(os.listdir("/proc/self/fd"))
    watcher = Watcher(host, COUNTS | FLAGS)
    assert len(list(watcher.watch.start(counts=True))) == 152
    host.store.rest()
    assert len(os.listdir("/proc/self/fd")) < before + 220
    fill(host, "lists/77")
    (news,) = watcher.news()
    assert isinstance(news, CountNews) and news.name == "lists/77"
    watcher.watch.close()


def test_names_that_swap_are_renamed_both(host: MailHost) -> None:
    account = host.account("joe")
    for name in ("a", "b", "b/c"):
        account.create(name)
    watcher = Watcher(host, NAMES)
    list(watcher.watch.start(counts=False))
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        account.rename(old, new)
    told = {(news.name, news.old_name) for news in watcher.news() if isinstance(news, NameNews)}
    assert told == {("a", "b"), ("b", "a")}
    watcher.watch.close()


def test_one_does_not_hear_of_ones_own_changes_but_of_others_beside_them(host: MailHost) -> None:
    watcher = Watcher(host, NAMES | ANNOTATIONS)
    list(watcher.watch.start(counts=False))
    watcher.watch.note_own("mine/deep")
    host.account("joe").create("mine/deep")
    host.account("joe").create("theirs")
    told = watcher.news()
    assert [news.name for news in told if isinstance(news, NameNews)] == ["theirs"]
    watcher.watch.note_own_annotations("mine", iter(["/private/a"]))
    annotation.write(watcher.access, "mine", {"/private/a": b"1", "/private/b": b"2"})
    assert watcher.news() == [AnnotationNews("mine", ("/private/b",))]
    annotation.write(watcher.access, "mine", {"/private/a": None})
    assert watcher.news() == [AnnotationNews("mine", ("/private/a",))]
    watcher.watch.close()
