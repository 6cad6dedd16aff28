"""What a mechanism of ``authproxy-authmech`` is to the rest: one interface for M-Store's own and a site's.

A mechanism judges a login name and a password. It may take its time, but not the event loop's: what waits or
computes goes through ``mstore.base.blocking``. It says nothing that tells a wrong password from an unknown
name, and never repeats either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mstore.accounts.accounts import Accounts
from mstore.accounts.passwords import Passwords
from mstore.auth.verdict import Verdict
from mstore.base.options import Settings


class Mechanism(Protocol):
    """Judges passwords.

    ``peer`` is the address of the client, as far as it is known: for mechanisms that keep count of it.
    ``verify`` raises Unavailable (or another MStoreError) when it cannot be known whether a password is
    right; its text goes to the log.
    """

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict: ...
    def close(self) -> None: ...


StartTls = Callable[[Any, str], Any]
"""From a connected socket and the name of the host: the same connection under TLS. Raises: OSError."""


def no_tls(sock: Any, host: str) -> Any:
    """For those who are given no way to start TLS.

    Raises: OSError
    """
    raise OSError("TLS is not to be had here")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a mechanism may draw on."""

    settings: Settings
    accounts: Accounts
    start_tls: StartTls = no_tls
    passwords: Passwords | None = None
    """Those that are open already; ``authdb`` opens its own where there are none."""


def nothing_missing() -> str:
    """For mechanisms that need no more than Python."""
    return ""


def check_nothing(settings: Settings) -> None:
    """For mechanisms that cannot be configured wrongly."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A mechanism as the table of them knows it; what a site's entry point leads to."""

    make: Callable[[Sources], Mechanism]
    """Makes the mechanism ready, while the process still has superuser rights. Imports all it will need."""
    needs_superuser: bool = False
    """Whether authproxyd keeps superuser rights for it, as what it asks is closed to everybody else."""
    missing: Callable[[], str] = nothing_missing
    """Says which library this system lacks; nothing when the mechanism is available."""
    check: Callable[[Settings], None] = check_nothing
    """Looks closer at the configuration, as the user that authproxyd has become. Raises: MStoreError."""
