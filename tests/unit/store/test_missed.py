"""What a client that comes back is told to be gone: exactly, or everything that is not there."""

import random

import numpy as np
import pytest

from mstore.base.numset import parse_numset
from mstore.files.expunges import MOST
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from mstore.store.missed import intersect, vanished
from mstore.store.recovery import rebuild
from mstore.store.view import View
from tests.kit.mail import make_messages


def expunge(mailbox: Mailbox, *rows: int) -> int:
    with mailbox.transaction() as tx:
        tx.expunge(list(rows))
    return tx.modseq


def uids(pairs: np.ndarray) -> list[int]:
    return [uid for first, last in pairs.tolist() for uid in range(first, last + 1)]


def gone(view: View, since: int, known: bytes | None = None, above: int = 0) -> list[int]:
    return uids(vanished(view, since, None if known is None else parse_numset(known), above))


def test_what_was_expunged_since(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(10))
    before = mailbox.highest_modseq
    middle = expunge(mailbox, 1, 2, 5)
    expunge(mailbox, 9)
    view = mailbox.view()
    assert gone(view, before) == [2, 3, 6, 10]
    assert gone(view, middle) == [10]
    assert gone(view, mailbox.highest_modseq) == []
    assert gone(view, before, b"3:6") == [3, 6]
    assert gone(view, before, b"10:*,2") == [2, 10]
    assert gone(view, before, b"50:60") == []
    assert gone(view, before, above=3) == [6, 10]


def test_nothing_is_gone_that_the_session_still_knows(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    before = mailbox.highest_modseq
    view = mailbox.view()
    expunge(mailbox, 1, 3)
    assert gone(view, before) == []
    view.pending(False)
    assert gone(view, before) == []
    view.pending(True)
    assert gone(view, before) == [2, 4]


def test_an_empty_mailbox_has_lost_nothing(mailbox: Mailbox) -> None:
    assert gone(mailbox.view(), 0) == []
    assert gone(mailbox.view(), 0, b"1:*") == []


def test_a_checkpoint_keeps_what_was_expunged(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(6))
    before = mailbox.highest_modseq
    expunge(mailbox, 0, 4)
    mailbox.checkpoint()
    expunge(mailbox, 2)
    mailbox.checkpoint()
    append(mailbox, make_messages(1, 20))
    other = Mailbox(mailbox.path)
    try:
        assert gone(other.view(), before) == [1, 3, 5]
        assert other.index.expunges.forgotten == 0
    finally:
        other.close()
    assert check_mailbox(mailbox.path) == []


def test_where_the_record_ends_all_that_is_not_there_is_gone(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(8))
    before = mailbox.highest_modseq
    expunge(mailbox, 1, 6)
    mailbox.index.expunges.forget(mailbox.highest_modseq)
    last = expunge(mailbox, 3)
    view = mailbox.view()
    assert gone(view, before) == [2, 4, 7]
    assert gone(view, last - 1) == [4]
    append(mailbox, make_messages(2, 20))
    mailbox.refresh()
    assert gone(view, before) == [2, 4, 7]  # the new ones are not told yet, and are not gone


def test_a_rebuilt_mailbox_forgets(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    expunge(mailbox, 1)
    mailbox.close()
    highest = mailbox.highest_modseq
    rebuild(mailbox.path, from_segments=True)
    other = Mailbox(mailbox.path)
    try:
        assert other.index.expunges.forgotten >= highest
        assert other.index.expunges.since(highest - 1) is None
    finally:
        other.close()


def test_many_expunges_one_by_one(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(40))
    chance = random.Random(1)
    history: list[tuple[int, int]] = []
    for row in chance.sample(range(40), 30):
        history.append((expunge(mailbox, row), row + 1))
    view = mailbox.view()
    for since, _ in history:
        assert gone(view, since) == sorted(uid for modseq, uid in history if modseq > since)
    assert len(mailbox.index.expunges) <= MOST


def test_intersections_by_model() -> None:
    chance = random.Random(2)
    for _ in range(200):
        lists = []
        for _ in range(2):
            ends = sorted(chance.sample(range(1, 60), 2 * chance.randint(0, 8)))
            lists.append(np.array(ends, np.int64).reshape(-1, 2))
        both = intersect(*lists)
        assert uids(both) == sorted(set(uids(lists[0])) & set(uids(lists[1])))


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_a_session_that_lags_behind_by_model(mailbox: Mailbox, seed: int, remembers: bool) -> None:
    chance = random.Random(seed)
    append(mailbox, make_messages(60))
    old = mailbox.view()
    history: list[tuple[int, int]] = []
    for row in chance.sample(range(60), 40):
        history.append((expunge(mailbox, row), row + 1))
        if chance.random() < 0.1:
            old.pending(True)
        if chance.random() < 0.1:
            append(mailbox, make_messages(2, 100))
    if not remembers:
        mailbox.index.expunges.forget(mailbox.highest_modseq)
    known = set(chance.sample(range(1, 80), 50))
    there = set(mailbox.view().uids.tolist()) | set(old.uids.tolist())
    for since in (0, history[5][0], history[30][0], mailbox.highest_modseq - 1):
        lost = {uid for modseq, uid in history if modseq > since}
        if not remembers:
            lost = set(range(1, mailbox.uid_next))
        numbers = ",".join(map(str, sorted(known))).encode()
        assert gone(old, since) == sorted(lost - there)
        assert gone(old, since, numbers, above=9) == sorted(uid for uid in lost & known - there if uid > 9)
