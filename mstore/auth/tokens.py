"""Access tokens: signed ones (RFC 7519) are checked with the site's keys, by PyJWT; others are asked about.

A key is used with one algorithm only, which follows from the key and not from the token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mstore.auth.introspection import Introspection, TokenRefused
from mstore.base.errors import Invalid
from mstore.base.options import Settings

LEEWAY_S = 30
MIN_SECRET_BYTES = 32
MAX_KEYS_BYTES = 1 << 20
MAX_KEYS = 100


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that signs tokens, with its algorithm and, where there is one, its name."""

    name: str | None
    algorithm: str
    key: Any = field(repr=False)


def load_keys(path: Path) -> list[TokenKey]:
    """The keys of a file: PEM, or a JSON Web Key Set (RFC 7517).

    Raises: Invalid, naming the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEYS_BYTES)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from None
    try:
        keys = _load_pem(data) if b"-----BEGIN" in data else _load_set(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"{path}: has no keys that can be used: {error}") from None
    if not keys or len(keys) > MAX_KEYS:
        raise Invalid(f"{path}: has no keys that can be used" if not keys else f"{path}: has too many keys")
    return keys


def _load_pem(data: bytes) -> list[TokenKey]:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    end = b"-----END PUBLIC KEY-----"
    blocks = [block + end for block in data.split(end)[:-1]]
    return [TokenKey(None, _algorithm(key), key) for key in map(load_pem_public_key, blocks)]


def _load_set(data: bytes) -> list[TokenKey]:
    import jwt

    found = []
    entries = json.loads(data)
    for entry in entries["keys"] if isinstance(entries, dict) and "keys" in entries else [entries]:
        if not isinstance(entry, dict):
            raise ValueError("not a set of keys")
        if entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry, _JWK_ALGORITHMS.get((str(entry.get("kty")), entry.get("crv")))).key
        except jwt.PyJWTError as error:
            raise ValueError(str(error)) from None
        algorithm = "HS256" if isinstance(key, bytes) else _algorithm(key)
        if isinstance(key, bytes) and len(key) < MIN_SECRET_BYTES:
            raise ValueError(f"a secret has fewer than {MIN_SECRET_BYTES} bytes")
        if entry.get("alg", algorithm) != algorithm:
            raise ValueError(f"{entry['alg']} is none of RS256, ES256, EdDSA, HS256, or not the key's")
        found.append(TokenKey(entry.get("kid"), algorithm, key))
    return found


_JWK_ALGORITHMS: Mapping[tuple[Any, Any], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
    ("oct", None): "HS256",
}


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(key, RSAPublicKey) and key.key_size >= 2048:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    raise ValueError("a key is none of RSA with 2048 bits, P-256, Ed25519, or is not public")


class Tokens:
    """Judges access tokens."""

    def __init__(
        self,
        keys: Sequence[TokenKey],
        issuer: str | None,
        audience: str | None,
        name_claim: str = "email",
        scope: str | None = None,
        configuration_url: str | None = None,
        introspection: Introspection | None = None,
    ) -> None:
        import jwt  # takes 60 ms, which only who judges tokens should pay

        self._jwt: Any = jwt
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._name_claim = name_claim
        self._introspection = introspection
        self.scope = scope
        self.configuration_url = configuration_url

    @classmethod
    def of(cls, settings: Settings, tls: Any = None) -> Tokens | None:
        """From the options; reads files that may be root's. None where no token can be judged.

        ``tls`` is the context by which an introspection URL of https is asked.

        Raises: Invalid
        """
        if not settings.has_oauth:
            return None
        keys = [key for path in settings.oauth_keys for key in load_keys(path)]
        introspection = None
        if settings.oauth_introspection_url is not None:
            secret = settings.oauth_introspection_secret
            introspection = Introspection.of(settings.oauth_introspection_url, secret, tls)
        return cls(
            keys, settings.oauth_issuer, settings.oauth_audience, settings.oauth_name_claim,
            settings.oauth_scope, settings.oauth_configuration_url, introspection,
        )  # fmt: skip

    def verify(self, token: str) -> str:
        """The name of the account that a token is for. May take the time of a question over the network.

        Raises: TokenRefused, Unavailable.
        """
        if self._keys and token.count(".") == 2:
            claims = self._verify_signed(token)
        elif self._introspection is not None:
            claims = self._introspection.ask(token)
            self._check_asked(claims)
        else:
            raise TokenRefused("the token is not a signed one")
        return self._read_name(claims)

    def _verify_signed(self, token: str) -> dict[str, Any]:
        jwt = self._jwt
        try:
            head = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenRefused(f"not a token: {error}") from None
        name, algorithm = head.get("kid"), head.get("alg")
        fitting = [key for key in self._keys if key.algorithm == algorithm and name in (None, key.name)]
        # A key that has no name may be meant by any.
        fitting += [key for key in self._keys if key.algorithm == algorithm and name and key.name is None]
        reason = "no key fits"
        for key in fitting:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token, key.key, algorithms=[key.algorithm], issuer=self._issuer, audience=self._audience,
                    leeway=LEEWAY_S, options={"require": ["exp", "iss", "aud"]},
                )  # fmt: skip
                return claims
            except jwt.InvalidSignatureError:
                reason = "wrong signature"
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
                raise TokenRefused(str(error)) from None
        raise TokenRefused(reason)

    def _check_asked(self, claims: dict[str, Any]) -> None:
        """What PyJWT checks of a signed token, of one that was asked about."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise TokenRefused("another issuer")
        if self._audience is not None and self._audience not in audiences:
            raise TokenRefused("another audience")

    def _read_name(self, claims: dict[str, Any]) -> str:
        scope = claims.get("scope", claims.get("scp", ""))
        words = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
        if self.scope is not None and self.scope not in words:
            raise TokenRefused("another scope")
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name or "\0" in name:
            raise TokenRefused(f"no claim {self._name_claim}")
        if self._name_claim == "email" and claims.get("email_verified", True) is not True:
            raise TokenRefused("the address is not verified")
        return name
