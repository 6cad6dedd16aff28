from pathlib import Path

import pytest

from mstore.accounts import Accounts, LoginRules
from mstore.accounts.database import ACCOUNTS, create_database
from mstore.accounts.groups import MAX_GROUPS_OF_ONE
from mstore.base.errors import Exists, Invalid, LimitReached, NotFound


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    create_database(tmp_path, ACCOUNTS, 0o600)
    return Accounts(tmp_path, LoginRules.of("example.com", False))


def test_groups_are_made_filled_and_removed(accounts: Accounts) -> None:
    groups = accounts.groups
    joe, ann = accounts.add("joe", "main"), accounts.add("Ann", "main")
    team = groups.add("Tëam")
    groups.add("a")
    groups.join(team, joe.id)
    groups.join(team, ann.id)
    assert [(group.name, group.members) for group in groups.list()] == [("a", 0), ("Tëam", 2)]
    assert groups.members(team) == ["Ann", "joe"]
    assert accounts.groups_of(joe.id) == {team.id}
    assert accounts.group_id("TËAM") == team.id
    assert accounts.group_name(team.id) == "Tëam"
    groups.leave(team, joe.id)
    assert accounts.groups_of(joe.id) == frozenset()
    accounts.remove(ann)
    assert groups.members(team) == []
    groups.remove(team)
    assert accounts.group_id("Tëam") is None
    assert accounts.group_name(team.id) is None
    assert groups.add("Tëam").id != team.id


def test_what_cannot_be_is_refused(accounts: Accounts) -> None:
    groups = accounts.groups
    joe = accounts.add("joe", "main")
    team = groups.add("team")
    groups.join(team, joe.id)
    with pytest.raises(Exists):
        groups.add("TEAM")
    for name in ("", "a b", "a/b", "-a", "anyone", "Anonymous", "group:x"):
        with pytest.raises(Invalid):
            groups.add(name)
    with pytest.raises(Exists):
        groups.join(team, joe.id)
    with pytest.raises(Invalid):
        groups.leave(groups.add("other"), joe.id)
    accounts.remove(joe)
    with pytest.raises(NotFound):
        groups.join(team, joe.id)
    groups.remove(team)
    with pytest.raises(NotFound):
        groups.remove(team)


def test_nobody_is_in_groups_without_number(accounts: Accounts) -> None:
    joe = accounts.add("joe", "main")
    with accounts._database.write() as connection:
        for number in range(MAX_GROUPS_OF_ONE):
            connection.execute("INSERT INTO grouping VALUES (?, ?, ?)", (f"{number:016x}", f"g{number}", "g"))
            connection.execute("INSERT INTO member VALUES (?, ?)", (f"{number:016x}", joe.id))
    with pytest.raises(LimitReached):
        accounts.groups.join(accounts.groups.add("more"), joe.id)


def test_nobody_is_called_like_everybody(accounts: Accounts) -> None:
    joe = accounts.add("joe", "main")
    for name in ("anyone", "ANYONE", "anonymous", "Anonymous@example.com"):
        with pytest.raises(Invalid):
            accounts.add(name, "main")
        with pytest.raises(Invalid):
            accounts.add_alias(name, joe)
    accounts.add("anyone@example.org", "main")


def test_everybodys_groups_are_asked_for_once(accounts: Accounts, tmp_path: Path) -> None:
    joe = accounts.add("joe", "main")
    team = accounts.groups.add("team")
    assert accounts.groups_of(joe.id) == frozenset()
    Accounts(tmp_path).groups.join(team, joe.id)  # another process
    assert accounts.groups_of(joe.id) == {team.id}
