"""What authproxyd knows and does, in threads of the test: real exchanges, passwords in a dict."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import threading
from collections.abc import Sequence
from typing import Any

from mstore.accounts.apppasswords import AppPassword
from mstore.accounts.keys import Keys, ScramKeys
from mstore.auth.client import AuthClient, Connection
from mstore.auth.exchanges import ExchangeServer
from mstore.auth.judge import Site
from mstore.auth.offers import own_offers
from mstore.auth.sasl.table import OWN
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base.ids import AccountId
from mstore.base.options import Settings

ITERATIONS = 4096
HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}


def make_scram_keys(name: str, password: bytes, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
    """The keys of SCRAM for a password (RFC 5802 §3)."""
    hash_name = HASHES[name]
    salted = hashlib.pbkdf2_hmac(hash_name, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    stored = hashlib.new(hash_name, client_key).digest()
    return ScramKeys(salt, iterations, stored, hmac.digest(salted, b"Server Key", hash_name))


def make_keys(password: bytes, verifier: str = "", salt: bytes = b"salt of 16 bytes") -> Keys:
    """All that can be kept of a password."""
    return Keys(verifier, {name: make_scram_keys(name, password, salt) for name in HASHES}, password)


class Authority:
    """Names and passwords, and the judgement of them by what authproxyd runs."""

    def __init__(self, accounts: Any) -> None:
        self.passwords: dict[bytes, bytes] = {}
        self.app_passwords: dict[AccountId, Sequence[AppPassword]] = {}
        self.used: list[str] = []
        """The labels of app passwords that were used."""
        self.reachable = True
        self.site = Site(self, accounts, self)
        self._accounts = accounts
        self._made: dict[bytes, Keys] = {}
        self._clients: list[AuthClient] = []

    def close(self) -> None:
        """Close what clients have open."""
        for client in self._clients:
            client.close()

    def client(self, settings: Settings) -> AuthClient:
        """What the sessions of a site with these settings ask."""
        offers = own_offers(settings)
        server = ExchangeServer(self.site, OWN, offers)

        def connect(path: str, timeout_s: float) -> Connection:
            if not self.reachable:
                raise ConnectionRefusedError("nobody is there")
            ours, theirs = socket.socketpair()
            arguments = (theirs, lambda verdict: None)
            threading.Thread(target=server.handle, args=arguments, daemon=True).start()
            return ours

        client = AuthClient("authproxyd-sasl", offers, connect, answer_s=40, absent_s=0)
        self._clients.append(client)
        return client

    # what a site asks

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        return Verdict(True) if self._password(self._accounts.find(login)) == password else REFUSED

    def keys(self, account_id: AccountId) -> Keys | None:
        password = self._password(self._accounts.by_id(account_id))
        if password is None:
            return None
        if password not in self._made:
            self._made[password] = make_keys(password)
        return self._made[password]

    def apps(self, account_id: AccountId) -> Sequence[AppPassword]:
        return self.app_passwords.get(account_id, ())

    def note_app_used(self, account_id: AccountId, label: str, day: int) -> None:
        self.used.append(label)

    def site_key(self) -> bytes:
        return b"k" * 32

    def _password(self, record: Any) -> bytes | None:
        return None if record is None else self.passwords.get(record.name.encode())


def encode(data: bytes) -> bytes:
    """As clients of IMAP and POP3 send it."""
    return base64.b64encode(data)
