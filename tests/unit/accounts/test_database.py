"""Noticing changes of a database file, cheaply and surely."""

import os
import sqlite3
from pathlib import Path

import pytest

from mstore.accounts.accounts import Accounts
from mstore.accounts.database import ACCOUNTS, Database, create_database
from mstore.base.errors import Unavailable


@pytest.fixture
def db(tmp_path: Path) -> Path:
    create_database(tmp_path, ACCOUNTS, 0o600)
    return tmp_path


def asked(database: Database) -> list[str]:
    """What SQLite is asked from now on."""
    statements: list[str] = []
    database.open().set_trace_callback(statements.append)
    return statements


def test_a_file_left_alone_costs_no_question(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstore.accounts.database.SETTLED_NS", 0)
    database = Database(db, ACCOUNTS)
    assert database.has_changed()
    statements = asked(database)
    assert [database.has_changed() for _ in range(3)] == [False, False, False]
    assert statements == []
    Accounts(db).add("joe", "main")
    assert database.has_changed()
    assert not database.has_changed()
    assert len(statements) == 1


def test_a_file_changed_just_now_is_not_believed(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within one tick of the file system's clock look alike to ``stat``."""
    database = Database(db, ACCOUNTS)
    status = os.stat(db / "accounts.db")
    with monkeypatch.context() as patch:
        patch.setattr("mstore.accounts.database.os.stat", lambda path, **_: status)
        assert database.has_changed()
        for name in ("ann", "bob"):
            Accounts(db).add(name, "main")
            assert database.has_changed()
            assert not database.has_changed()


def test_a_change_during_a_commit_is_seen_after_it(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstore.accounts.database.SETTLED_NS", 0)
    database = Database(db, ACCOUNTS)
    assert database.has_changed()
    writer = sqlite3.connect(db / "accounts.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute(
        "INSERT INTO account (id, key, name, mailstore, created_s) VALUES ('1', 'joe', 'joe', 'main', 0)"
    )
    os.utime(db / "accounts.db")
    assert not database.has_changed()
    writer.execute("COMMIT")
    writer.close()
    assert database.has_changed()
    assert not database.has_changed()


def test_a_file_that_is_missing_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="missing"):
        Database(tmp_path, ACCOUNTS).has_changed()


def test_a_file_opened_anew_counts_as_changed(db: Path) -> None:
    database = Database(db, ACCOUNTS)
    assert database.has_changed()
    database.close()
    assert database.has_changed()
