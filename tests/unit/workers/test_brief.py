"""Whether a sync may block the loop: only for a session that works alone, where syncs are brief."""

from __future__ import annotations

import pytest

from workers import brief
from workers.brief import BRIEF_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, TURNS, Brief


class Loop:
    """Counts turns as libev's does."""

    iteration = 0


class World:
    """A loop, a clock, and what is asked of them."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.now_s = 1000.0
        self.brief = Brief(self.loop)

    def asks(self, who: int, turns: int = 1, after_s: float = 0.001, takes_s: float = 0.0005) -> bool:
        self.loop.iteration += turns
        self.now_s += after_s
        may = self.brief.may_block(who)
        if may:
            self.now_s += takes_s
            self.brief.has_blocked()
        return may


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(brief.time, "monotonic", lambda: made.now_s)
    made.loop.iteration = 10 * TURNS
    made.now_s += 0.5
    made.brief.may_block(1)
    return made


def test_who_works_alone_may_block(world: World) -> None:
    assert all(world.asks(1, turns=3) for _ in range(100))
    assert world.asks(1, turns=100, after_s=60), "timers turn the loop as well"


def test_where_others_are_at_work_nobody_may(world: World) -> None:
    assert not world.asks(1, turns=TURNS + 1)
    assert not world.asks(1, turns=500, after_s=10)
    assert world.asks(1)


def test_two_that_sync_in_turns_do_so_beside_each_other(world: World) -> None:
    assert not any(world.asks(who) for who in (2, 3, 2, 3, 3))
    assert world.asks(3, after_s=0.1)
    assert world.asks(2, after_s=0.1), "the other one has done nothing for long"


def test_a_slow_disk_is_left_to_threads_for_longer_each_time(world: World) -> None:
    pauses = []
    for _ in range(9):
        began_s = world.now_s
        assert world.asks(1, takes_s=2 * BRIEF_S)
        while not world.asks(1, after_s=0.5, takes_s=2 * BRIEF_S):
            pass
        pauses.append(round(world.now_s - began_s))
        world.now_s += LONGEST_PAUSE_S
    assert pauses == sorted(pauses) and pauses[0] == FIRST_PAUSE_S and pauses[-1] >= LONGEST_PAUSE_S


def test_a_disk_that_is_fast_again_is_trusted_again(world: World) -> None:
    for _ in range(5):
        assert world.asks(1, takes_s=1.0)
        world.now_s += LONGEST_PAUSE_S
    for _ in range(10):
        assert world.asks(1)
    world.asks(1, takes_s=1.0)
    assert not world.asks(1, after_s=FIRST_PAUSE_S / 2)
    assert world.asks(1, after_s=FIRST_PAUSE_S)


def test_a_loop_that_does_not_count_its_turns_is_never_blocked() -> None:
    assert not Brief(object()).may_block(1)
