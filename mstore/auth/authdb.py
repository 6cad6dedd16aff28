"""The mechanism ``authdb``: passwords against the verifiers of our own database.

A right password is remembered for a while, so that clients which poll cost no hash each time: under a keyed
hash whose key lives only in this process, and only as long as the stored verifier is the one it was checked
against. An unknown name costs the time of a hash as a wrong password does.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from mstore.accounts.accounts import Accounts
from mstore.accounts.login import check_account_name
from mstore.accounts.passwords import Passwords
from mstore.auth.scheme import MAX_PASSWORD_BYTES, Scheme
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base import blocking
from mstore.base.errors import Exists, LimitReached, MStoreError
from mstore.base.ids import AccountId

REMEMBERED_S = 600.0
REMEMBERED = 20_000

_ACCEPTED = Verdict(True)


class _Remembered(NamedTuple):
    digest: bytes
    verifier: str
    until_s: float


class AuthDb:
    """Judges passwords by ``passwords.db``."""

    def __init__(
        self, passwords: Passwords, accounts: Accounts, scheme: Scheme, remembered_s: float = REMEMBERED_S
    ) -> None:
        self._passwords = passwords
        self._accounts = accounts
        self._scheme = scheme
        self._decoy = scheme.hash(secrets.token_bytes(16))
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[AccountId, _Remembered] = OrderedDict()
        self._remembered_s = remembered_s

    @classmethod
    def open(cls, db_dir: Path, accounts: Accounts) -> AuthDb:
        """Open the verifiers now; afterwards the process may give up the right to.

        Raises: Unavailable, Corrupt.
        """
        passwords = Passwords(db_dir)
        passwords.open()
        return cls(passwords, accounts, Scheme())

    def close(self) -> None:
        """Close the verifiers."""
        self._passwords.close()
        self._remembered.clear()

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login, from an address and at a service where these are known.

        Raises: Unavailable, Corrupt when the databases cannot be asked.
        """
        record = self._accounts.find(login)
        verifier = self._passwords.verifier(record.id) if record and record.enabled else None
        if record is None or verifier is None or not password:
            blocking.call(self._scheme.verify, password, self._decoy)
            return REFUSED
        digest = hashlib.blake2b(password, key=self._key, digest_size=32).digest()
        if self._is_remembered(record.id, digest, verifier):
            return _ACCEPTED
        if not blocking.call(self._scheme.verify, password, verifier):
            return REFUSED
        self._remember(record.id, _Remembered(digest, verifier, time.monotonic() + self._remembered_s))
        return _ACCEPTED

    def knows(self, login: str) -> bool:
        """Whether a login is this mechanism's to judge: the account has a password here, or is disabled.

        Raises: Unavailable, Corrupt.
        """
        record = self._accounts.find(login)
        if record is None:
            return False
        return not record.enabled or self._passwords.verifier(record.id) is not None

    def enroll(self, login: str, password: bytes) -> None:
        """Make the account of a login, or take up one that has no password, with this password.

        Durable: the password, then the account.
        Raises: Exists when there is one with a password by now, or the name is somebody's alias; Invalid,
        LimitReached for what can be no name or password; Unavailable, Corrupt.
        """
        if len(password) > MAX_PASSWORD_BYTES:
            raise LimitReached(f"a password cannot be longer than {MAX_PASSWORD_BYTES} bytes")
        verifier = blocking.call(self._scheme.hash, password)
        if self.knows(login):
            raise Exists(f"there is an account {login} with a password already")
        record = self._accounts.find(login)
        if record is not None:
            blocking.call(self._passwords.set_verifier, record.id, verifier)
            return
        name = self._accounts.rules.key(login)
        check_account_name(name)
        mailstore = self._accounts.assign_home(name)
        account_id = self._accounts.new_id()
        blocking.call(self._passwords.set_verifier, account_id, verifier)
        try:
            blocking.call(self._accounts.add, name, mailstore, None, account_id)
        except MStoreError:
            blocking.call(self._passwords.remove, account_id)
            raise

    def _is_remembered(self, account_id: AccountId, digest: bytes, verifier: str) -> bool:
        remembered = self._remembered.get(account_id)
        if remembered is None:
            return False
        if remembered.verifier != verifier or remembered.until_s < time.monotonic():
            del self._remembered[account_id]
            return False
        return hmac.compare_digest(remembered.digest, digest)

    def _remember(self, account_id: AccountId, remembered: _Remembered) -> None:
        self._remembered[account_id] = remembered
        self._remembered.move_to_end(account_id)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
