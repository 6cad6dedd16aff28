"""What lets people in: verifiers, keys and app passwords, in a file that only authproxyd and the
administrator open.

Passwords themselves are kept only where a mechanism that is enabled cannot do without (``keys.py``). An app
password is one of several that an account may have besides its own, each for a program or a device, known by
its label (``apppasswords.py``).
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from mstore.accounts.apppasswords import AppKeys, AppPassword, add_app, read_apps, write_app_keys
from mstore.accounts.database import PASSWORDS
from mstore.accounts.keys import Keys, ScramKeys
from mstore.accounts.vault import Vault
from mstore.accounts.verifier import setting_of
from mstore.base.errors import NotFound
from mstore.base.ids import AccountId

KEPT_ANSWERS = 20_000
SITE_KEY_BYTES = 32


class Passwords:
    """The rows of ``passwords.db``."""

    def __init__(self, db_dir: Path) -> None:
        self._vault = Vault(db_dir, PASSWORDS)
        self._kept_keys: dict[AccountId, Keys | None] = {}
        self._kept_apps: dict[AccountId, tuple[AppPassword, ...]] = {}
        self._site_key: bytes | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._vault.path

    def open(self) -> None:
        """Open the file now, while this process may; afterwards it can be read and written for good.

        Raises: Unavailable, Corrupt.
        """
        self._vault.open()

    def close(self) -> None:
        """Close the file."""
        self._forget()
        self._vault.close()

    def keys(self, account_id: AccountId) -> Keys | None:
        """What is kept of an account's password at this moment, or None.

        Raises: Unavailable, Corrupt.
        """
        self._look()
        try:
            return self._kept_keys[account_id]
        except KeyError:
            pass
        found = self._kept_keys[account_id] = self._vault.read(lambda c: _read_keys(c, account_id))
        return found

    def set_keys(self, account_id: AccountId, keys: Keys) -> None:
        """Keep what was made of a new password, and nothing of the one before.

        Durable: the keys.
        Raises: Unavailable, Corrupt.
        """
        self._vault.write(lambda c: _write_keys(c, account_id, keys))

    def add_keys(self, account_id: AccountId, keys: Keys) -> bool:
        """Keep them if nothing is kept of a password of this account; False when something is.

        Durable: the keys.
        Raises: Unavailable, Corrupt.
        """

        def change(connection: sqlite3.Connection) -> bool:
            query = "SELECT 1 FROM password WHERE account_id = ?"
            if connection.execute(query, (account_id,)).fetchall():
                return False
            _write_keys(connection, account_id, keys)
            return True

        return self._vault.write(change)

    def replace_keys(self, account_id: AccountId, before: Keys, keys: Keys) -> bool:
        """Keep better keys of the same password; False when another password was set meanwhile.

        Durable: the keys.
        Raises: Unavailable, Corrupt.
        """

        def change(connection: sqlite3.Connection) -> bool:
            query = "SELECT 1 FROM password WHERE account_id = ? AND verifier = ?"
            if not connection.execute(query, (account_id, before.verifier)).fetchall():
                return False
            _write_keys(connection, account_id, keys)
            return True

        return self._vault.write(change)

    def drop_secrets(self) -> int:
        """Forget all passwords that are kept themselves; how many these were.

        Durable: the removal.
        Raises: Unavailable, Corrupt.
        """
        dropped = 0
        for table in ("password", "app_password"):
            query = f"SELECT 1 FROM {table} WHERE secret IS NOT NULL LIMIT 1"
            if self._vault.read(lambda c, query=query: c.execute(query).fetchall()):  # type: ignore[misc]
                change = f"UPDATE {table} SET secret = NULL WHERE secret IS NOT NULL"
                dropped += self._vault.write(lambda c, change=change: c.execute(change).rowcount)  # type: ignore[misc]
        return dropped

    def remove(self, account_id: AccountId) -> None:
        """Forget everything that could let somebody into an account.

        Durable: the removal.
        Raises: Unavailable, Corrupt.
        """

        def change(connection: sqlite3.Connection) -> None:
            for table in ("scram", "password", "app_scram", "app_password"):
                connection.execute(f"DELETE FROM {table} WHERE account_id = ?", (account_id,))

        self._vault.write(change)

    def site_key(self) -> bytes:
        """32 random bytes that are this site's alone, made when they are first asked for.

        Durable: the key.
        Raises: Unavailable, Corrupt.
        """
        if self._site_key is None:
            query = "SELECT value FROM site WHERE name = 'key'"
            rows = self._vault.read(lambda c: c.execute(query).fetchall())
            if not rows:
                made = secrets.token_bytes(SITE_KEY_BYTES)
                insert = "INSERT OR IGNORE INTO site (name, value) VALUES ('key', ?)"
                self._vault.write(lambda c: c.execute(insert, (made,)).rowcount)
                rows = self._vault.read(lambda c: c.execute(query).fetchall())
            self._site_key = bytes(rows[0][0])
        return self._site_key

    def samples(self, most: int) -> Mapping[str, str]:
        """One verifier for each setting by which verifiers were made, of the settings that most have.

        Raises: Unavailable, Corrupt.
        """
        query = (
            "SELECT setting, min(verifier) FROM password WHERE setting <> ''"
            " GROUP BY setting ORDER BY count(*) DESC, setting LIMIT ?"
        )
        return dict(self._vault.read(lambda c: c.execute(query, (most,)).fetchall()))

    def settings(self) -> Mapping[AccountId, str]:
        """How the verifier of each account was made.

        Raises: Unavailable, Corrupt.
        """
        query = "SELECT account_id, setting FROM password"
        return dict(self._vault.read(lambda c: c.execute(query).fetchall()))

    def count(self) -> int:
        """How many accounts have a password."""
        ((count,),) = self._vault.read(lambda c: c.execute("SELECT count(*) FROM password").fetchall())
        return int(count)

    # -- app passwords

    def apps(self, account_id: AccountId) -> tuple[AppPassword, ...]:
        """The app passwords of an account, by label.

        Raises: Unavailable, Corrupt.
        """
        self._look()
        try:
            return self._kept_apps[account_id]
        except KeyError:
            pass
        found = self._kept_apps[account_id] = self._vault.read(lambda c: read_apps(c, account_id))
        return found

    def add_app(
        self,
        account_id: AccountId,
        label: str,
        digest: bytes,
        services: tuple[str, ...],
        keys: AppKeys | None = None,
    ) -> None:
        """Keep the digest and the keys of a new app password.

        Durable: the app password.
        Raises: Exists when the label is taken, LimitReached, Unavailable, Corrupt.
        """
        made = keys or AppKeys()
        self._vault.write(lambda c: add_app(c, account_id, label, digest, services, made))

    def replace_app_keys(self, account_id: AccountId, app: AppPassword, keys: AppKeys) -> None:
        """Keep better keys of the same app password; nothing when it is not there any more.

        Durable: the keys.
        Raises: Unavailable, Corrupt.
        """
        self._vault.write(lambda c: write_app_keys(c, account_id, app.label, app.digest, keys))

    def remove_app(self, account_id: AccountId, label: str) -> None:
        """Let an app password count no more.

        Durable: the removal.
        Raises: NotFound, Unavailable, Corrupt.
        """
        change = "DELETE FROM app_password WHERE account_id = ? AND label = ?"
        if not self._vault.write(lambda c: c.execute(change, (account_id, label)).rowcount):
            raise NotFound(f"there is no app password {label}")

    def note_app_used(self, account_id: AccountId, label: str, day: int) -> None:
        """Keep the day of an app password's last use.

        Durable: the day.
        Raises: Unavailable, Corrupt.
        """
        change = "UPDATE app_password SET used_day = ? WHERE account_id = ? AND label = ?"
        self._vault.write(lambda c: c.execute(change, (day, account_id, label)).rowcount)

    def _look(self) -> None:
        if self._vault.has_changed() or len(self._kept_keys) + len(self._kept_apps) >= KEPT_ANSWERS:
            self._forget()

    def _forget(self) -> None:
        self._kept_keys.clear()
        self._kept_apps.clear()


def _read_keys(connection: sqlite3.Connection, account_id: AccountId) -> Keys | None:
    connection.execute("BEGIN")  # one state of the file for both questions
    try:
        query = "SELECT verifier, secret FROM password WHERE account_id = ?"
        rows = connection.execute(query, (account_id,)).fetchall()
        query = "SELECT hash, salt, iterations, stored_key, server_key FROM scram WHERE account_id = ?"
        scram = connection.execute(query, (account_id,)).fetchall()
    finally:
        connection.execute("COMMIT")
    if not rows:
        return None
    ((verifier, secret),) = rows
    return Keys(verifier, {name: ScramKeys(*made) for name, *made in scram}, secret)


def _write_keys(connection: sqlite3.Connection, account_id: AccountId, keys: Keys) -> None:
    connection.execute("DELETE FROM scram WHERE account_id = ?", (account_id,))
    connection.execute(
        "INSERT INTO password (account_id, verifier, setting, secret, changed_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET verifier = excluded.verifier, setting = excluded.setting,"
        " secret = excluded.secret, changed_s = excluded.changed_s",
        (account_id, keys.verifier, setting_of(keys.verifier), keys.secret, int(time.time())),
    )
    connection.executemany(
        "INSERT INTO scram (account_id, hash, salt, iterations, stored_key, server_key)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (account_id, name, made.salt, made.iterations, made.stored_key, made.server_key)
            for name, made in keys.scram.items()
        ],
    )
