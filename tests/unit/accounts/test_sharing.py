from pathlib import Path

import pytest

from mstore.accounts import Accounts, Administrators, LoginRules
from mstore.accounts.accounts import SHARED_ID
from mstore.accounts.database import ACCOUNTS, create_database
from mstore.base.errors import NotFound


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    create_database(tmp_path, ACCOUNTS, 0o600)
    return Accounts(tmp_path, LoginRules.of("example.com", False))


def names(accounts: Accounts, *identifiers: str) -> list[str]:
    return [record.name for record in accounts.grantors(frozenset(identifiers))]


def test_no_name_leads_to_the_account_of_the_shared_mailboxes(accounts: Accounts) -> None:
    assert accounts.shared() is None
    made = accounts.make_shared("main")
    assert accounts.make_shared("second") == made == accounts.shared()
    assert (made.id, made.mailstore, made.enabled) == (SHARED_ID, "main", False)
    for name in ("shared", "/shared", "/SHARED", "/shared@example.com"):
        assert accounts.find(name) is None
        assert accounts.resolve(name, None) is None
        assert accounts.resolve(name, "example.com") is None
    assert accounts.list() == []
    assert accounts.everybody() == [made]
    user = accounts.add("shared", "main")
    assert accounts.find("shared") == user
    assert accounts.list() == [user]
    assert accounts.shared() == made


def test_who_shares_with_whom_is_kept(accounts: Accounts) -> None:
    joe, ann = accounts.add("joe", "main"), accounts.add("ann", "main")
    assert names(accounts, "anyone") == []
    accounts.note_grants(joe.id, ["anyone", f"user:{ann.id}"], False)
    accounts.note_grants(ann.id, ["anyone"], True)
    assert names(accounts, "anyone", "anonymous") == ["ann", "joe"]
    assert names(accounts, f"user:{ann.id}") == ["joe"]
    accounts.note_grants(joe.id, ["group:x"], False)
    assert names(accounts, "group:x", f"user:{ann.id}") == ["joe"]
    accounts.note_grants(joe.id, ["group:x"], True)
    assert names(accounts, f"user:{ann.id}") == []
    accounts.remove(joe)
    assert names(accounts, "group:x", "anyone") == ["ann"]


def test_nothing_is_kept_for_who_was_removed(accounts: Accounts) -> None:
    joe = accounts.add("joe", "main")
    accounts.remove(joe)
    with pytest.raises(NotFound):
        accounts.note_grants(joe.id, ["anyone"], False)


def test_who_is_removed_is_forgotten_as_a_grantee_too(accounts: Accounts) -> None:
    joe, ann = accounts.add("joe", "main"), accounts.add("ann", "main")
    team = accounts.groups.add("team")
    accounts.note_grants(joe.id, [f"user:{ann.id}", f"group:{team.id}"], True)
    accounts.remove(ann)
    accounts.groups.remove(team)
    assert names(accounts, f"user:{ann.id}", f"group:{team.id}") == []


def test_the_shared_account_is_not_among_those_who_share(accounts: Accounts) -> None:
    accounts.make_shared("main")
    accounts.note_grants(SHARED_ID, ["anyone"], True)
    assert names(accounts, "anyone") == []


def test_a_change_elsewhere_is_seen_by_the_next_question(accounts: Accounts, tmp_path: Path) -> None:
    joe = accounts.add("joe", "main")
    assert names(accounts, "anyone") == []
    assert accounts.by_id(joe.id) == joe
    other = Accounts(tmp_path)
    other.note_grants(joe.id, ["anyone"], True)
    assert names(accounts, "anyone") == ["joe"]
    other.remove(joe)
    assert accounts.by_id(joe.id) is None
    assert names(accounts, "anyone") == []


@pytest.mark.parametrize(
    ("default", "single", "name", "is_administrator"),
    [
        (None, False, "boss", True),
        (None, False, "BOSS", True),
        (None, False, "boss@example.com", False),
        ("example.com", False, "boss@example.com", True),
        (None, True, "boss@anywhere", True),
        (None, False, "joe", False),
        (None, False, "joe@admin.example", True),
        (None, False, "joe@ADMIN.example", True),
        (None, False, "joe@notadmin.example", False),
        (None, False, "admin.example", False),
        ("admin.example", False, "joe", True),
        ("admin.example", False, "joe@example.com", False),
        ("admin.example", True, "joe", False),
        (None, True, "joe@admin.example", False),
    ],
)
def test_administrators_are_named_or_of_their_domain(
    default: str | None, single: bool, name: str, is_administrator: bool
) -> None:
    rules = LoginRules.of(default, single)
    administrators = Administrators.of(["boss"], "Admin.example", rules)
    assert administrators.includes(name) is is_administrator


def test_without_options_there_are_no_administrators(accounts: Accounts) -> None:
    assert not accounts.is_administrator("boss")
    assert not Administrators.of([], None, LoginRules()).includes("")
