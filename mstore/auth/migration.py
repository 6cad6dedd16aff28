"""Account migration: what ``authdb`` does not know yet is asked of ``authproxy-legacy-authmech``, once.

Where the legacy mechanism lets somebody in, the account is made in ``authdb`` with the password that was
just used, and every later login is judged by ``authdb`` alone. A password that is wrong in ``authdb`` is
never tried on the legacy mechanism: somebody who changed it here must not be let in by the old one there.
"""

from __future__ import annotations

from typing import Protocol

from mstore.accounts.accounts import Accounts
from mstore.auth.admission import name_to_ask
from mstore.auth.driver import Mechanism
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base.errors import Exists, Invalid, LimitReached
from mstore.base.log import Log

_log = Log()


class Enrolling(Mechanism, Protocol):
    """A mechanism whose accounts can be made from a login."""

    def knows(self, login: str) -> bool: ...
    def enroll(self, login: str, password: bytes) -> None: ...


class Migration:
    """Judges by a mechanism that knows more accounts with every first login."""

    def __init__(self, mechanism: Enrolling, legacy: Mechanism, accounts: Accounts) -> None:
        self._mechanism = mechanism
        self._legacy = legacy
        self._accounts = accounts

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login; makes the account when the legacy mechanism lets in somebody not yet known.

        Raises: Unavailable, Corrupt when it cannot be judged, or the account cannot be made.
        """
        name = self._unknown_name(login)
        if name is None:
            return self._mechanism.verify(login, password, peer, service)
        if not self._legacy.verify(name, password, peer, service).ok:
            return REFUSED
        try:
            self._mechanism.enroll(name, password)
        except (Exists, Invalid, LimitReached) as error:
            if self._mechanism.knows(login):  # made meanwhile, perhaps with another password
                return self._mechanism.verify(login, password, peer, service)
            _log.warning("migration-failed", user=name, error=str(error))
            return REFUSED
        _log.info("migrated", user=name)
        return Verdict(True)

    def close(self) -> None:
        """Close both mechanisms."""
        self._legacy.close()
        self._mechanism.close()

    def _unknown_name(self, login: str) -> str | None:
        """The name to ask the legacy mechanism about; None for what is not its business."""
        if self._mechanism.knows(login):
            return None
        return name_to_ask(self._accounts, login, self._accounts.find(login))
