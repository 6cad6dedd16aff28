"""Finding, adding and removing accounts: the rows of ``accounts.db``.

A process asks for names at every login and every recipient, so answers are kept while the database has not
changed, which is a ``stat``. A change made elsewhere (``msadm``) is seen by the next question.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mstore.accounts.administrators import Administrators
from mstore.accounts.assign import assign
from mstore.accounts.database import ACCOUNTS, Database
from mstore.accounts.groups import Groups
from mstore.accounts.login import MAX_BYTES, LoginRules, fold
from mstore.base.errors import Exists, Invalid, NotFound, Unavailable
from mstore.base.ids import AccountId
from mstore.base.values import AssignmentRule

Rows = Sequence[tuple[Any, ...]]

KEPT_ANSWERS = 20_000
MOST_QUOTA = (1 << 62) - 1
"""More than any file system holds, and a number for SQLite and, in units of 1024, for RFC 9208."""
SHARED_ID = AccountId(f"{1:016x}")
"""The account that holds the shared mailboxes."""
_SHARED_KEY = "/shared"
"""No login name and no address leads to it: neither can have a slash."""

_COLUMNS = ", ".join(
    f"account.{name}" for name in ("id", "name", "mailstore", "enabled", "quota_bytes", "quota_messages")
)
_BY_KEY = f"SELECT {_COLUMNS} FROM account WHERE key = ?"
_BY_ALIAS = f"SELECT {_COLUMNS} FROM alias JOIN account ON account.id = alias.account_id WHERE alias.key = ?"


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """What is known about an account without opening its mail."""

    id: AccountId
    name: str
    mailstore: str
    enabled: bool
    quota_bytes: int | None = None
    """How many bytes of mail are allowed; None: any number."""
    quota_messages: int | None = None
    """How many messages are allowed; None: any number."""


class Accounts:
    """The accounts of a site, as one process sees them."""

    def __init__(
        self,
        db_dir: Path,
        rules: LoginRules | None = None,
        administrators: Administrators | None = None,
        mailstores: Mapping[str, Path] | None = None,
        policy: Sequence[AssignmentRule] = (),
    ) -> None:
        self._database = Database(db_dir, ACCOUNTS)
        self._rules = rules or LoginRules()
        self._administrators = administrators or Administrators(self._rules)
        self._mailstores = mailstores or {}
        self._policy = policy
        self.groups = Groups(self._database)
        """The groups of users."""
        self._kept_logins: dict[str, AccountRecord | None] = {}
        self._kept_recipients: dict[str, AccountRecord | None] = {}
        self._kept_others: dict[tuple[str, tuple[str, ...]], Rows] = {}
        """Answers by the question's name and what it was about."""
        self._version = 0

    @property
    def rules(self) -> LoginRules:
        """How names are read here."""
        return self._rules

    def close(self) -> None:
        """Close the database; the next question opens it again."""
        self._forget()
        self._database.close()

    def version(self, recent: bool = False) -> int:
        """A number that is another one whenever answers may be others: a way to keep what follows from them.

        With ``recent`` what others changed in the last moment may not count yet (``Database.is_recent``).
        Raises: Unavailable, Corrupt.
        """
        if not (recent and self._database.is_recent()) and self._database.has_changed():
            self._forget()
        return self._version

    def find(self, name: str) -> AccountRecord | None:
        """The account somebody means who logs in as ``name``, or None.

        Raises: Unavailable, Corrupt.
        """
        if self._database.has_changed():
            self._forget()
        try:
            return self._kept_logins[name]
        except KeyError:
            return self._remember(self._kept_logins, name, aliases=False)

    def resolve(self, local: str, domain: str | None) -> AccountRecord | None:
        """The account that mail to ``local@domain`` is for, by its name or by an alias, or None.

        What follows a ``+`` in an address is the caller's business.
        Raises: Unavailable, Corrupt.
        """
        name = f"{local}@{domain}" if domain else local
        if self._database.has_changed():
            self._forget()
        try:
            return self._kept_recipients[name]
        except KeyError:
            return self._remember(self._kept_recipients, name, aliases=True)

    def list(self) -> list[AccountRecord]:
        """All accounts of users in the order of their names."""
        return [record for record in self.everybody() if record.id != SHARED_ID]

    def everybody(self) -> Sequence[AccountRecord]:
        """All accounts, the one that holds the shared mailboxes among them."""
        query = f"SELECT {_COLUMNS} FROM account ORDER BY key"
        return [_record(row) for row in self._database.read(lambda c: c.execute(query).fetchall())]

    def by_id(self, account_id: AccountId) -> AccountRecord | None:
        """The account with this id, or None.

        Raises: Unavailable, Corrupt.
        """
        query = f"SELECT {_COLUMNS} FROM account WHERE id = ?"
        rows = self._ask("id", query, account_id)
        return _record(rows[0]) if rows else None

    def new_id(self) -> AccountId:
        """An id that no account has had: 64 random bits."""
        return AccountId(secrets.token_hex(8))

    def add(
        self,
        name: str,
        mailstore: str,
        quota_bytes: int | None = None,
        account_id: AccountId | None = None,
        quota_messages: int | None = None,
    ) -> AccountRecord:
        """Make an account; its name is kept as given, and found in any spelling that the rules make equal.

        Durable: the account.
        Raises: Invalid, LimitReached for the name, Exists when an account or an alias has it.
        """
        key = self._rules.new_key(name)
        _check_quota(quota_bytes, quota_messages)
        record = AccountRecord(
            account_id or self.new_id(), name, mailstore, True, quota_bytes, quota_messages
        )
        with self._database.write() as connection:
            self._check_free(connection, key, name)
            connection.execute(
                "INSERT INTO account"
                " (id, key, name, mailstore, enabled, quota_bytes, quota_messages, created_s)"
                " VALUES (?, ?, ?, ?, 1, ?, ?, ?)",
                (record.id, key, name, mailstore, quota_bytes, quota_messages, int(time.time())),
            )
        return record

    def remove(self, record: AccountRecord) -> None:
        """Forget an account with its aliases and memberships; its mail is not touched.

        Durable: the removal.
        Raises: NotFound.
        """
        with self._database.write() as connection:
            done = connection.execute("DELETE FROM account WHERE id = ?", (record.id,))
            if not done.rowcount:
                raise NotFound(f"there is no account {record.name}")
            connection.execute("DELETE FROM sharing WHERE grantee = ?", (f"user:{record.id}",))

    def set_enabled(self, record: AccountRecord, enabled: bool) -> None:
        """Allow or refuse logins to an account.

        Durable: the setting.
        Raises: NotFound.
        """
        with self._database.write() as connection:
            change = "UPDATE account SET enabled = ? WHERE id = ?"
            done = connection.execute(change, (int(enabled), record.id))
            if not done.rowcount:
                raise NotFound(f"there is no account {record.name}")

    def set_quota(
        self, record: AccountRecord, quota_bytes: int | None, quota_messages: int | None
    ) -> AccountRecord:
        """Allow an account so much mail; None: any amount. Gives the record as it is then.

        Durable: the limits. What is there already stays, also above them.
        Raises: Invalid, NotFound.
        """
        _check_quota(quota_bytes, quota_messages)
        with self._database.write() as connection:
            change = "UPDATE account SET quota_bytes = ?, quota_messages = ? WHERE id = ?"
            if not connection.execute(change, (quota_bytes, quota_messages, record.id)).rowcount:
                raise NotFound(f"there is no account {record.name}")
        return replace(record, quota_bytes=quota_bytes, quota_messages=quota_messages)

    def set_mailstore(self, record: AccountRecord, mailstore: str) -> None:
        """Say that an account lives in another mailstore now.

        Durable: the change.
        Raises: NotFound when there is no such account any more, or not where the record says.
        """
        with self._database.write() as connection:
            change = "UPDATE account SET mailstore = ? WHERE id = ? AND mailstore = ?"
            if not connection.execute(change, (mailstore, record.id, record.mailstore)).rowcount:
                raise NotFound(f"there is no account {record.name} in mailstore {record.mailstore}")

    def add_alias(self, alias: str, record: AccountRecord) -> None:
        """Let mail addressed to ``alias`` reach an account.

        Durable: the alias.
        Raises: Invalid, LimitReached, Exists.
        """
        key = self._rules.new_key(alias)
        with self._database.write() as connection:
            self._check_free(connection, key, alias)
            connection.execute(
                "INSERT INTO alias (key, name, account_id) VALUES (?, ?, ?)", (key, alias, record.id)
            )

    def remove_alias(self, alias: str) -> None:
        """Take an alias away.

        Durable: the removal.
        Raises: NotFound.
        """
        with self._database.write() as connection:
            if not connection.execute("DELETE FROM alias WHERE key = ?", (self._rules.key(alias),)).rowcount:
                raise NotFound(f"there is no alias {alias}")

    def aliases(self, record: AccountRecord) -> Sequence[str]:
        """The aliases of an account."""
        query = "SELECT name FROM alias WHERE account_id = ? ORDER BY key"
        return [name for (name,) in self._database.read(lambda c: c.execute(query, (record.id,)).fetchall())]

    def all_aliases(self) -> Sequence[tuple[str, str]]:
        """Every alias with the name of its account."""
        query = (
            "SELECT alias.name, account.name FROM alias JOIN account ON account.id = alias.account_id"
            " ORDER BY alias.key"
        )
        return [(alias, name) for alias, name in self._database.read(lambda c: c.execute(query).fetchall())]

    def assign(self, name: str) -> str:
        """The mailstore that a new account of this name goes to, by ``ms-assignment-policy``.

        Raises: Invalid, Unavailable.
        """
        return assign(name, self._policy, self._mailstores, self.count_by_mailstore(), self._rules)

    def assign_home(self, name: str, mailstore: str | None = None) -> str:
        """The same, or the mailstore given, for an account that is to be made: its directory must be there.

        Raises: Invalid, Unavailable.
        """
        mailstore = mailstore or self.assign(name)
        if not (directory := self._mailstores[mailstore]).is_dir():
            hint = "msadm init makes that of a new mailstore"
            raise Unavailable(f"the mailstore's directory {directory} is missing; {hint}")
        return mailstore

    def count_by_mailstore(self) -> dict[str, int]:
        """How many accounts each mailstore has."""
        query = "SELECT mailstore, count(*) FROM account GROUP BY mailstore"
        return dict(self._database.read(lambda c: c.execute(query).fetchall()))

    # -- for access control lists

    def shared(self) -> AccountRecord | None:
        """The account that holds the shared mailboxes, None as long as there were none.

        Raises: Unavailable, Corrupt.
        """
        return self.by_id(SHARED_ID)

    def make_shared(self, mailstore: str) -> AccountRecord:
        """The account that holds the shared mailboxes, made in this mailstore when there is none.

        Nobody can log in to it: no name leads to it.
        Durable: the account.
        Raises: Unavailable, Corrupt.
        """
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO account (id, key, name, mailstore, enabled, created_s)"
                " VALUES (?, ?, 'shared', ?, 0, ?)",
                (SHARED_ID, _SHARED_KEY, mailstore, int(time.time())),
            )
            query = f"SELECT {_COLUMNS} FROM account WHERE id = ?"
            return _record(connection.execute(query, (SHARED_ID,)).fetchone())

    def is_administrator(self, name: str) -> bool:
        """Whether the account of this name is an administrator's."""
        return self._administrators.includes(name)

    def groups_of(self, account_id: AccountId) -> frozenset[str]:
        """The ids of the groups that an account is in.

        Raises: Unavailable, Corrupt.
        """
        rows = self._ask("groups", "SELECT group_id FROM member WHERE account_id = ?", account_id)
        return frozenset([group_id for (group_id,) in rows])

    def group_id(self, name: str) -> str | None:
        """The id of the group of this name, or None."""
        rows = self._ask("group id", "SELECT id FROM grouping WHERE key = ?", fold(name))
        return str(rows[0][0]) if rows else None

    def group_name(self, group_id: str) -> str | None:
        """The name of the group with this id, or None."""
        rows = self._ask("group name", "SELECT name FROM grouping WHERE id = ?", group_id)
        return str(rows[0][0]) if rows else None

    def grantors(self, identifiers: frozenset[str]) -> Sequence[AccountRecord]:
        """The accounts of users whose lists give something to one of these identifiers, by name.

        Raises: Unavailable, Corrupt.
        """
        query = (
            f"SELECT {_COLUMNS} FROM account WHERE account.id IN"
            f" (SELECT account_id FROM sharing WHERE grantee IN ({','.join('?' * len(identifiers))}))"
            " AND account.key <> '" + _SHARED_KEY + "' ORDER BY account.key"
        )
        return [_record(row) for row in self._ask("grantors", query, *sorted(identifiers))]

    def grantees(self, account_id: AccountId) -> frozenset[str]:
        """The identifiers to which the lists of an account give something, as far as they were noted."""
        rows = self._ask("grantees", "SELECT grantee FROM sharing WHERE account_id = ?", account_id)
        return frozenset([grantee for (grantee,) in rows])

    def note_grants(self, account_id: AccountId, identifiers: Iterable[str], only: bool) -> None:
        """Keep that the lists of an account give something to these identifiers; with ``only``, to no others.

        Durable: what is kept.
        Raises: NotFound when the account was removed, Unavailable, Corrupt.
        """
        with self._database.write() as connection:
            if not connection.execute("SELECT 1 FROM account WHERE id = ?", (account_id,)).fetchall():
                raise NotFound("this account was removed")
            query = "SELECT grantee FROM sharing WHERE account_id = ?"
            kept = {grantee for (grantee,) in connection.execute(query, (account_id,))}
            wanted = set(identifiers)
            connection.executemany(
                "INSERT OR IGNORE INTO sharing (grantee, account_id) VALUES (?, ?)",
                [(grantee, account_id) for grantee in sorted(wanted - kept)],
            )
            connection.executemany(
                "DELETE FROM sharing WHERE grantee = ? AND account_id = ?",
                [(grantee, account_id) for grantee in sorted(kept - wanted)] if only else [],
            )

    def _ask(self, question: str, query: str, *about: str) -> Rows:
        """The rows of a query, kept while the database has not changed."""
        if self._database.has_changed():
            self._forget()
        key = (question, about)
        rows = self._kept_others.get(key)
        if rows is None:
            rows = self._database.read(lambda connection: connection.execute(query, about).fetchall())
            if len(self._kept_others) >= KEPT_ANSWERS:
                self._kept_others.clear()
            self._kept_others[key] = rows
        return rows

    def _remember(
        self, kept: dict[str, AccountRecord | None], name: str, aliases: bool
    ) -> AccountRecord | None:
        if len(name) > 2 * MAX_BYTES:
            return None
        if len(kept) >= KEPT_ANSWERS:
            kept.clear()
        found = self._database.read(lambda connection: self._query(connection, name, aliases))
        kept[name] = found
        return found

    def _forget(self) -> None:
        self._version += 1
        self._kept_logins.clear()
        self._kept_recipients.clear()
        self._kept_others.clear()

    def _query(self, connection: sqlite3.Connection, name: str, aliases: bool) -> AccountRecord | None:
        if "/" in name:
            return None
        for key in self._rules.keys(name):
            rows = connection.execute(_BY_KEY, (key,)).fetchall()
            if not rows and aliases:
                rows = connection.execute(_BY_ALIAS, (key,)).fetchall()
            if rows:
                return _record(rows[0])
        return None

    @staticmethod
    def _check_free(connection: sqlite3.Connection, key: str, name: str) -> None:
        if connection.execute("SELECT 1 FROM account WHERE key = ?", (key,)).fetchall():
            raise Exists(f"there is an account {name} already")
        if connection.execute("SELECT 1 FROM alias WHERE key = ?", (key,)).fetchall():
            raise Exists(f"{name} is an alias already")


def _record(row: tuple[str, str, str, int, int | None, int | None]) -> AccountRecord:
    account_id, name, mailstore, enabled, quota_bytes, quota_messages = row
    return AccountRecord(AccountId(account_id), name, mailstore, bool(enabled), quota_bytes, quota_messages)


def _check_quota(quota_bytes: int | None, quota_messages: int | None) -> None:
    for limit in (quota_bytes, quota_messages):
        if limit is not None and not 0 <= limit <= MOST_QUOTA:
            raise Invalid(f"a quota is a number from 0 to {MOST_QUOTA}")
