"""Judges one client: what mechanisms may ask about logins, and whether somebody may act as somebody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mstore.accounts.accounts import AccountRecord
from mstore.accounts.apppasswords import AppPassword
from mstore.accounts.keys import Keys, ScramKeys
from mstore.auth.apppassword import is_for, note_use, spellings
from mstore.auth.gate import CLOSING, Gate, OpenGate, Turned
from mstore.auth.sasl.mechanism import (
    AUTHENTICATIONFAILED,
    AUTHORIZATIONFAILED,
    UNAVAILABLE,
    Failed,
    Identity,
    Question,
)
from mstore.auth.verdict import Verdict
from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.base.ids import AccountId
from mstore.base.log import Log

SCRAM_ITERATIONS = 4096
"""What an unknown name seems to have before a known one has been seen (RFC 7677 §4 asks for as many)."""
_NO_SITE_KEY = bytes(32)

_log = Log()


class PasswordJudge(Protocol):
    """The mechanism of ``authproxy-authmech``."""

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict: ...


class KeySource(Protocol):
    """What the account database keeps of passwords (``mstore.accounts.passwords``)."""

    def keys(self, account_id: AccountId) -> Keys | None: ...
    def apps(self, account_id: AccountId) -> Sequence[AppPassword]: ...
    def note_app_used(self, account_id: AccountId, label: str, day: int) -> None: ...
    def site_key(self) -> bytes: ...


class TokenJudge(Protocol):
    """Judges access tokens (``mstore.auth.tokens``)."""

    scope: str | None
    configuration_url: str | None

    def verify(self, token: str) -> str: ...


@dataclass(slots=True)
class Site:
    """What all exchanges of authproxyd share."""

    passwords: PasswordJudge
    accounts: Any
    keys: KeySource | None = None
    tokens: TokenJudge | None = None
    gate: Gate = field(default_factory=OpenGate)
    realm: str | None = None
    """The realm of DIGEST-MD5; the server's name where there is none."""
    iterations: dict[str, int] = field(default_factory=dict)
    """How many iterations the SCRAM keys last seen had, by hash function: what unknown names seem to have."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A successful login: as whom to act (None: anonymous), and who has logged in."""

    account: str | None
    login: str


class Judge:
    """Judges the client of one exchange."""

    __slots__ = ("_record", "bound", "claimed", "login", "question", "site")

    def __init__(self, site: Site, question: Question, bound: bool = False) -> None:
        self.site = site
        self.question = question
        self.bound = bound
        """The client was offered this mechanism bound to the channel as well (RFC 5802 §6)."""
        self.login: str | None = None
        """Who is being judged, once somebody is; empty where there is no name yet."""
        self.claimed = ""
        """The name that the client has given last, once it has; the log is told of it."""
        self._record: AccountRecord | None = None

    def admit(self, login: str) -> None:
        """Say that somebody is about to be judged; may wait.

        Raises: Failed when he is not to be.
        """
        self.login = self.claimed = login
        admission = self.site.gate.admit(self.question.peer, login)
        if isinstance(admission, Turned):
            self.login = None  # Nothing was judged.
            raise Failed(admission.code, admission.text, end=admission.end)
        if admission > 0 and not blocking.sleep(admission):
            self.login = None
            raise Failed(CLOSING.code, CLOSING.text, end=CLOSING.end)

    def check_password(self, login: str, password: bytes) -> None:
        """Pass a right password.

        Raises: Failed
        """
        self.admit(login)
        if not login or not password:
            raise Failed
        try:
            question = self.question
            verdict = self.site.passwords.verify(login, password, question.peer, question.service)
        except MStoreError as error:
            raise self.unavailable(error) from error
        if not verdict.ok:
            raise Failed(verdict.code or AUTHENTICATIONFAILED, verdict.text)

    def find_keys(self, login: str) -> Keys | None:
        """What is kept of the password of somebody who may log in, or None.

        Raises: Failed
        """
        self.admit(login)
        try:
            record = self.site.accounts.find(login)
            if record is None or not record.enabled or self.site.keys is None:
                return None
            self._record = record
            return self.site.keys.keys(record.id)
        except MStoreError as error:
            raise self.unavailable(error) from error

    def find_secret(self, login: str, fits: Callable[[bytes], bool]) -> bytes | None:
        """The password, or the app password, of somebody who may log in, for which this holds.

        ``fits`` is asked once at least, so that who has none, or does not exist, costs the same.
        Raises: Failed
        """
        keys = self.find_keys(login)
        own = keys.secret if keys is not None else None
        if fits(own if own is not None else b"\0") and own is not None:
            return own
        for app in self._apps():
            for secret in spellings(app):
                if fits(secret):
                    self._note_use(app)
                    return secret
        return None

    def find_app_scram(
        self, hash_name: str, like: ScramKeys, fits: Callable[[ScramKeys], bool]
    ) -> ScramKeys | None:
        """The keys for which this holds of an app password of him whose keys were found last.

        Raises: Failed
        """
        for app in self._apps():
            made = app.keys.scram.get(hash_name)
            if made is None or (made.salt, made.iterations) != (like.salt, like.iterations):
                continue  # Made for a salt that the client was not told.
            if fits(made):
                self._note_use(app)
                return made
        return None

    def _apps(self) -> Sequence[AppPassword]:
        """The app passwords that are for this service, of him whose keys were found last."""
        if self._record is None or self.site.keys is None:
            return ()
        try:
            found = self.site.keys.apps(self._record.id)
        except MStoreError as error:
            raise self.unavailable(error) from error
        return [app for app in found if is_for(app, self.question.service)]

    def _note_use(self, app: AppPassword) -> None:
        assert self.site.keys is not None and self._record is not None
        note_use(self.site.keys, self._record, app, self.question.peer)

    def site_key(self) -> bytes:
        """A secret of the site, from which what unknown names seem to have is made."""
        try:
            return self.site.keys.site_key() if self.site.keys is not None else _NO_SITE_KEY
        except MStoreError as error:
            raise self.unavailable(error) from error

    def authorize(self, identity: Identity) -> Grant:
        """As whom somebody who has proved who he is may act: himself, and an administrator anybody.

        Raises: Failed
        """
        if identity.login is None:
            return Grant(None, "anonymous")
        accounts = self.site.accounts
        try:
            record = accounts.find(identity.login)
            if record is None or not record.enabled:
                raise Failed
            if not identity.authzid:
                return Grant(record.name, record.name)
            other = accounts.find(identity.authzid)
            if other is not None and other.id == record.id:
                return Grant(record.name, record.name)
            if other is None or not other.enabled or not accounts.is_administrator(record.name):
                self.conclude(True)  # Who he is he has proved.
                raise Failed(AUTHORIZATIONFAILED, "not allowed to act as another user")
        except MStoreError as error:
            raise self.unavailable(error) from error
        return Grant(other.name, record.name)

    def conclude(self, ok: bool) -> None:
        """Tell the gate what came of the judgement, if there was one."""
        login, self.login = self.login, None
        if login is not None:
            self.site.gate.note(self.question.peer, login, ok)

    def unavailable(self, error: MStoreError) -> Failed:
        """What is told of a database or a service that cannot be asked; the log is told more."""
        self.login = None
        _log.error("login-unavailable", error=str(error))
        return Failed(UNAVAILABLE, "authentication is not possible just now")
