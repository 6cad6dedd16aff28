"""Who there is, as the store needs to know it: users, groups, administrators, and whose lists name them.

The layer above fulfils these protocols (``mstore.accounts``); here are only the questions, and the two forms
of an identifier: the one people write in access control lists and the one the store keeps (``acl``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from mstore.base.errors import Invalid
from mstore.base.ids import AccountId
from mstore.store.account import Account
from mstore.store.acl import ANONYMOUS, ANYONE, GROUP, NEGATIVE, USER
from mstore.store.store import Record


class Person(Record, Protocol):
    """An account's record, with the name that people know it by."""

    @property
    def name(self) -> str: ...


class Opener(Protocol):
    """Opens accounts (``mstore.store.store.Store``)."""

    def account(self, record: Person) -> Account: ...


class People(Protocol):
    """Who there is (``mstore.accounts.Accounts``)."""

    def version(self, recent: bool = False) -> int: ...
    def find(self, name: str) -> Person | None: ...
    def by_id(self, account_id: AccountId) -> Person | None: ...
    def list(self) -> Sequence[Person]: ...
    def shared(self) -> Person | None: ...
    def assign(self, name: str) -> str: ...
    def make_shared(self, mailstore: str) -> Person: ...
    def is_administrator(self, name: str) -> bool: ...
    def groups_of(self, account_id: AccountId) -> frozenset[str]: ...
    def group_id(self, name: str) -> str | None: ...
    def group_name(self, group_id: str) -> str | None: ...
    def grantors(self, identifiers: frozenset[str]) -> Sequence[Person]: ...
    def note_grants(self, account_id: AccountId, identifiers: Iterable[str], only: bool) -> None: ...


def find_identifier(people: People, identifier: str) -> str:
    """The store's form of an identifier as people write it.

    Raises: Invalid, also for a user or a group that is not there.
    """
    positive = identifier.removeprefix(NEGATIVE)
    if not positive:
        raise Invalid("an identifier cannot be empty")
    sign = NEGATIVE if positive != identifier else ""
    if positive.lower() in (ANYONE, ANONYMOUS):
        return sign + positive.lower()
    if positive.lower().startswith(GROUP):
        group_id = people.group_id(positive[len(GROUP) :])
        if group_id is None:
            raise Invalid(f"there is no {positive}")
        return sign + GROUP + group_id
    person = people.find(positive)
    if person is None:
        raise Invalid(f"there is no user {positive}")
    return sign + USER + person.id


def show_identifier(people: People, identifier: str) -> str | None:
    """An identifier as people write it; None when there is nobody of that id any more."""
    positive = identifier.removeprefix(NEGATIVE)
    sign = NEGATIVE if positive != identifier else ""
    if positive.startswith(GROUP):
        name = people.group_name(positive.removeprefix(GROUP))
        return None if name is None else sign + GROUP + name
    if positive.startswith(USER):
        person = people.by_id(AccountId(positive.removeprefix(USER)))
        return None if person is None else sign + person.name
    return identifier
