"""Groups of users, for access control lists: making them, and who is in them.

A group has an id of its own, and lists name that: a group that is removed and made again under the same name
gets nothing that the old one had.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from mstore.accounts.database import Database
from mstore.accounts.login import check_account_name, fold
from mstore.base.errors import Exists, Invalid, LimitReached, NotFound
from mstore.base.ids import AccountId

MAX_GROUPS_OF_ONE = 200
"""So many groups somebody can be in: each is asked for at every question about rights."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group and how many are in it."""

    id: str
    name: str
    members: int = 0


class Groups:
    """The groups of a site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[Group]:
        """All groups in the order of their names."""
        query = (
            "SELECT id, name, (SELECT count(*) FROM member WHERE group_id = id) FROM grouping ORDER BY key"
        )
        return [Group(*row) for row in self._database.read(lambda c: c.execute(query).fetchall())]

    def find(self, name: str) -> Group | None:
        """The group of this name, or None."""
        query = (
            "SELECT id, name, (SELECT count(*) FROM member WHERE group_id = id) FROM grouping WHERE key = ?"
        )
        rows = self._database.read(lambda c: c.execute(query, (fold(name),)).fetchall())
        return Group(*rows[0]) if rows else None

    def members(self, group: Group) -> Sequence[str]:
        """The names of the accounts in a group."""
        query = (
            "SELECT name FROM member JOIN account ON account.id = account_id WHERE group_id = ? ORDER BY key"
        )
        return [name for (name,) in self._database.read(lambda c: c.execute(query, (group.id,)).fetchall())]

    def add(self, name: str) -> Group:
        """Make a group, with nobody in it.

        Durable: the group.
        Raises: Invalid, LimitReached for the name, Exists.
        """
        check_account_name(name)
        group = Group(secrets.token_hex(8), name)
        with self._database.write() as connection:
            if connection.execute("SELECT 1 FROM grouping WHERE key = ?", (fold(name),)).fetchall():
                raise Exists(f"there is a group {name} already")
            connection.execute(
                "INSERT INTO grouping (id, key, name) VALUES (?, ?, ?)", (group.id, fold(name), name)
            )
        return group

    def remove(self, group: Group) -> None:
        """Forget a group; what lists give to it nobody has any more.

        Durable: the removal.
        Raises: NotFound.
        """
        with self._database.write() as connection:
            if not connection.execute("DELETE FROM grouping WHERE id = ?", (group.id,)).rowcount:
                raise NotFound(f"there is no group {group.name}")
            connection.execute("DELETE FROM sharing WHERE grantee = ?", (f"group:{group.id}",))

    def join(self, group: Group, account_id: AccountId) -> None:
        """Put an account into a group.

        Durable: the membership.
        Raises: Exists when it is in it already, LimitReached, NotFound when one of them is gone.
        """
        with self._database.write() as connection:
            count = "SELECT count(*) FROM member WHERE account_id = ?"
            if connection.execute(count, (account_id,)).fetchone()[0] >= MAX_GROUPS_OF_ONE:
                raise LimitReached(f"nobody can be in more than {MAX_GROUPS_OF_ONE} groups")
            known = "SELECT 1 FROM member WHERE group_id = ? AND account_id = ?"
            if connection.execute(known, (group.id, account_id)).fetchall():
                raise Exists(f"the user is in the group {group.name} already")
            try:
                connection.execute(
                    "INSERT INTO member (group_id, account_id) VALUES (?, ?)", (group.id, account_id)
                )
            except sqlite3.IntegrityError:
                raise NotFound("the group or the user was removed meanwhile") from None

    def leave(self, group: Group, account_id: AccountId) -> None:
        """Take an account out of a group.

        Durable: the change.
        Raises: Invalid when it is not in it.
        """
        with self._database.write() as connection:
            change = "DELETE FROM member WHERE group_id = ? AND account_id = ?"
            if not connection.execute(change, (group.id, account_id)).rowcount:
                raise Invalid(f"the user is not in the group {group.name}")
