"""The password verifiers, in a file that only authproxyd and the administrator open.

A verifier is what a hash function made of a password; kinds and labels leave room for keys of other
mechanisms and for several passwords of one account. Passwords themselves are never stored, logged or shown.
"""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path

from mstore.accounts.database import PASSWORDS, Database
from mstore.accounts.keys import Keys, ScramKeys
from mstore.base.errors import Corrupt
from mstore.base.ids import AccountId

PASSWORD, SCRAM, SECRET = "password", "scram", "secret"
MAIN = ""
SITE, SITE_KEY = "", "site-key"
"""The row that belongs to no account."""
SITE_KEY_BYTES = 32
KEPT_VERIFIERS = 20_000


class Passwords:
    """The rows of ``passwords.db``."""

    def __init__(self, db_dir: Path) -> None:
        self._database = Database(db_dir, PASSWORDS)
        self._kept: dict[AccountId, str | None] = {}
        self._site_key = b""

    def open(self) -> None:
        """Open the file now, while this process may.

        Raises: Unavailable, Corrupt.
        """
        self._database.open()

    def close(self) -> None:
        """Close the file."""
        self._kept.clear()
        self._database.close()

    def verifier(self, account_id: AccountId) -> str | None:
        """The verifier of an account's password as it is stored at this moment, or None.

        Raises: Unavailable, Corrupt.
        """
        if self._database.has_changed() or len(self._kept) >= KEPT_VERIFIERS:
            self._kept.clear()
        try:
            return self._kept[account_id]
        except KeyError:
            pass
        query = "SELECT value FROM verifier WHERE account_id = ? AND kind = ? AND label = ?"
        rows = self._database.read(lambda c: c.execute(query, (account_id, PASSWORD, MAIN)).fetchall())
        found: str | None = rows[0][0] if rows else None
        self._kept[account_id] = found
        return found

    def keys(self, account_id: AccountId) -> Keys | None:
        """All that is kept of an account's password at this moment, or None.

        Raises: Unavailable, Corrupt.
        """
        verifier = self.verifier(account_id)
        if verifier is None:
            return None
        query = "SELECT kind, label, value FROM verifier WHERE account_id = ? AND kind IN (?, ?)"
        rows = self._database.read(lambda c: c.execute(query, (account_id, SCRAM, SECRET)).fetchall())
        scram, secret = {}, None
        for kind, label, value in rows:
            if kind == SECRET:
                secret = base64.b64decode(value)
                continue
            iterations, *parts = value.split(":")
            salt, stored, server = map(base64.b64decode, parts)
            scram[label] = ScramKeys(salt, int(iterations), stored, server)
        return Keys(verifier, scram, secret)

    def site_key(self) -> bytes:
        """A secret of the site, made when first asked for: while this process may write.

        Durable: the key.
        Raises: Unavailable, Corrupt.
        """
        if not self._site_key:
            query = "SELECT value FROM verifier WHERE account_id = ? AND kind = ?"
            rows = self._database.read(lambda c: c.execute(query, (SITE, SITE_KEY)).fetchall())
            if not rows:
                made = base64.b64encode(secrets.token_bytes(SITE_KEY_BYTES)).decode()
                with self._database.write() as connection:
                    connection.execute(
                        "INSERT OR IGNORE INTO verifier VALUES (?, ?, '', ?, ?)",
                        (SITE, SITE_KEY, made, int(time.time())),
                    )
                rows = self._database.read(lambda c: c.execute(query, (SITE, SITE_KEY)).fetchall())
            self._site_key = base64.b64decode(rows[0][0])
            if len(self._site_key) != SITE_KEY_BYTES:
                raise Corrupt(f"{self._database.path}: the site's key is damaged")
        return self._site_key

    def set_keys(self, account_id: AccountId, keys: Keys) -> None:
        """Keep a new password by all its keys.

        Durable: the keys.
        Raises: Unavailable, Corrupt.
        """
        rows = [(PASSWORD, MAIN, keys.verifier)]
        if keys.secret is not None:
            rows.append((SECRET, MAIN, base64.b64encode(keys.secret).decode()))
        for name, scram in keys.scram.items():
            parts = (scram.salt, scram.stored_key, scram.server_key)
            value = ":".join([str(scram.iterations), *(base64.b64encode(part).decode() for part in parts)])
            rows.append((SCRAM, name, value))
        now_s = int(time.time())
        with self._database.write() as connection:
            connection.execute("DELETE FROM verifier WHERE account_id = ?", (account_id,))
            connection.executemany(
                "INSERT INTO verifier (account_id, kind, label, value, changed_s) VALUES (?, ?, ?, ?, ?)",
                [(account_id, *row, now_s) for row in rows],
            )

    def set_verifier(self, account_id: AccountId, verifier: str) -> None:
        """Keep the verifier of a new password, and nothing else of it.

        Durable: the verifier.
        Raises: Unavailable, Corrupt.
        """
        self.set_keys(account_id, Keys(verifier))

    def remove(self, account_id: AccountId) -> None:
        """Forget everything that could let somebody into an account.

        Durable: the removal.
        Raises: Unavailable, Corrupt.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM verifier WHERE account_id = ?", (account_id,))

    def count(self) -> int:
        """How many verifiers there are."""
        query = "SELECT count(*) FROM verifier WHERE kind = ?"
        rows = self._database.read(lambda c: c.execute(query, (PASSWORD,)).fetchall())
        count: int = rows[0][0]
        return count
