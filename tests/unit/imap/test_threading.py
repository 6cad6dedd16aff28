"""Threads that are kept and changed, against those made anew; and that few messages are threaded."""

import random
from typing import Any

import numpy as np
import pytest

from mstore.base.flags import TOMBSTONE
from mstore.imap import threading
from mstore.imap.render.threads import format_threads, outline
from mstore.imap.threading import threads_of
from mstore.mail.date import NO_DATE
from mstore.mail.summary import BASE_SUBJECT, REFERENCES
from mstore.store.orders import Orders
from mstore.store.thread import thread_rows


class Box:
    """A mailbox of subjects, ids and dates."""

    def __init__(self, chance: random.Random, ids: int, subjects: int) -> None:
        self.chance, self.ids, self.subjects = chance, ids, subjects
        self.slots: list[dict[int, bytes]] = []
        self.flags = np.zeros(0, np.uint64)
        self.sent_date = self.internal_date = np.zeros(0, np.int64)
        self.columns = self.full = self
        self.orders = Orders()

    def add(self, count: int) -> None:
        chance = self.chance
        for _ in range(count):
            references = [chance.randrange(1, self.ids) for _ in range(chance.choice((0, 0, 1, 2, 3)))]
            own = 0 if chance.random() < 0.1 else chance.randrange(1, self.ids)
            numbers = [chance.randrange(2), own, *references]
            subject = b"%d" % chance.randrange(self.subjects) if chance.random() < 0.8 else b""
            self.slots.append({BASE_SUBJECT: subject, REFERENCES: np.array(numbers, "<u8").tobytes()})
        self.flags = np.append(self.flags, np.zeros(count, np.uint64))
        dates = [chance.choice((NO_DATE, chance.randrange(50))) for _ in range(count)]
        self.sent_date = np.append(self.sent_date, np.array(dates, np.int64))
        arrived = [chance.randrange(50) for _ in range(count)]
        self.internal_date = np.append(self.internal_date, np.array(arrived, np.int64))

    def expunge(self, count: int) -> None:
        live = self.live().tolist()
        self.flags[self.chance.sample(live, min(count, len(live)))] = TOMBSTONE

    def live(self) -> Any:
        return np.flatnonzero(self.flags == 0)

    def derived(self, rows: Any, slots: tuple[int, ...]) -> list[list[bytes]]:
        return [[self.slots[row][slot] for row in rows.tolist()] for slot in slots]

    def anew(self, rows: Any, algorithm: str) -> bytes:
        kept, self.orders = self.orders, Orders()
        made = outline(thread_rows(self, rows, algorithm))
        self.orders = kept
        return format_threads(made, rows)

    def check(self, rows: Any, algorithm: str) -> None:
        told = format_threads(threads_of(self, rows, algorithm, lambda: None), rows)
        assert told == self.anew(rows, algorithm)


@pytest.mark.parametrize("algorithm", ["references", "refs", "orderedsubject"])
@pytest.mark.parametrize("seed", range(60))
def test_threads_are_those_that_are_made_anew(
    monkeypatch: pytest.MonkeyPatch, seed: int, algorithm: str
) -> None:
    monkeypatch.setattr(threading, "WORTH", (1, 8)[seed % 2])
    chance = random.Random(seed)
    box = Box(chance, *chance.choice(((400, 200), (60, 40), (2000, 3))))
    box.add(chance.choice((0, 1, 100)))
    box.check(box.live(), algorithm)
    for _ in range(25):
        step = chance.randrange(4)
        if step:
            box.add(chance.choice((1, 1, 2, 9)))
        if step in (0, 1):
            box.expunge(chance.choice((1, 2, 5)))
        rows = box.live()
        if chance.random() < 0.2:  # as after a search
            rows = rows[[chance.random() < 0.97 for _ in rows]]
        box.check(rows, algorithm)


def test_of_what_arrives_its_own_is_threaded_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(random.Random(3), 3000, 2000)
    box.add(1000)
    box.check(box.live(), "references")
    counts = []

    def thread_links(mailbox: Any, links: Any, *more: Any) -> Any:
        counts.append(len(links.rows))
        return known(mailbox, links, *more)

    known = threading.thread_links
    monkeypatch.setattr(threading, "thread_links", thread_links)
    monkeypatch.setattr(threading, "thread_rows", None)
    box.slots += [{BASE_SUBJECT: b"", REFERENCES: np.array([0, 5000], "<u8").tobytes()}]
    for name in ("flags", "sent_date", "internal_date"):
        setattr(box, name, np.append(getattr(box, name), getattr(box, name)[-1:]))
    box.check(box.live(), "references")
    box.flags[-1] = TOMBSTONE
    box.check(box.live(), "references")
    assert counts == [1, 0]
