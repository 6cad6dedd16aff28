"""What a worker hands to every session: settings, store, accounts, the way to authenticate, counters.

The protocols below say what a session may ask of each; the real ones live in layers that this package
may not import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mstore.base.ids import AccountId
from mstore.base.log import Log
from mstore.base.options import Settings


class Counters(Protocol):
    """The worker's counters, by name."""

    def add(self, name: str, amount: int = 1) -> None: ...


class Authenticator(Protocol):
    """Asks authproxyd (``mstore.auth.client``)."""

    def names(self, service: str, stream: Any, passwords: bool) -> tuple[str, ...]: ...
    def has_command(self, name: str) -> bool: ...
    def needs_privacy(self, name: str) -> bool: ...
    def check_password(self, name: bytes, password: bytes, facts: Any) -> Any: ...
    def authenticate(
        self,
        mechanism: str,
        facts: Any,
        initial: bytes | None,
        ask: Callable[[bytes], bytes | None],
    ) -> Any: ...


class AccountFinder(Protocol):
    """The accounts of the site (``mstore.accounts.Accounts``)."""

    def version(self, recent: bool = False) -> int: ...
    def find(self, name: str) -> Any | None: ...
    def resolve(self, local: str, domain: str | None) -> Any | None: ...
    def by_id(self, account_id: AccountId) -> Any | None: ...
    def shared(self) -> Any | None: ...
    def set_quota(self, record: Any, quota_bytes: int | None, quota_messages: int | None) -> Any: ...
    def list(self) -> Sequence[Any]: ...
    def assign(self, name: str) -> str: ...
    def make_shared(self, mailstore: str) -> Any: ...
    def is_administrator(self, name: str) -> bool: ...
    def groups_of(self, account_id: AccountId) -> frozenset[str]: ...
    def group_id(self, name: str) -> str | None: ...
    def group_name(self, group_id: str) -> str | None: ...
    def grantors(self, identifiers: frozenset[str]) -> Sequence[Any]: ...
    def note_grants(self, account_id: AccountId, identifiers: Iterable[str], only: bool) -> None: ...


class StoreOpener(Protocol):
    """The store of this process (``mstore.store.store.Store``)."""

    def account(self, record: Any) -> Any: ...


class Tally:
    """Plain counters, for programs and tests that have no scoreboard."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Count something."""
        self.values[name] = self.values.get(name, 0) + amount

    def snapshot(self) -> Mapping[str, int]:
        """What was counted so far."""
        return dict(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What the sessions of one worker share. It never changes, so what follows from it may be kept."""

    settings: Settings
    store: StoreOpener
    accounts: AccountFinder
    authenticate: Authenticator
    tls: Any | None
    counters: Counters
    over_quota: bool = False
    trusted: bool = False
    """Whoever has come in may do all there is to do: the door was a Unix socket, in a directory that not
    everybody may enter."""
    log: Log = field(default_factory=Log)
