"""From a password to all that is kept of it: verifier, SCRAM keys, and itself where a mechanism needs it.

SCRAM keys are as easy to guess passwords from as their count of iterations makes it; it costs the server
nothing at a login, and the client each time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from mstore.accounts.keys import Keys, ScramKeys
from mstore.auth.prepare import prepare
from mstore.auth.scheme import ARGON2ID, Scheme
from mstore.base.options import Settings

SCRAM_HASHES = ("SHA-1", "SHA-256", "SHA-512")
SALT_BYTES = 16
SECRET_MECHANISMS = ("cram-md5", "digest-md5", "apop")


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is to be kept of passwords."""

    scheme: str = ARGON2ID
    scram: Mapping[str, int] = field(default_factory=dict)
    """Iterations by hash function."""
    secret: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Keeping:
        """What the configuration asks for: nothing that no mechanism uses."""
        scram = {
            name: settings.scram_iterations
            for name in SCRAM_HASHES
            if any(settings.may_use(f"scram-{name.lower()}{plus}") for plus in ("", "-plus"))
        }
        secret = any(settings.may_use(mechanism) for mechanism in SECRET_MECHANISMS)
        return cls(settings.password_scheme, scram, secret)


class Keymaker:
    """Makes keys as they are to be kept, and tells whether those that are kept will do."""

    def __init__(self, keeping: Keeping | None = None, scheme: Scheme | None = None) -> None:
        self.keeping = keeping or Keeping()
        self.scheme = scheme or Scheme(self.keeping.scheme)

    def make(self, password: bytes, before: Keys | None = None) -> Keys:
        """All that is to be kept of a password. Costs some tenths of a second where SCRAM is enabled.

        The salts are those of the keys ``before``, of an account that has some: its app passwords share them.
        Raises: Invalid when this system does not make such verifiers.
        """
        prepared = prepare(password)
        scram = {}
        for name, count in self.keeping.scram.items():
            like = before.scram.get(name) if before is not None else None
            scram[name] = make_scram_keys(prepared, name, count, like.salt if like is not None else None)
        return Keys(self.scheme.hash(prepared), scram, password if self.keeping.secret else None)

    def verify(self, password: bytes, verifier: str) -> bool:
        """Whether this is the password: as it is prepared, or, of a verifier from elsewhere, as it is."""
        prepared = prepare(password)
        if self.scheme.verify(prepared, verifier):
            return True
        return prepared != password and self.scheme.verify(password, verifier)

    def is_current(self, keys: Keys, password: bytes) -> bool:
        """Whether the keys are all that would be made of this password now."""
        if (keys.secret is None) == self.keeping.secret:
            return False
        for name, count in self.keeping.scram.items():
            made = keys.scram.get(name)
            if made is None or made.iterations < count:
                return False
        return self.scheme.is_current(keys.verifier, prepare(password))


def make_keys(password: bytes, settings: Settings) -> Keys:
    """All that is to be kept of a password by the configuration; who makes many has a ``Keymaker``.

    Raises: Invalid.
    """
    return Keymaker(Keeping.of(settings)).make(password)


def make_scram_keys(prepared: bytes, name: str, iterations: int, salt: bytes | None = None) -> ScramKeys:
    """The keys for SCRAM with a hash function, of a password that is prepared (RFC 5802 §3)."""
    function = name.replace("-", "").lower()
    salt = salt or os.urandom(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac(function, prepared, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", function)
    stored_key = hashlib.new(function, client_key).digest()
    return ScramKeys(salt, iterations, stored_key, hmac.digest(salted, b"Server Key", function))
