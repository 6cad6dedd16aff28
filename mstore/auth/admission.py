"""Accounts for mechanisms that know none: who is let in must also have mail here.

A mechanism is asked about the account, by its name in the account database, and not about the spelling that
somebody typed: where two spellings are one account here (``joe`` and ``joe@elsewhere.example`` with
``single-domain``), they might be two people there, and one could get in with the other's password. Nothing
is asked about a name that cannot have mail, so nobody can try the passwords of a system's other users.
"""

from __future__ import annotations

from mstore.accounts.accounts import AccountRecord, Accounts
from mstore.accounts.login import check_account_name
from mstore.auth.driver import Mechanism
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base import blocking
from mstore.base.errors import Exists, Invalid, LimitReached
from mstore.base.log import Log

_log = Log()


def name_to_ask(accounts: Accounts, login: str, record: AccountRecord | None) -> str | None:
    """The name by which to ask others about a login; None when no account could have such a name."""
    name = record.name if record is not None else accounts.rules.key(login)
    try:
        check_account_name(name)
    except (Invalid, LimitReached):
        return None
    return name


class Admission:
    """Lets in whom a mechanism lets in, if there is an enabled account, or one may be made."""

    def __init__(self, mechanism: Mechanism, accounts: Accounts, may_create: bool) -> None:
        self._mechanism = mechanism
        self._accounts = accounts
        self._may_create = may_create

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login; makes the account when it is the first one of somebody who may have one.

        Raises: Unavailable, Corrupt when it cannot be judged, or the account cannot be made.
        """
        record = self._accounts.find(login)
        name = name_to_ask(self._accounts, login, record)
        if name is None or not (self._may_create if record is None else record.enabled):
            return REFUSED
        verdict = self._mechanism.verify(name, password, peer, service)
        if verdict.ok and record is None and not self._create(name):
            return REFUSED
        return verdict

    def close(self) -> None:
        """Close the mechanism."""
        self._mechanism.close()

    def _create(self, name: str) -> bool:
        mailstore = self._accounts.assign_home(name)
        try:
            blocking.call(self._accounts.add, name, mailstore)
        except Exists as error:
            record = self._accounts.find(name)
            if record is not None:  # made by a login at the same time
                return record.enabled
            _log.warning("account-not-made", user=name, error=str(error))
            return False
        _log.info("account-made", user=name, mailstore=mailstore)
        return True
