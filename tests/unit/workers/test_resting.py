"""How often a process says that it lives."""

import pytest

from mstore.base import clock
from mstore.base.boardfile import ALIVE_S
from workers.resting import BEAT_S, LOOK_S, QUIET_S, REST_LOOK_S, REST_S, Resting
from workers.supervisor import SILENT_S


def test_who_has_had_nothing_to_tell_for_a_while_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "steady", lambda: now_s)
    resting = Resting()
    assert resting.pause_s() == BEAT_S
    now_s += QUIET_S
    resting.note(False)
    assert resting.pause_s() == REST_S
    resting.note()
    assert resting.pause_s() == BEAT_S
    now_s += QUIET_S - 0.1
    assert resting.pause_s() == BEAT_S


def test_nobody_takes_a_rest_for_a_death() -> None:
    assert 2 * REST_S < ALIVE_S < SILENT_S


def test_what_takes_longer_is_looked_at_less_often_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "steady", lambda: now_s)
    resting = Resting()
    assert resting.is_time_to_look() and not resting.is_time_to_look()
    now_s += LOOK_S
    assert not resting.is_time_to_look()
    resting.note()
    assert resting.is_time_to_look()
    now_s += REST_LOOK_S - 1
    assert not resting.is_time_to_look()
    now_s += 1
    assert resting.is_time_to_look()
