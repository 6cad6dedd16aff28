"""The databases as a whole: a copy while they are in use, and taking accounts over from such a copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from mstore.accounts.database import (
    ACCOUNTS,
    PASSWORDS,
    READ_DEADLINE_S,
    WRITE_DEADLINE_S,
    Schema,
    check_schema,
    connect,
)
from mstore.base.errors import Exists, Unavailable
from mstore.base.ids import AccountId

_ACCOUNT_ROWS = (
    "INSERT INTO account SELECT * FROM old.account WHERE id = :id",
    "INSERT OR IGNORE INTO alias SELECT * FROM old.alias"
    " WHERE account_id = :id AND key NOT IN (SELECT key FROM account)",
    "INSERT OR IGNORE INTO member SELECT * FROM old.member"
    " WHERE account_id = :id AND group_id IN (SELECT id FROM grouping)",
    "INSERT OR IGNORE INTO sharing SELECT * FROM old.sharing WHERE account_id = :id",
)
_GROUPS = "INSERT OR IGNORE INTO grouping SELECT * FROM old.grouping"
_PASSWORD_ROWS = (
    "INSERT INTO password SELECT * FROM old.password WHERE account_id = :id",
    "INSERT INTO scram SELECT * FROM old.scram WHERE account_id = :id",
    # their digests are keyed with what is the site's alone
    "INSERT OR IGNORE INTO app_password SELECT * FROM old.app_password WHERE account_id = :id"
    " AND (SELECT group_concat(hex(value)) FROM (SELECT value FROM site ORDER BY name))"
    " IS (SELECT group_concat(hex(value)) FROM (SELECT value FROM old.site ORDER BY name))",
    "INSERT OR IGNORE INTO app_scram SELECT * FROM old.app_scram WHERE account_id = :id"
    " AND label IN (SELECT label FROM app_password JOIN old.app_password USING (account_id, label, digest)"
    " WHERE account_id = :id)",
)


def copy_database(db_dir: Path, schema: Schema, target: Path) -> None:
    """Copy a database as it is at one moment to a new file, which is for its owner alone.

    Durable: the file, but not its name.
    Raises: Unavailable, Corrupt.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    with closing(connect(db_dir / schema.file_name, READ_DEADLINE_S)) as source:
        check_schema(source, db_dir / schema.file_name, schema)
        try:
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                copy.execute("PRAGMA synchronous=FULL")
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise Unavailable(f"cannot copy {schema.file_name}: {error}") from None


def take_accounts(db_dir: Path, copy: Path, ids: Iterable[AccountId], with_groups: bool) -> None:
    """Take accounts over from a copy of ``accounts.db``, with their aliases and memberships, all or none.

    ``with_groups`` takes the groups as well; otherwise they are members only of those that are there.
    Durable: the accounts.
    Raises: Exists when a name is taken, Unavailable, Corrupt.
    """
    _take(db_dir, ACCOUNTS, copy, ids, ([_GROUPS] if with_groups else [], _ACCOUNT_ROWS))


def take_passwords(db_dir: Path, copy: Path, ids: Iterable[AccountId], with_site: bool) -> None:
    """Take over from a copy of ``passwords.db`` what lets people in to accounts that have no password yet.

    ``with_site`` takes the site's own key as well; app passwords are taken where it is the same.
    Durable: the passwords.
    Raises: Unavailable, Corrupt.
    """
    site = ["INSERT OR REPLACE INTO site SELECT * FROM old.site"] if with_site else []
    has_one = "SELECT 1 FROM password WHERE account_id = :id"
    _take(db_dir, PASSWORDS, copy, ids, (site, _PASSWORD_ROWS), has_one)


def _take(
    db_dir: Path,
    schema: Schema,
    copy: Path,
    ids: Iterable[AccountId],
    changes: tuple[Iterable[str], Iterable[str]],
    unless: str | None = None,
) -> None:
    path = db_dir / schema.file_name
    with closing(connect(path, WRITE_DEADLINE_S)) as connection:
        check_schema(connection, path, schema)
        once, each = changes
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=1")
            connection.execute("ATTACH ? AS old", (copy.absolute().as_uri() + "?mode=ro&immutable=1",))
            connection.execute("BEGIN IMMEDIATE")
            for change in once:
                connection.execute(change)
            for account_id in ids:
                if unless and connection.execute(unless, {"id": account_id}).fetchall():
                    continue
                for change in each:
                    connection.execute(change, {"id": account_id})
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise Exists(f"an account is there already, or its name is taken: {error}") from None
        except sqlite3.Error as error:
            raise Unavailable(f"cannot change {path}: {error}") from None
