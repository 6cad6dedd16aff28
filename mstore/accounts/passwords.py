"""The password verifiers, in a file that only authproxyd and the administrator open.

A verifier is what a hash function made of a password; kinds and labels leave room for keys of other
mechanisms and for several passwords of one account. Passwords themselves are never stored, logged or shown.
"""

from __future__ import annotations

import time
from pathlib import Path

from mstore.accounts.database import PASSWORDS, Database
from mstore.base.ids import AccountId

PASSWORD = "password"
MAIN = ""
KEPT_VERIFIERS = 20_000


class Passwords:
    """The rows of ``passwords.db``."""

    def __init__(self, db_dir: Path) -> None:
        self._database = Database(db_dir, PASSWORDS)
        self._kept: dict[AccountId, str | None] = {}

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

    def set_verifier(self, account_id: AccountId, verifier: str) -> None:
        """Keep the verifier of a new password.

        Durable: the verifier.
        Raises: Unavailable, Corrupt.
        """
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO verifier (account_id, kind, label, value, changed_s)"
                " VALUES (?, ?, ?, ?, ?)",
                (account_id, PASSWORD, MAIN, verifier, int(time.time())),
            )

    def remove(self, account_id: AccountId) -> None:
        """Forget everything that could let somebody into an account.

        Durable: the removal.
        Raises: Unavailable, Corrupt.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM verifier WHERE account_id = ?", (account_id,))

    def count(self) -> int:
        """How many verifiers there are."""
        rows = self._database.read(lambda c: c.execute("SELECT count(*) FROM verifier").fetchall())
        count: int = rows[0][0]
        return count
