import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mstore.accounts import AccountRecord, Accounts, LoginRules, missing_databases
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.accounts.passwords import Passwords
from mstore.base.errors import Corrupt, Exists, Invalid, NotFound, Unavailable
from mstore.base.ids import AccountId


@pytest.fixture
def db(tmp_path: Path) -> Path:
    create_database(tmp_path, ACCOUNTS, 0o600)
    create_database(tmp_path, PASSWORDS, 0o600)
    return tmp_path


@pytest.fixture
def accounts(db: Path) -> Accounts:
    return Accounts(db, LoginRules.of("example.com", False))


def test_an_account_is_found_in_every_spelling(accounts: Accounts) -> None:
    record = accounts.add("Jöe", "main", 5000)
    assert record == AccountRecord(record.id, "Jöe", "main", True, 5000)
    assert len(record.id) == 16
    for name in ("jöe", "JÖE@EXAMPLE.COM", "jo\u0308e@example.com"):
        assert accounts.find(name) == record
    assert accounts.resolve("JÖE", "Example.com") == record
    assert accounts.find("jöe@other.example") is None
    assert accounts.resolve("jöe", "other.example") is None


def test_limits_are_set_and_seen_by_other_processes(accounts: Accounts, db: Path) -> None:
    record = accounts.add("joe", "main", quota_messages=7)
    assert (record.quota_bytes, record.quota_messages) == (None, 7)
    others = Accounts(db)
    assert others.find("joe") == record
    changed = accounts.set_quota(record, 2048, None)
    assert others.find("joe") == changed
    assert (changed.quota_bytes, changed.quota_messages) == (2048, None)
    accounts.remove(record)
    with pytest.raises(NotFound):
        accounts.set_quota(record, 1, 1)


@pytest.mark.parametrize("limits", [(-1, None), (None, -1), (1 << 62, None), (None, 1 << 63)])
def test_limits_that_cannot_be(accounts: Accounts, limits: tuple[int | None, int | None]) -> None:
    record = accounts.add("joe", "main")
    with pytest.raises(Invalid):
        accounts.set_quota(record, *limits)
    with pytest.raises(Invalid):
        accounts.add("jim", "main", limits[0], quota_messages=limits[1])
    assert accounts.find("joe") == record


def test_one_account_has_one_name(accounts: Accounts) -> None:
    accounts.add("joe", "main")
    for name in ("JOE", "joe@example.com"):
        with pytest.raises(Exists):
            accounts.add(name, "main")
    accounts.add("joe@other.example", "main")


def test_bad_values_are_refused(accounts: Accounts) -> None:
    with pytest.raises(Invalid):
        accounts.add("a b", "main")
    with pytest.raises(Invalid):
        accounts.add("joe", "main", -1)
    assert accounts.list() == []


def test_a_name_made_before_the_domain_was_the_default_is_still_found(db: Path) -> None:
    record = Accounts(db).add("joe@example.com", "main")
    assert Accounts(db, LoginRules.of("example.com", False)).find("joe") == record
    assert Accounts(db, LoginRules.of(None, True)).find("joe@example.com") == record


def test_single_domain_ignores_the_domain(db: Path) -> None:
    accounts = Accounts(db, LoginRules.of(None, True))
    record = accounts.add("joe", "main")
    assert accounts.resolve("joe", "anything.example") == record


def test_aliases_are_for_mail_and_not_for_logins(accounts: Accounts) -> None:
    record = accounts.add("joe", "main")
    accounts.add_alias("postmaster", record)
    assert accounts.resolve("Postmaster", "example.com") == record
    assert accounts.find("postmaster") is None
    assert accounts.aliases(record) == ["postmaster"]
    with pytest.raises(Exists):
        accounts.add("postmaster", "main")
    with pytest.raises(Exists):
        accounts.add_alias("JOE", record)
    accounts.remove_alias("POSTMASTER")
    with pytest.raises(NotFound):
        accounts.remove_alias("postmaster")
    assert accounts.resolve("postmaster", None) is None


def test_a_removed_account_takes_its_aliases_along(accounts: Accounts) -> None:
    record = accounts.add("joe", "main")
    accounts.add_alias("chief", record)
    accounts.remove(record)
    assert accounts.find("joe") is accounts.resolve("chief", None) is None
    with pytest.raises(NotFound):
        accounts.remove(record)
    assert accounts.add("chief", "main").id != record.id


def test_changes_of_another_process_are_seen_at_once(accounts: Accounts, db: Path) -> None:
    assert accounts.find("joe") is None
    code = "import sys; from pathlib import Path; from mstore.accounts import Accounts\n"
    code += "Accounts(Path(sys.argv[1])).add('joe', 'main')"
    subprocess.run([sys.executable, "-c", code, str(db)], check=True)
    record = accounts.find("joe")
    assert record is not None
    other = Accounts(db)
    other.set_enabled(record, False)
    found = accounts.find("joe")
    assert found is not None
    assert not found.enabled
    other.remove(record)
    assert accounts.find("joe") is None


def test_lists_and_counts(accounts: Accounts) -> None:
    for number, name in enumerate(["b", "C", "a"]):
        accounts.add(name, "main" if number else "second")
    assert [record.name for record in accounts.list()] == ["a", "b", "C"]
    assert accounts.count_by_mailstore() == {"main": 2, "second": 1}
    record = accounts.list()[0]
    assert accounts.by_id(record.id) == record
    assert accounts.by_id(AccountId("0" * 16)) is None


def test_known_answers_are_given_while_a_commit_is_under_way(
    accounts: Accounts, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = accounts.add("joe", "main")
    assert accounts.find("joe") == record
    writer = sqlite3.connect(db / "accounts.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("mstore.accounts.database.blocking.sleep", lambda seconds: pytest.fail("it waits"))
    assert accounts.find("joe") == record
    writer.execute("ROLLBACK")
    writer.close()


def test_an_unknown_answer_waits_for_the_commit(
    accounts: Accounts, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add("joe", "main")
    writer = sqlite3.connect(db / "accounts.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            writer.execute("ROLLBACK")

    monkeypatch.setattr("mstore.accounts.database.blocking.sleep", pause)
    assert accounts.find("joe") is not None and len(pauses) == 3
    writer.close()


def test_a_busy_database_is_said_to_be_busy(
    accounts: Accounts, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.list()
    monkeypatch.setattr("mstore.accounts.database.READ_DEADLINE_S", 0.02)
    writer = sqlite3.connect(db / "accounts.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="locked"):
        accounts.find("joe")
    writer.close()


def test_a_failed_change_leaves_nothing(accounts: Accounts, db: Path) -> None:
    accounts.add("joe", "main")
    with pytest.raises(sqlite3.IntegrityError):
        accounts.add("jim", "main", account_id=accounts.list()[0].id)
    assert [record.name for record in accounts.list()] == ["joe"]


def test_long_names_are_not_kept(accounts: Accounts) -> None:
    assert accounts.find("x" * 100_000) is None
    assert not accounts._kept_logins


def test_missing_databases_are_named(db: Path) -> None:
    assert missing_databases(db) == []
    (db / "passwords" / "passwords.db").unlink()
    assert missing_databases(db) == [db / "passwords" / "passwords.db"]
    with pytest.raises(Unavailable, match=r"passwords\.db is missing"):
        Passwords(db).open()
    assert not (db / "passwords" / "passwords.db").exists()


def test_a_closed_directory_has_nothing_missing(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(Unavailable, match=r"cannot look into .*: Permission denied"):
        missing_databases(db)


def test_what_is_no_database_of_ours_is_refused(db: Path) -> None:
    (db / "accounts.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(Corrupt):
        Accounts(db).find("joe")
    (db / "accounts.db").unlink()
    sqlite3.connect(db / "accounts.db").execute("CREATE TABLE x (y)")
    with pytest.raises(Corrupt, match="not a database of M-Store"):
        Accounts(db).find("joe")


def test_a_newer_format_is_refused(db: Path) -> None:
    connection = sqlite3.connect(db / "accounts.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Corrupt, match="format 99"):
        Accounts(db).find("joe")


def test_an_existing_database_is_never_made_again(db: Path) -> None:
    before = (db / "accounts.db").read_bytes()
    with pytest.raises(Exists):
        create_database(db, ACCOUNTS, 0o600)
    assert (db / "accounts.db").read_bytes() == before
    assert sorted(path.name for path in db.iterdir()) == ["accounts.db", "passwords"]


def test_databases_are_private(db: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in db.rglob("*")}
    assert modes == {"accounts.db": 0o600, "passwords": 0o700, "passwords.db": 0o600}
