"""App passwords as they are kept in ``passwords.db``: rows beside those of the account's own password.

Of each there is a digest, for the mechanisms that send passwords, and what the others cannot do without: the
keys of SCRAM, with salt and iterations of the account's own, because a client is told these before anybody
knows which password it has; and the app password itself where a mechanism that is enabled asks for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mstore.accounts.keys import ScramKeys
from mstore.base.errors import Exists, LimitReached
from mstore.base.ids import AccountId

MAX_APP_PASSWORDS = 50
TABLES = """
    CREATE TABLE app_password (
        account_id TEXT NOT NULL, label TEXT NOT NULL, digest BLOB NOT NULL, services TEXT NOT NULL,
        created_s INTEGER NOT NULL, used_day INTEGER, secret BLOB, PRIMARY KEY (account_id, label)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE app_scram (
        account_id TEXT NOT NULL, label TEXT NOT NULL, hash TEXT NOT NULL, salt BLOB NOT NULL,
        iterations INTEGER NOT NULL, stored_key BLOB NOT NULL, server_key BLOB NOT NULL,
        PRIMARY KEY (account_id, label, hash),
        FOREIGN KEY (account_id, label) REFERENCES app_password (account_id, label) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class AppKeys:
    """What is kept of an app password for mechanisms that do not send it."""

    scram: Mapping[str, ScramKeys] = field(default_factory=dict, repr=False)
    """By the name of the hash function."""
    secret: bytes | None = field(default=None, repr=False)
    """As it was shown; None where no mechanism that asks for it is enabled."""


@dataclass(frozen=True, slots=True)
class AppPassword:
    """One app password of an account, as it is kept."""

    label: str
    digest: bytes = field(repr=False)
    services: tuple[str, ...]
    """The only services it is for; empty: all."""
    created_s: int
    used_day: int | None
    """The day (since 1970, UTC) when it was last used; nothing finer is kept."""
    keys: AppKeys = field(default=AppKeys(), repr=False)


def read_apps(connection: sqlite3.Connection, account_id: AccountId) -> tuple[AppPassword, ...]:
    """All of an account, by label."""
    connection.execute("BEGIN")  # one state of the file for both questions
    try:
        query = (
            "SELECT label, digest, services, created_s, used_day, secret FROM app_password"
            " WHERE account_id = ? ORDER BY label"
        )
        rows = connection.execute(query, (account_id,)).fetchall()
        query = (
            "SELECT label, hash, salt, iterations, stored_key, server_key FROM app_scram WHERE account_id = ?"
        )
        made = connection.execute(query, (account_id,)).fetchall() if rows else []
    finally:
        connection.execute("COMMIT")
    scram: dict[str, dict[str, ScramKeys]] = {}
    for label, name, *keys in made:
        scram.setdefault(label, {})[name] = ScramKeys(*keys)
    return tuple(
        AppPassword(
            label, digest, tuple(services.split()), created_s, used_day, AppKeys(scram.get(label, {}), secret)
        )
        for label, digest, services, created_s, used_day, secret in rows
    )


def add_app(
    connection: sqlite3.Connection,
    account_id: AccountId,
    label: str,
    digest: bytes,
    services: tuple[str, ...],
    keys: AppKeys,
) -> None:
    """Add one.

    Raises: Exists when the label is taken, LimitReached.
    """
    query = "SELECT label FROM app_password WHERE account_id = ?"
    labels = [found for (found,) in connection.execute(query, (account_id,))]
    if label in labels:
        raise Exists(f"there is an app password {label} already")
    if len(labels) >= MAX_APP_PASSWORDS:
        raise LimitReached(f"an account cannot have more than {MAX_APP_PASSWORDS} app passwords")
    connection.execute(
        "INSERT INTO app_password (account_id, label, digest, services, created_s) VALUES (?, ?, ?, ?, ?)",
        (account_id, label, digest, " ".join(services), int(time.time())),
    )
    write_app_keys(connection, account_id, label, digest, keys)


def write_app_keys(
    connection: sqlite3.Connection, account_id: AccountId, label: str, digest: bytes, keys: AppKeys
) -> None:
    """Put other keys in the place of those there are, if it still is this app password."""
    change = "UPDATE app_password SET secret = ? WHERE account_id = ? AND label = ? AND digest = ?"
    if not connection.execute(change, (keys.secret, account_id, label, digest)).rowcount:
        return
    connection.execute("DELETE FROM app_scram WHERE account_id = ? AND label = ?", (account_id, label))
    connection.executemany(
        "INSERT INTO app_scram (account_id, label, hash, salt, iterations, stored_key, server_key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (account_id, label, name, made.salt, made.iterations, made.stored_key, made.server_key)
            for name, made in keys.scram.items()
        ],
    )
