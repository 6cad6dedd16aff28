"""Derived texts that are kept and added to, against looking at each; and how little is read."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mstore.mail.summary import ENVELOPE, SEARCH
from mstore.store import orders
from mstore.store.append import append
from mstore.store.mailbox import Mailbox as RealMailbox
from mstore.store.orders import Orders
from mstore.store.searchtexts import rows_holding
from tests.kit.mail import make_messages

PIECES = (b"", b"A", b"AA", b"BAB", "É".encode(), b"A@B", b"BB")


class Box:
    """A mailbox of texts, which counts the messages that are read."""

    def __init__(self) -> None:
        self.texts: list[list[bytes]] = []
        self.orders = Orders()
        self.reads = 0

    def add(self, chance: random.Random, count: int) -> None:
        self.texts += [[b"".join(chance.choices(PIECES, k=2)) for _ in range(5)] for _ in range(count)]

    def derived_joined(self, rows: Any, slot: int, end: bytes) -> list[tuple[Any, bytes, Any]]:
        assert slot == SEARCH
        self.reads += len(rows)
        found = []
        for some in np.array_split(rows, 2):
            texts = [b"\0".join(self.texts[row]) + end for row in some.tolist()]
            sizes = np.array([len(text) for text in texts], np.int64)
            found.append((some, b"".join(texts), np.cumsum(sizes) - sizes))
        return found

    def check(self, rows: Any, position: int, needle: bytes) -> None:
        found = rows_holding(self, rows, position, needle, len(self.texts), lambda: None)
        assert found.tolist() == [needle in self.texts[row][position] for row in rows.tolist()]


@pytest.mark.parametrize("seed", range(40))
def test_what_is_found_is_what_is_there(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstore.store.searchtexts.WINDOW_ROWS", 7)
    if seed % 4 == 0:
        monkeypatch.setattr(orders, "MOST_BYTES", 1000)
    chance, box = random.Random(seed), Box()
    for _ in range(12):
        box.add(chance, chance.choice((0, 1, 3, 30)))
        every = np.arange(len(box.texts), dtype=np.int32)
        rows = every[np.array([chance.random() < chance.choice((0.05, 0.9)) for _ in every], bool)]
        for some in (rows, every, every[-1:]):
            needle = chance.choice(("A", "B", "AB", "@", "É", "AA", "x")).encode()
            box.check(some, chance.randrange(5), needle)


def test_each_text_is_read_once_and_few_are_read_alone() -> None:
    chance, box = random.Random(1), Box()
    box.add(chance, 3000)
    every = np.arange(3000)
    box.check(every, 0, b"A")
    box.check(every, 4, b"B")
    box.check(every[::2], 4, b"B")
    assert box.reads == 3000
    box.check(every[:10], 1, b"A")
    assert box.reads == 3010
    box.add(chance, 5)
    box.check(np.arange(3005), 1, b"A")
    assert box.reads == 3015
    box.check(np.arange(3005), 2, b"A")
    assert box.reads == 3015


def test_what_is_gone_is_kept_no_longer_than_it_is_as_much_as_the_rest() -> None:
    chance, box = random.Random(2), Box()
    box.add(chance, 100)
    box.check(np.arange(100), 0, b"A")
    rows = np.arange(60, 100)
    rows_holding(box, rows, 0, b"A", len(rows), lambda: None)
    assert sum(len(stretch.rows) for stretch in box.orders.get("search texts")) == 40


def test_texts_that_are_lost_are_made_again(mailbox: RealMailbox) -> None:
    append(mailbox, make_messages(50))
    rows = np.arange(50)

    def joined(slots: Sequence[int]) -> list[list[bytes]]:
        return [
            [
                text[start : text.index(b"\xff", start)]
                for some, text, starts in mailbox.derived_joined(rows, slot, b"\xff")
                for start in starts.tolist()
            ]
            for slot in slots
        ]

    wanted = mailbox.derived(rows, (SEARCH, ENVELOPE))
    assert joined((SEARCH, ENVELOPE)) == wanted
    mailbox.rest()
    path = mailbox.path / "derived"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x11
    path.write_bytes(data)
    other = RealMailbox(mailbox.path)
    pieces = other.derived_joined(rows, SEARCH, b"\xff")
    assert sorted(row for some, _, _ in pieces for row in some.tolist()) == rows.tolist()
    assert sorted(text for _, joined, _ in pieces for text in joined.split(b"\xff")[:-1]) == sorted(wanted[0])
    other.close()
