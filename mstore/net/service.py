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
    def add_of(self, name: str, kind: str) -> None: ...
    def observe(self, name: str, seconds: float) -> None: ...


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


class Admission(Protocol):
    """Counts the sessions of each user, over all workers of the daemon."""

    def admit(self, user: str) -> bool: ...
    def dismiss(self, user: str) -> None: ...


class Everybody:
    """Admits whoever comes, for programs and tests that have no other workers."""

    def admit(self, user: str) -> bool:
        """Yes."""
        return True

    def dismiss(self, user: str) -> None:
        """Nothing was counted."""


def tell_nobody() -> None:
    """What a session does at a login while nobody wants to hear of it."""


class StoreOpener(Protocol):
    """The store of this process (``mstore.store.store.Store``)."""

    def account(self, record: Any) -> Any: ...


class Follower(Protocol):
    """Is told whose a session is, to show it to those who want to see it (``workers/tracing.py``)."""

    def enter(self, session: Any, user: str, text: str) -> None:
        """From now on a session is this user's; ``text`` says why."""

    def leave(self, session: Any, text: str) -> None:
        """A session is nobody's any more."""


class Unwatched:
    """Follows nobody."""

    def enter(self, session: Any, user: str, text: str) -> None:
        """Nothing."""

    def leave(self, session: Any, text: str) -> None:
        """Nothing."""


class Tally:
    """Plain counters, for programs and tests that have no scoreboard."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Count something."""
        self.values[name] = self.values.get(name, 0) + amount

    def add_of(self, name: str, kind: str) -> None:
        """Count one of a kind."""
        self.add(name)
        self.add(f"{name}:{kind}")

    def observe(self, name: str, seconds: float) -> None:
        """Count a duration, however long it was."""
        self.add(name)

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
    follower: Follower = field(default_factory=Unwatched)
    admission: Admission = field(default_factory=Everybody)
