"""Ranks that are kept and extended, against sorting the texts themselves; what is kept has an end."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Expunged, LimitReached
from mstore.base.flags import TOMBSTONE
from mstore.store import orders, ranks
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.orders import Orders
from mstore.store.ranks import ranks_of
from mstore.store.sort import Criterion, sort_rows


class Texts:
    """A mailbox of nothing but texts, which counts how often one is read."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.flags = np.zeros(0, np.uint64)
        self.columns = self.full = self
        self.orders = Orders()
        self.gone: set[int] = set()
        self.reads = 0

    def add(self, texts: list[bytes]) -> None:
        self.texts += texts
        self.flags = np.append(self.flags, np.zeros(len(texts), np.uint64))

    def expunge(self, row: int) -> None:
        self.flags[row] = TOMBSTONE
        self.gone.add(row)

    def read(self, rows: np.ndarray) -> list[bytes]:
        self.reads += len(rows)
        if self.gone & set(rows.tolist()):
            raise Expunged("an expunged message was read")
        return [self.texts[row] for row in rows.tolist()]

    def live(self) -> np.ndarray:
        return np.flatnonzero(self.flags == 0)

    def ranks(self, rows: np.ndarray) -> np.ndarray:
        return ranks_of(self, rows, "text", self.read)


def same_order(found: np.ndarray, texts: list[bytes]) -> bool:
    """Whether the numbers compare as the texts do, and the empty text has 0 and no other."""
    places = {text: place for place, text in enumerate(sorted(set(texts)))}
    pairs = {(int(number), places[text], not text) for number, text in zip(found, texts, strict=True)}
    numbers = [number for number, _, _ in sorted(pairs)]
    in_order = sorted(pairs) == sorted(pairs, key=lambda pair: pair[1])
    return (
        in_order
        and len(set(numbers)) == len(pairs) == len(places)
        and all((number == 0) == is_empty for number, _, is_empty in pairs)
    )


@pytest.mark.parametrize("seed", range(60))
def test_extended_ranks_compare_as_the_texts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(ranks, "WORTH_ROWS", chance.choice((0, 1, 3, 256)))
    box = Texts()
    for _ in range(12):
        box.add(
            [
                b"%d" % chance.randrange(30) if chance.random() < 0.9 else b""
                for _ in range(chance.randrange(9))
            ]
        )
        live = box.live()
        if len(live) and chance.random() < 0.4:
            box.expunge(int(chance.choice(live)))
            live = box.live()
        rows = live if chance.random() < 0.6 else live[[chance.random() < 0.4 for _ in live]]
        assert same_order(box.ranks(rows), [box.texts[row] for row in rows.tolist()])


def test_one_more_message_reads_few_others() -> None:
    box = Texts()
    box.add([b"%06d" % number for number in range(0, 20_000, 2)])
    box.ranks(box.live())
    box.reads = 0
    box.add([b"000777"])
    rows = box.live()
    found = box.ranks(rows)
    assert box.reads < 20
    assert found[-1] == 390
    assert same_order(found, box.texts)
    box.reads = 0
    assert (box.ranks(rows) == found).all()
    assert box.ranks(rows[[7, 10_000]]).tolist() == [8, 390]
    assert box.reads == 0


def test_ranks_of_few_do_not_take_the_place_of_those_of_many() -> None:
    box = Texts()
    box.add([b"%06d" % number for number in range(1000)])
    box.ranks(box.live())
    box.add([b"x", b"a", b""])
    assert box.ranks(np.array([1000, 1001, 1002])).tolist() == [2, 1, 0]
    box.reads = 0
    assert same_order(box.ranks(box.live()), box.texts)
    assert box.reads < 50


def test_with_what_is_expunged_nothing_is_compared() -> None:
    box = Texts()
    box.add([b"%06d" % number for number in range(2000)])
    box.ranks(box.live())
    for row in range(500, 1500):
        box.expunge(row)
    box.add([b"001000x"])
    box.reads = 0
    rows = box.live()
    assert same_order(box.ranks(rows), [box.texts[row] for row in rows.tolist()])
    assert box.reads < 20


def test_a_message_that_goes_while_it_is_compared_is_left_out() -> None:
    box = Texts()
    box.add([b"%06d" % number for number in range(1000)])
    box.ranks(box.live())
    box.add([b"000500x"])
    box.gone.add(500)  # its flags do not say so yet
    rows = np.delete(np.arange(1001), 500)
    assert same_order(box.ranks(rows), [box.texts[row] for row in rows.tolist()])


def test_what_ends_the_sorting_ends_it_while_messages_are_compared() -> None:
    box = Texts()
    box.add([b"%06d" % number for number in range(1000)])
    before = box.ranks(box.live())
    box.add([b"000500x"])
    beats = iter(range(5))

    def read(rows: np.ndarray) -> list[bytes]:
        if next(beats) == 3:
            raise LimitReached("the client has gone")
        return box.read(rows)

    with pytest.raises(LimitReached):
        ranks_of(box, box.live(), "text", read)
    box.reads = 0
    assert (box.ranks(np.arange(1000)) == before).all()
    assert box.reads == 0


def test_an_expunged_message_that_a_session_still_shows_keeps_its_place() -> None:
    box = Texts()
    box.add([b"%03d" % (number % 7) for number in range(600)] + [b"b"])
    box.ranks(box.live())
    box.flags[600] = TOMBSTONE
    box.add([b"a", b"c"])
    rows = np.arange(603)
    assert same_order(box.ranks(rows), box.texts)


def test_no_more_is_kept_than_fits_and_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = orders._Shelf()
    monkeypatch.setattr(orders, "_shelf", shelf)
    monkeypatch.setattr(orders, "MOST_BYTES", 1000)
    first, second, third = Orders(), Orders(), Orders()
    first.keep("a", 1, 400)
    second.keep("a", 2, 400)
    assert first.get("a") == 1
    third.keep("a", 3, 400)
    assert (first.get("a"), second.get("a"), third.get("a")) == (1, None, 3)
    first.keep("a", 4, 500)
    assert (first.get("a"), third.get("a")) == (4, 3)
    first.keep("a", 5, 501)
    assert (first.get("a"), third.get("a")) == (None, 3)
    del third
    for number in range(5):
        second.keep(str(number), number, 300)
    assert [second.get(str(number)) for number in range(5)] == [None, None, 2, 3, 4]


KEYS = ("subject", "from", "to", "cc", "displayfrom", "displayto")


def letter(chance: random.Random) -> NewMessage:
    word = lambda: "".join(chance.choice("aäbc") for _ in range(chance.randrange(4)))  # noqa: E731
    lines = [f"Subject: {word()}", f"From: {word()} <{word()}x@y>", f"To: {word()}z@y", f"Cc: {word()}@y"]
    text = "\r\n".join([*chance.sample(lines, chance.randrange(5)), "", ""])
    return NewMessage(text.encode(), chance.randrange(9))


def order(mailbox: Mailbox, rows: np.ndarray, key: str, reverse: bool) -> list[int]:
    return sort_rows(mailbox, rows, [Criterion(key, reverse), Criterion("arrival")]).tolist()


def test_changes_by_others_are_seen(
    make_mailbox: Callable[[], Mailbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mailbox object that keeps ranks, and another of the same directory through which it changes."""
    monkeypatch.setattr(ranks, "WORTH_ROWS", 4)
    chance = random.Random(5)
    mailbox = make_mailbox()
    other = Mailbox(Path(mailbox.path))
    try:
        append(other, [letter(chance) for _ in range(40)])
        for step in range(25):
            append(other, [letter(chance) for _ in range(chance.choice((1, 1, 1, 20)))])
            if step % 3 == 2:
                gone = chance.sample(other.index.live_rows().tolist(), 5)
                with other.transaction() as tx:
                    tx.expunge(np.sort(gone))
            if step % 10 == 9:
                other.checkpoint()
            mailbox.refresh()
            rows = mailbox.index.live_rows()
            fresh = Mailbox(Path(mailbox.path))
            for key in KEYS:
                for reverse in (False, True):
                    expected = order(fresh, fresh.index.live_rows(), key, reverse)
                    assert order(mailbox, rows, key, reverse) == expected
            fresh.close()
    finally:
        other.close()
    assert mailbox.orders.get("subject") is not None


@pytest.mark.parametrize("spread", [0, 1, 65_535, 65_536, 1 << 62])
def test_numbers_of_any_range_are_sorted(spread: int) -> None:
    chance = random.Random(spread)
    box = Texts()
    box.add([b""] * 300)
    dates = [chance.randint(-(spread // 2), spread - spread // 2) for _ in range(298)]
    box.internal_date = np.array([-(spread // 2), *dates, spread - spread // 2], np.int64)
    box.size = np.array([chance.randrange(3) for _ in range(300)], np.uint32)
    rows = np.arange(300)
    given = list(zip(box.size.tolist(), box.internal_date.tolist(), strict=True))
    found = sort_rows(box, rows, [Criterion("size"), Criterion("arrival", True)])
    assert found.tolist() == sorted(range(300), key=lambda row: (given[row][0], -given[row][1]))
    found = sort_rows(box, rows, [Criterion("arrival")])
    assert found.tolist() == sorted(range(300), key=lambda row: given[row][1])
