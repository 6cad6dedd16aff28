"""The cost of failed logins."""

from __future__ import annotations

import pytest

from mstore.base import blocking
from mstore.net.penalty import FAILURES_LIMIT, LONGEST_S, Penalty


def test_each_failure_costs_more_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(blocking, "sleep", waits.append)
    penalty = Penalty()
    assert not penalty.is_over
    for _ in range(FAILURES_LIMIT):
        assert not penalty.is_over
        penalty.pay()
    assert penalty.is_over
    assert waits == sorted(waits)
    assert waits[0] == 1.0
    assert waits[-1] == LONGEST_S
