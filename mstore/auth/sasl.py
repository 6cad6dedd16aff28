"""The server side of the SASL mechanisms that carry a password: PLAIN (RFC 4616) and LOGIN, by pysasl.

An exchange is stepped with what the client sent, already out of base64, and gives the next challenge or the
credentials. Whether those are right is not judged here: authproxyd does that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pysasl.exception import InvalidResponse
from pysasl.mechanism import ChallengeResponse, ServerChallenge
from pysasl.mechanism.login import LoginMechanism
from pysasl.mechanism.plain import PlainMechanism

from mstore.base.errors import Invalid, NotFound

MAX_FIELD_BYTES = 1024
SASL = ("PLAIN", "LOGIN")
_MECHANISMS = {"PLAIN": PlainMechanism(), "LOGIN": LoginMechanism()}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who says so, with which password, and as whom they would act (empty: as themselves)."""

    authzid: bytes
    authcid: bytes
    password: bytes = field(repr=False)


class _Reader:
    """Has pysasl's credentials shown to it, as an identity is that they are to be compared with."""

    __slots__ = ("authcid", "secret")

    def compare_authcid(self, authcid: str) -> bool:
        self.authcid = authcid
        return True

    def compare_secret(self, secret: str) -> bool:
        self.secret = secret
        return True


class Exchange:
    """One authentication under way."""

    __slots__ = ("_challenge", "_mechanism", "_responses")

    def __init__(self, mechanism: Any) -> None:
        self._mechanism = mechanism
        self._challenge = b""
        self._responses: list[Any] = []

    def step(self, response: bytes | None) -> bytes | Credentials:
        """Take the client's response (None to begin without one); give a challenge or the credentials.

        Raises: Invalid for a response that is none of this mechanism.
        """
        if response is not None:
            if len(response) > 3 * MAX_FIELD_BYTES + 2:
                raise Invalid("a name or password is too long")
            self._responses.append(ChallengeResponse(self._challenge, response))
        try:
            found, _ = self._mechanism.server_attempt(self._responses)
        except ServerChallenge as challenge:
            self._challenge = challenge.data
            if response is not None:
                _check_fields(response)
            return self._challenge
        except (InvalidResponse, UnicodeDecodeError):
            raise Invalid("the response is not one of this mechanism, or not in UTF-8") from None
        seen = _Reader()
        found.verify(seen)
        authcid, password = seen.authcid.encode(), seen.secret.encode()
        # pysasl gives the name itself where no other identity was asked for.
        authzid = b"" if found.authzid == found.authcid else found.authzid.encode()
        _check_fields(authcid, password)
        if len(authzid) > MAX_FIELD_BYTES:
            raise Invalid("a name is too long")
        return Credentials(authzid, authcid, password)


def start(name: str) -> Exchange:
    """Begin an exchange by the mechanism's name, in any case.

    Raises: NotFound when there is no such mechanism.
    """
    mechanism = _MECHANISMS.get(name.upper())
    if mechanism is None:
        raise NotFound(f"there is no SASL mechanism {name}")
    return Exchange(mechanism)


def _check_fields(*fields: bytes) -> None:
    for value in fields:
        if not value:
            raise Invalid("a name or password is empty")
        if len(value) > MAX_FIELD_BYTES:
            raise Invalid("a name or password is too long")
        if b"\0" in value:
            raise Invalid("a name or password contains NUL")
        try:
            value.decode()
        except UnicodeDecodeError:
            raise Invalid("a name or password is not in UTF-8") from None
