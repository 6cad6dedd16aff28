"""Links that are kept and added to, against reading them all; and how little is read."""

import random

import numpy as np
import pytest

from mstore.base.flags import TOMBSTONE
from mstore.mail.summary import BASE_SUBJECT, REFERENCES
from mstore.store.links import Links, links_of
from mstore.store.orders import Orders


class Box:
    """A mailbox of subjects and ids, which counts the messages that are read."""

    def __init__(self) -> None:
        self.slots: list[dict[int, bytes]] = []
        self.flags = np.zeros(0, np.uint64)
        self.columns = self.full = self
        self.orders = Orders()
        self.reads = 0

    def add(self, chance: random.Random, count: int) -> None:
        for _ in range(count):
            numbers = [chance.randrange(2), *[chance.randrange(99) for _ in range(1 + chance.randrange(4))]]
            subject = chance.choice((b"", b"A", b"B"))
            self.slots.append({BASE_SUBJECT: subject, REFERENCES: np.array(numbers, "<u8").tobytes()})
        self.flags = np.append(self.flags, np.zeros(count, np.uint64))

    def derived(self, rows: np.ndarray, slots: tuple[int, ...]) -> list[list[bytes]]:
        self.reads += len(rows)
        assert not (self.flags[rows] & np.uint64(TOMBSTONE)).any(), "an expunged message was read"
        return [[self.slots[row][slot] for row in rows.tolist()] for slot in slots]

    def live(self) -> np.ndarray:
        return np.flatnonzero(self.flags == 0)

    def links(self, rows: np.ndarray) -> Links:
        return links_of(self, rows, lambda: None)


def are_those_of(links: Links, box: Box, rows: np.ndarray) -> bool:
    slots = [box.slots[row] for row in rows.tolist()]
    pieces = np.split(links.numbers, links.ends)
    return (
        links.rows.tolist() == rows.tolist()
        and [piece.tobytes() for piece in pieces] == [*(slot[REFERENCES] for slot in slots), b""]
        and links.subjects.tolist() == [hash(slot[BASE_SUBJECT]) for slot in slots]
        and all(
            bool(number) == bool(slot[BASE_SUBJECT])
            for number, slot in zip(links.subjects, slots, strict=True)
        )
        and links.starts.tolist() == [0, *links.ends.tolist()][: len(rows)]
    )


@pytest.mark.parametrize("seed", range(60))
def test_links_are_those_of_the_messages(seed: int) -> None:
    chance = random.Random(seed)
    box = Box()
    for _ in range(15):
        box.add(chance, chance.choice((0, 1, 2, 20)))
        live = box.live()
        for row in chance.sample(live.tolist(), min(len(live), chance.randrange(3))):
            box.flags[row] = TOMBSTONE
        live = box.live()
        rows = live if chance.random() < 0.6 else live[[chance.random() < 0.5 for _ in live]]
        assert are_those_of(box.links(rows), box, rows)


def test_what_is_known_is_not_read_again() -> None:
    chance = random.Random(1)
    box = Box()
    box.add(chance, 1000)
    box.links(box.live())
    box.reads = 0
    assert are_those_of(box.links(box.live()), box, box.live())
    assert are_those_of(box.links(box.live()[::3]), box, box.live()[::3])
    assert box.reads == 0
    box.add(chance, 2)
    box.flags[7] = TOMBSTONE
    assert are_those_of(box.links(box.live()), box, box.live())
    assert box.reads == 2
    # Those of few are not kept in place of those of many.
    box.add(chance, 1)
    box.links(np.array([1002]))
    box.reads = 0
    assert are_those_of(box.links(box.live()), box, box.live())
    assert box.reads == 1


def test_of_no_message_there_are_none() -> None:
    box = Box()
    none = box.live()
    assert are_those_of(box.links(none), box, none)
    box.add(random.Random(1), 3)
    box.links(box.live())
    assert are_those_of(box.links(none), box, none)


def test_an_expunged_message_that_a_session_still_shows_is_not_read() -> None:
    chance = random.Random(1)
    box = Box()
    box.add(chance, 100)
    rows = box.live()
    box.links(rows)
    box.flags[50] = TOMBSTONE
    box.add(chance, 1)
    rows = np.append(rows, 100)
    assert are_those_of(box.links(rows), box, rows)
