"""The mechanism ``kerberos5``: a password is right when a ticket for M-Store can be had with it.

The ticket is checked with our own key from the keytab. Without that anybody who answers in the place of the
realm's server could let in whom he likes; with it he would have to know the key. Tickets are kept in memory,
and only while a login is judged: there are no ticket files.

``kerberos4`` is another name for it: nobody has had version 4 of the protocol since 2006.
"""

from __future__ import annotations

from typing import Any

from mstore.auth.bounded import Bounded
from mstore.auth.driver import Driver, Sources
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base.errors import Invalid, MStoreError, Unavailable
from mstore.base.options import Settings

LIMIT = 16
MAX_STEPS = 4

_BASE = -1765328384
"""The first of Kerberos' error codes (RFC 4120 §7.5.9, as numbered by the library)."""
_REFUSALS = frozenset(_BASE + code for code in (1, 6, 12, 18, 21, 23, 24, 31))
"""Account expired, unknown, against a policy, locked, not yet valid; password expired, and two ways to say
that it is wrong."""


def load_gssapi() -> Any:
    """The module gssapi.

    Raises: ImportError
    """
    import gssapi

    return gssapi


class Kerberos:
    """Judges passwords by the tickets that can be had with them."""

    def __init__(self, gssapi: Any, principal: str, keytab: str | None) -> None:
        self._gssapi = gssapi
        self._principal = principal
        # Nobody else ever sees these tickets, so whether one was seen before need not be written down.
        self._store = {"rcache": "none:"} | ({} if keytab is None else {"keytab": keytab})
        self._threads = Bounded("kerberos5", LIMIT)

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login.

        Raises: Unavailable when no server of the realm answers, or its ticket is not for our key.
        """
        if b"\0" in password:
            return REFUSED
        return Verdict(True) if self._threads.call(self._ask, to_principal(login), password) else REFUSED

    def check(self) -> None:
        """Pass a keytab that we can read and that has our key.

        Raises: Invalid
        """
        try:
            self._acceptor()
        except self._gssapi.exceptions.GSSError as error:
            where = self._store.get("keytab", "the system's keytab")
            raise Invalid(f"no key of {self._principal} in {where}: {_describe(error)}") from None

    def close(self) -> None:
        """Nothing stays open between logins."""

    def _name(self, principal: str) -> Any:
        return self._gssapi.Name(principal, self._gssapi.NameType.kerberos_principal)

    def _acceptor(self) -> Any:
        name = self._name(self._principal)
        return self._gssapi.Credentials(name=name, usage="accept", store=self._store)

    def _ask(self, principal: str, password: bytes) -> bool:
        """One login; runs in a thread."""
        gss_error = self._gssapi.exceptions.GSSError
        try:
            acceptor = self._acceptor()
        except gss_error as error:
            raise Unavailable(f"kerberos5: {_describe(error)}") from None
        try:
            tickets = self._gssapi.raw.acquire_cred_with_password(
                self._name(principal), password, usage="initiate"
            ).creds
            client = self._gssapi.SecurityContext(
                creds=tickets, name=self._name(self._principal), usage="initiate",
                flags=self._gssapi.RequirementFlag.mutual_authentication,
            )  # fmt: skip
            token = client.step()
        except gss_error as error:
            if _to_signed(error.min_code) in _REFUSALS:
                return False
            raise Unavailable(f"kerberos5: {_describe(error)}") from None
        try:
            return self._prove(client, token, acceptor, principal)
        except gss_error as error:
            text = f"kerberos5: the ticket is not for our key: {_describe(error)}"
            raise Unavailable(text) from None

    def _prove(self, client: Any, token: bytes | None, acceptor: Any, principal: str) -> bool:
        """Whether the ticket can be used with the key from our keytab, by him whose password it was."""
        server = self._gssapi.SecurityContext(creds=acceptor, usage="accept")
        for _ in range(MAX_STEPS):
            answer = server.step(token) if token else None
            token = client.step(answer) if answer else None
            if server.complete and client.complete:
                return bool(server.initiator_name == self._name(principal))
        raise Unavailable("kerberos5: the exchange does not end")


def to_principal(login: str) -> str:
    """The principal of an account: its name, and its domain, where it has one, as a realm in upper case."""
    local, at, domain = login.rpartition("@")
    return f"{local}@{domain.upper()}" if at else login


def _to_signed(code: int) -> int:
    """The library's codes are negative; they come as unsigned numbers of 32 bits."""
    return code - (1 << 32) if code >= 1 << 31 else code


def _describe(error: Any) -> str:
    """What went wrong, by the library; it names principals and files, never a password."""
    return " ".join(str(error.gen_message()).split())


def _make(sources: Sources) -> Kerberos:
    settings = sources.settings
    principal = settings.authproxy_kerberos_principal or f"imap/{settings.server_name}"
    keytab = settings.authproxy_kerberos_keytab
    return Kerberos(load_gssapi(), principal, None if keytab is None else f"FILE:{keytab}")


def _missing() -> str:
    try:
        load_gssapi()
    except (ImportError, OSError) as error:
        return f"it needs the Python package gssapi ({error})"
    return ""


def _check(settings: Settings) -> None:
    principal = settings.authproxy_kerberos_principal or f"imap/{settings.server_name}"
    keytab = settings.authproxy_kerberos_keytab
    try:
        Kerberos(load_gssapi(), principal, None if keytab is None else f"FILE:{keytab}").check()
    except MStoreError as error:
        raise Invalid(f"authproxy-kerberos-keytab: {error}") from None


DRIVER = Driver(_make, missing=_missing, check=_check)
