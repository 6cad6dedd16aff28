"""The mechanisms of ``authproxy-authmech``: one small interface, and the table of those there are.

A mechanism judges a login name and a password. It may take its time (hashing goes through
``mstore.base.blocking``), says nothing that tells a wrong password from an unknown name, and never repeats
either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from mstore.accounts.accounts import Accounts
from mstore.auth.authdb import AuthDb
from mstore.auth.verdict import Verdict
from mstore.base.errors import Invalid
from mstore.base.options import Settings


class Mechanism(Protocol):
    """Judges passwords."""

    def verify(self, login: str, password: bytes) -> Verdict: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What a mechanism may draw on."""

    db_dir: Path
    accounts: Accounts
    settings: Settings


MECHANISMS: Mapping[str, Callable[[Sources], Mechanism]] = MappingProxyType(
    {"authdb": lambda sources: AuthDb.open(sources.db_dir, sources.accounts, sources.settings)}
)


def check_mechanism(name: str) -> None:
    """Pass the name of a mechanism that there is.

    Raises: Invalid, naming those there are.
    """
    if name not in MECHANISMS:
        raise Invalid(f"there is no authentication mechanism {name}; there are: {', '.join(MECHANISMS)}")


def make_mechanism(
    name: str, db_dir: Path, accounts: Accounts, settings: Settings | None = None
) -> Mechanism:
    """Make a mechanism ready, opening what it needs while the process may.

    Raises: Invalid for a name that is none, Unavailable or Corrupt when its database cannot be used.
    """
    check_mechanism(name)
    return MECHANISMS[name](Sources(db_dir, accounts, settings or Settings()))
