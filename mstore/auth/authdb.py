"""The mechanism ``authdb``: passwords against what our own database keeps of them.

A right password is remembered for a while, so that clients which poll cost no hash each time: under a keyed
hash whose key lives only in this process, and only as long as the stored verifier is the one it was checked
against. Keys that are not what the configuration asks for (an old hash, no SCRAM keys yet, a password kept
that no mechanism needs any more) are made anew behind a login with the right password.

Every refusal costs the same, whether there is such an account or not and however its verifier was made: the
password is checked against one verifier of each setting that there is in the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mstore.accounts.accounts import AccountRecord, Accounts
from mstore.accounts.apppasswords import AppPassword
from mstore.accounts.keys import Keys
from mstore.accounts.login import check_account_name
from mstore.accounts.passwords import Passwords
from mstore.accounts.verifier import setting_of
from mstore.auth.apppassword import are_current, find_app, is_for, make_app_keys, normalise, note_use
from mstore.auth.apppassword import digest as app_digest
from mstore.auth.keying import Keeping, Keymaker
from mstore.auth.prepare import is_possible
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base import blocking
from mstore.base.errors import Exists, Invalid, MStoreError
from mstore.base.ids import AccountId
from mstore.base.log import Log
from mstore.base.options import Settings

REMEMBERED_S = 600.0
REMEMBERED = 20_000
DECOYS = 4
"""So many settings are made up for; a site that changes has two."""
DECOYS_S = 60.0
"""How often it is looked which settings there are."""
MOST_TO_IMPROVE = 256

_ACCEPTED = Verdict(True)
_log = Log()


class _Remembered(NamedTuple):
    digest: bytes
    verifier: str
    until_s: float


class _Old(NamedTuple):
    """Keys to be made anew, and the password that fits them."""

    record: AccountRecord
    keys: Keys
    password: bytes


class AuthDb:
    """Judges passwords by ``passwords.db``."""

    def __init__(
        self, passwords: Passwords, accounts: Accounts, maker: Keymaker, remembered_s: float = REMEMBERED_S
    ) -> None:
        self._passwords = passwords
        self._accounts = accounts
        self._maker = maker
        self._own_decoy = maker.scheme.hash(secrets.token_bytes(16))
        self._decoys: Mapping[str, str] = {}
        self._decoys_until_s = 0.0
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[AccountId, _Remembered] = OrderedDict()
        self._remembered_s = remembered_s
        self._old: deque[_Old] = deque()
        self._is_improving = False

    @classmethod
    def open(
        cls, db_dir: Path, accounts: Accounts, settings: Settings, passwords: Passwords | None = None
    ) -> AuthDb:
        """Open the passwords now, if they are not given; afterwards the process may give up the right to.

        Raises: Unavailable, Corrupt, Invalid when this system cannot do what ``password-scheme`` asks for.
        """
        keeping = Keeping.of(settings)
        maker = Keymaker(keeping)
        maker.scheme.check()
        passwords = passwords or Passwords(db_dir)
        passwords.open()
        passwords.site_key()
        if not keeping.secret and (dropped := passwords.drop_secrets()):
            _log.info("passwords-forgotten", count=dropped)
        return cls(passwords, accounts, maker, settings.authproxy_cache_time)

    def close(self) -> None:
        """Close the passwords, and forget what is remembered."""
        self._old.clear()
        self._remembered.clear()
        self._passwords.close()

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login, from an address and at a service where these are known.

        Raises: Unavailable, Corrupt when the databases cannot be asked.
        """
        if not is_possible(password):
            return REFUSED
        record = self._accounts.find(login)
        keys = self._passwords.keys(record.id) if record and record.enabled else None
        if record is not None and record.enabled:
            if keys is not None and self._is_remembered(record.id, password, keys.verifier):
                return _ACCEPTED
            if self._is_app_password(record, password, peer, service):
                return _ACCEPTED
        decoys = self._all_decoys()
        if record is None or keys is None:
            blocking.call(self._judge, password, None, decoys)
            return REFUSED
        if not blocking.call(self._judge, password, keys.verifier, decoys):
            return REFUSED
        self._remember(record.id, password, keys.verifier)
        self._improve(record, keys, password)
        return _ACCEPTED

    def knows(self, login: str) -> bool:
        """Whether it is for us to judge a login: there is such an account, and it has a password.

        An account that is disabled is known, so that nothing else lets its user in.
        Raises: Unavailable, Corrupt.
        """
        record = self._accounts.find(login)
        return record is not None and (not record.enabled or self._passwords.keys(record.id) is not None)

    def enroll(self, login: str, password: bytes) -> None:
        """Make an account for somebody whose password another mechanism found right, with all keys.

        It goes where ``ms-assignment-policy`` says. One that is there already and has no keys is given these.
        Of two who do this at a time one makes the account. Costs what making keys does.

        Durable: the account and its keys.
        Raises: Exists when there is one with a password by now, or the name is somebody's alias; Invalid or
        LimitReached for a name that cannot be an account's, or a password that cannot be one; Unavailable,
        Corrupt.
        """
        if not is_possible(password):
            raise Invalid("this cannot be a password")
        name = self._accounts.rules.key(login)
        check_account_name(name)
        keys = blocking.call(self._maker.make, password)
        if self.knows(login):
            raise Exists(f"there is an account {login} with a password already")
        record = self._accounts.find(login)
        if record is not None:
            self._passwords.add_keys(record.id, keys)
            return
        account_id = self._accounts.new_id()
        self._passwords.set_keys(account_id, keys)
        try:
            mailstore = self._accounts.assign_home(name)
            blocking.call(self._accounts.add, name, mailstore, None, account_id)
        except BaseException:
            self._passwords.remove(account_id)
            raise

    def _judge(self, password: bytes, verifier: str | None, decoys: Mapping[str, str]) -> bool:
        """Check a password; a wrong one costs one check of every setting. Runs in a thread."""
        maker = self._maker
        setting = None
        if verifier is not None:
            if maker.verify(password, verifier):
                return True
            setting = setting_of(verifier)
        for other, decoy in decoys.items():
            if other != setting:
                maker.verify(password, decoy)
        return False

    def _all_decoys(self) -> Mapping[str, str]:
        """One verifier of each setting, which nobody has to know the password of."""
        now_s = time.monotonic()
        if now_s >= self._decoys_until_s:
            self._decoys_until_s = now_s + DECOYS_S
            self._decoys = self._passwords.samples(DECOYS) or {setting_of(self._own_decoy): self._own_decoy}
        return self._decoys

    def _is_app_password(self, record: AccountRecord, password: bytes, peer: str, service: str) -> bool:
        letters = normalise(password)
        if letters is None:
            return False
        apps = self._passwords.apps(record.id)
        found = find_app(apps, app_digest(self._passwords.site_key(), record.id, letters)) if apps else None
        if found is None:
            return False
        if not is_for(found, service):
            _log.warning("app-password-refused", user=record.name, label=found.label, service=service or None)
            return False
        note_use(self._passwords, record, found, peer)
        if not are_current(found.keys, self._maker.keeping, self._passwords.keys(record.id)):
            blocking.spawn(self._improve_app, record, found, letters)
        return True

    def _improve_app(self, record: AccountRecord, app: AppPassword, letters: bytes) -> None:
        """Have an app password serve the mechanisms that do not send it, as they are enabled now."""
        try:
            own = self._passwords.keys(record.id)
            keys = blocking.call(make_app_keys, letters, self._maker.keeping, own)
            self._passwords.replace_app_keys(record.id, app, keys)
        except MStoreError as error:
            _log.error("keys-not-renewed", user=record.name, error=str(error))

    # -- better keys

    def _improve(self, record: AccountRecord, keys: Keys, password: bytes) -> None:
        """Have keys made anew that are not what they should be; one after another, behind the logins."""
        maker = self._maker
        if maker.is_current(keys, password) or not maker.scheme.keeps_all_of(keys.verifier, password):
            return
        if len(self._old) >= MOST_TO_IMPROVE or any(old.record.id == record.id for old in self._old):
            return  # The next login will do.
        self._old.append(_Old(record, keys, password))
        if not self._is_improving:
            self._is_improving = True
            blocking.spawn(self._improve_all)

    def _improve_all(self) -> None:
        try:
            while self._old:
                old = self._old[0]
                try:
                    self._improve_one(old)
                except MStoreError as error:
                    _log.error("keys-not-renewed", user=old.record.name, error=str(error))
                if self._old and self._old[0] is old:
                    self._old.popleft()
        finally:
            self._is_improving = False

    def _improve_one(self, old: _Old) -> None:
        keys = blocking.call(self._maker.make, old.password, old.keys)
        if not self._passwords.replace_keys(old.record.id, old.keys, keys):
            return
        remembered = self._remembered.get(old.record.id)
        if remembered is not None and remembered.verifier == old.keys.verifier:
            self._remembered[old.record.id] = remembered._replace(verifier=keys.verifier)
        _log.info("keys-renewed", user=old.record.name)

    # -- what was right a short while ago

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._key, digest_size=32).digest()

    def _is_remembered(self, account_id: AccountId, password: bytes, verifier: str) -> bool:
        remembered = self._remembered.get(account_id)
        if remembered is None:
            return False
        if remembered.verifier != verifier or remembered.until_s < time.monotonic():
            del self._remembered[account_id]
            return False
        return hmac.compare_digest(remembered.digest, self._digest(password))

    def _remember(self, account_id: AccountId, password: bytes, verifier: str) -> None:
        if self._remembered_s <= 0:
            return
        until_s = time.monotonic() + self._remembered_s
        self._remembered[account_id] = _Remembered(self._digest(password), verifier, until_s)
        self._remembered.move_to_end(account_id)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
