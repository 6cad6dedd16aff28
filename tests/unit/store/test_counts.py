"""The totals of a mailbox that need not be opened: what has changed is seen, whoever changed it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.base.errors import NotFound
from mstore.base.flags import DELETED, FLAGGED, SEEN
from mstore.base.ids import AccountId
from mstore.base.values import ExpiryRule
from mstore.files import journal as journals
from mstore.store.append import append
from mstore.store.change import MailboxStatus
from mstore.store.copy import move
from mstore.store.counts import Counts
from mstore.store.lifetimes import Lifetimes
from mstore.store.mailbox import Mailbox
from mstore.store.namestate import MailboxEntry
from mstore.store.pool import Pool
from tests.kit.mail import make_message, make_messages

ANN, BOB = AccountId("00000000000000a1"), AccountId("ffffffffffffffb2")
ID = "0123456789abcdef"


class Watched(Pool):
    """A pool that counts what it opens."""

    opens = 0

    def open(self, *args: Any) -> Mailbox:
        self.opens += 1
        return super().open(*args)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The directory of a mailbox of five messages, one of them \\Seen."""
    path = tmp_path / ID
    mailbox = Mailbox.create(path, 7)
    append(mailbox, make_messages(5))
    change(mailbox, [0], SEEN)
    mailbox.close()
    return str(path)


@pytest.fixture
def pool(path: str) -> Iterator[Watched]:
    """The process that is asked; it knows the totals by now."""
    pool = Watched()
    assert pool.status(path)[:2] == (5, 4)
    assert pool.status(path)[:2] == (5, 4)
    assert pool.opens == 1, "a mailbox that has not changed was opened"
    yield pool
    pool.close()


@pytest.fixture
def other(path: str) -> Iterator[Mailbox]:
    """The mailbox as another process has it."""
    pool = Pool()
    mailbox = pool.open(path)
    yield mailbox
    mailbox.release()
    pool.close()


def change(mailbox: Mailbox, rows: list[int], bits: int) -> None:
    with mailbox.transaction() as tx:
        tx.flags(rows, "add", bits)


def expunge(mailbox: Mailbox) -> None:
    with mailbox.transaction() as tx:
        tx.expunge([0, 1])


def move_away(mailbox: Mailbox) -> None:
    target = Mailbox.create(mailbox.path.parent / "00000000000000aa", 8)
    move([0, 1], mailbox, target)
    target.close()


def checkpoint_and_change(mailbox: Mailbox) -> None:
    mailbox.checkpoint()
    change(mailbox, [3, 4], SEEN)


CHANGES: list[tuple[Callable[[Mailbox], object], tuple[int, int]]] = [
    (lambda mailbox: append(mailbox, [make_message(6)]), (6, 5)),
    (lambda mailbox: change(mailbox, [1, 2], SEEN), (5, 2)),
    (expunge, (3, 3)),
    (move_away, (3, 3)),
    (Mailbox.checkpoint, (5, 4)),
    (checkpoint_and_change, (5, 2)),
]


@pytest.mark.parametrize(("act", "totals"), CHANGES)
def test_a_change_is_seen(
    pool: Watched, other: Mailbox, path: str, act: Callable[[Mailbox], object], totals: tuple[int, int]
) -> None:
    act(other)
    assert pool.status(path)[:2] == totals
    opens = pool.opens
    assert opens == 2
    assert pool.status(path) == other.status()
    assert pool.opens == opens, "once it was looked at, it need not be opened again"


@pytest.mark.parametrize(("act", "totals"), CHANGES)
def test_a_change_of_this_process_is_seen(
    pool: Watched, path: str, act: Callable[[Mailbox], object], totals: tuple[int, int]
) -> None:
    mailbox = pool.open(path)
    act(mailbox)
    assert pool.status(path)[:2] == totals
    mailbox.release()
    assert pool.status(path)[:2] == totals


def test_a_change_of_a_process_that_ended_is_seen(pool: Watched, path: str) -> None:
    child = multiprocessing.get_context("fork").Process(target=_mark, args=(path,))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert pool.status(path).unseen == 0


def _mark(path: str) -> None:
    change(Mailbox(Path(path)), [1, 2, 3, 4], SEEN)


def test_a_release_that_leaves_the_size_equal_is_seen(pool: Watched, other: Mailbox, path: str) -> None:
    """An expunge stands in the journal, pending, before it takes effect in its place."""
    journal = other.journal
    record = journals.expunged(other.columns.uid[:1], other.columns.uid[:1])
    group = journals.format_group(journal.info.generation, journal.end, 100, [record], True)
    with open(journal.path, "r+b") as file:
        file.seek(journal.end)
        file.write(group)
    size = os.stat(journal.path).st_size
    assert [pool.status(path).messages for _ in range(3)] == [5, 5, 5]
    with open(journal.path, "r+b") as file:
        journals.release(file.fileno(), journal.end)
    assert os.stat(journal.path).st_size == size
    assert [pool.status(path).messages for _ in range(3)] == [4, 4, 4]
    other.refresh()


def test_another_file_of_equal_size_is_another(path: str) -> None:
    counts, mailbox = Counts(), Mailbox(Path(path))
    status = counts.take("key", mailbox)
    assert counts.find("key") == status
    shutil.copy2(mailbox.journal.path, f"{path}/copy")
    os.replace(f"{path}/copy", mailbox.journal.path)
    assert counts.find("key") is None
    assert len(counts) == 0
    mailbox.close()


def test_nothing_is_kept_of_a_mailbox_that_lags_behind(path: str, other: Mailbox) -> None:
    counts, mailbox = Counts(), Mailbox(Path(path))
    change(other, [1], SEEN)
    assert counts.take("key", mailbox).unseen == 4, "as of its last refresh"
    assert counts.find("key") is None
    mailbox.refresh()
    assert counts.take("key", mailbox).unseen == 3
    found = counts.find("key")
    assert found is not None and found.unseen == 3
    mailbox.close()


def test_each_reader_has_an_unseen_of_his_own(pool: Watched, path: str) -> None:
    def unseen() -> list[int]:
        return [pool.status(path, reader).unseen for reader in (None, ANN, BOB)]

    assert unseen() == [4, 5, 5]
    ann = Mailbox(Path(path), None, ANN)
    change(ann, [0, 1, 2], SEEN)
    assert unseen() == [4, 2, 5]
    assert unseen() == [4, 2, 5]
    change(ann, [0, 1], FLAGGED | DELETED)
    assert [pool.status(path, reader).deleted for reader in (None, ANN, BOB)] == [2, 2, 2]
    ann.close()


def test_a_mailbox_that_was_removed_is_gone(pool: Watched, path: str) -> None:
    shutil.rmtree(path)
    with pytest.raises(NotFound):
        pool.status(path)


def test_a_claim_that_is_not_written_counts(
    pool: Watched, other: Mailbox, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstore.store.mailbox.CLAIM_S", 0.01)
    monkeypatch.setattr("mstore.base.blocking.later", lambda *_: None)
    assert pool.status(path).recent == 5
    mailbox = pool.open(path)
    with other.transaction():
        mailbox.view(recent=True)
        assert pool.status(path).recent == 0
    mailbox.release()


def test_where_messages_expire_a_mailbox_is_opened_for_that(path: str) -> None:
    pool = Watched(lifetimes=Lifetimes(rules=[ExpiryRule("Trash", 10)]), expires=True)
    for name, opens in (("Trash", 3), ("Others", 3)):  # what is known by then is known by any name
        entry = MailboxEntry(name, ID, 7)
        for _ in range(3):
            pool.status(path, None, None, entry)
        assert pool.opens == opens
    pool.close()


def test_what_was_asked_for_longest_ago_is_forgotten(tmp_path: Path) -> None:
    counts = Counts(limit=2)
    mailbox = Mailbox.create(tmp_path / ID, 7)
    known: list[MailboxStatus | None] = [counts.take(key, mailbox) for key in ("a", "b")]
    assert counts.find("a") == known[0]
    counts.take("c", mailbox)
    assert [counts.find(key) is None for key in ("a", "b", "c")] == [False, True, False]
    assert len(counts) == 2
    mailbox.close()


def test_what_changes_a_mailbox_here_takes_its_totals_anew(pool: Watched, path: str) -> None:
    mailbox = pool.open(Path(path))
    append(mailbox, make_messages(2))
    mailbox.release()
    opens = pool.opens
    assert pool.status(path)[:2] == (7, 6)
    assert pool.opens == opens, "it was opened though its totals were known"
    other = Mailbox(Path(path))
    append(other, make_messages(1))
    other.close()
    assert pool.status(path)[:2] == (8, 7)


def test_totals_that_nobody_asked_for_are_not_kept(path: str) -> None:
    pool = Watched()
    mailbox = pool.open(Path(path))
    append(mailbox, make_messages(2))
    mailbox.release()
    assert not len(pool._counts)
    pool.close()
