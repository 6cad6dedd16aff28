import pytest

from mstore.accounts.assign import assign
from mstore.base.errors import Invalid
from mstore.base.values import AssignmentRule

STORES = ("main", "second", "third")


def test_without_rules_the_one_with_the_fewest_accounts_is_taken() -> None:
    assert assign("joe", (), STORES, {}) == "main"
    assert assign("joe", (), STORES, {"main": 2, "second": 1, "third": 1}) == "second"


def test_accounts_go_round_in_turn() -> None:
    counts = dict.fromkeys(STORES, 0)
    for number in range(7):
        counts[assign(f"user{number}", (), STORES, counts)] += 1
    assert sorted(counts.values()) == [2, 2, 3]


def test_the_first_rule_that_fits_decides() -> None:
    rules = (
        AssignmentRule("match", "*@Example.org", ("third",)),
        AssignmentRule("match", "boss*", ("second",)),
        AssignmentRule("all", "*", ("main", "second")),
    )
    assert assign("boss@EXAMPLE.ORG", rules, STORES, {}) == "third"
    assert assign("Boss", rules, STORES, {}) == "second"
    assert assign("joe", rules, STORES, {"main": 1}) == "second"


def test_without_mailstores_there_is_nowhere_to_go() -> None:
    with pytest.raises(Invalid):
        assign("joe", (), (), {})
