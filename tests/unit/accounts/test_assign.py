from collections import Counter
from pathlib import Path

import pytest

from mstore.accounts.assign import assign, by_hash, free_bytes
from mstore.accounts.login import LoginRules
from mstore.base.errors import Invalid, Unavailable
from mstore.base.values import AssignmentRule

STORES = {name: Path("/mail") / name for name in ("main", "second", "third")}


def test_without_rules_the_one_with_the_fewest_accounts_is_taken() -> None:
    assert assign("joe", (), STORES, {}) == "main"
    assert assign("joe", (), STORES, {"main": 2, "second": 1, "third": 1}) == "second"


def test_accounts_go_round_in_turn() -> None:
    rules = (AssignmentRule("round-robin", "*", ("second", "third")),)
    counts = dict.fromkeys(STORES, 0)
    went = []
    for number in range(4):
        went.append(assign(f"user{number}", rules, STORES, counts))
        counts[went[-1]] += 1
    assert went == ["second", "third", "second", "third"]


def test_the_first_rule_that_fits_decides() -> None:
    rules = (
        AssignmentRule("match", "*@Example.org", ("third",)),
        AssignmentRule("match", "boss*", ("second",)),
        AssignmentRule("round-robin", "*", ("main", "second")),
    )
    assert assign("boss@EXAMPLE.ORG", rules, STORES, {}) == "third"
    assert assign("Boss", rules, STORES, {}) == "second"
    assert assign("joe", rules, STORES, {"main": 1}) == "second"


def test_a_pattern_fits_every_spelling_of_a_name() -> None:
    rules = (AssignmentRule("match", "*@example.org", ("third",)),)
    login_rules = LoginRules("example.org")
    assert assign("joe", rules, STORES, {}, login_rules) == "third"
    assert assign("joe@example.org", rules, STORES, {}, login_rules) == "third"
    assert assign("joe@example.net", rules, STORES, {}, login_rules) == "main"


def test_most_free_takes_the_one_with_most_space() -> None:
    rules = (AssignmentRule("most-free", "*", ("main", "second", "third")),)
    free: dict[Path, int | None] = {STORES["main"]: 5, STORES["second"]: 9, STORES["third"]: 9}
    assert assign("joe", rules, STORES, {"second": 3, "third": 1}, free=free.get) == "third"
    free[STORES["main"]] = 10
    assert assign("joe", rules, STORES, {"main": 100}, free=free.get) == "main"


def test_most_free_passes_over_a_mailstore_that_cannot_be_looked_at() -> None:
    rules = (AssignmentRule("most-free", "*", ("main", "second")),)
    free: dict[Path, int | None] = {STORES["second"]: 0}
    assert assign("joe", rules, STORES, {}, free=free.get) == "second"
    with pytest.raises(Unavailable, match="main, second"):
        assign("joe", rules, STORES, {}, free=lambda path: None)


def test_free_space_is_the_file_systems(tmp_path: Path) -> None:
    found = free_bytes(tmp_path)
    assert found is not None and found > 0
    assert free_bytes(tmp_path / "missing") is None


def test_hash_gives_each_name_its_place_whatever_the_counts_and_the_spelling() -> None:
    rules = (AssignmentRule("hash", "*", ("main", "second", "third")),)
    turned = (AssignmentRule("hash", "*", ("third", "second", "main")),)
    spread: Counter[str] = Counter()
    for number in range(600):
        went = assign(f"user{number}", rules, STORES, dict(spread))
        assert went == assign(f"USER{number}", turned, STORES, {})
        spread[went] += 1
    assert all(count > 150 for count in spread.values()) and len(spread) == 3
    # what the function gives is on record with nobody: it must never change
    pinned = ["second", "main", "main", "main", "second", "main", "second", "main"]
    assert [by_hash(name, ("main", "second")) for name in "abcdefgh"] == pinned


def test_a_mailstore_that_is_added_takes_its_share_and_moves_nothing_else() -> None:
    names = [f"user{number}" for number in range(600)]
    before = {name: by_hash(name, ("main", "second")) for name in names}
    after = {name: by_hash(name, ("main", "second", "third")) for name in names}
    moved = [name for name in names if before[name] != after[name]]
    assert all(after[name] == "third" for name in moved)
    assert 150 < len(moved) < 250


def test_without_mailstores_there_is_nowhere_to_go() -> None:
    with pytest.raises(Invalid):
        assign("joe", (), {}, {})
