"""The server side of the SASL mechanisms that carry a password: PLAIN (RFC 4616) and LOGIN.

An exchange is stepped with what the client sent, already out of base64, and gives the next challenge or the
credentials. Whether those are right is not judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from mstore.base.errors import Invalid, NotFound

MAX_FIELD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who says so, with which password, and as whom they would act (empty: as themselves)."""

    authzid: bytes
    authcid: bytes
    password: bytes = field(repr=False)


class Exchange(Protocol):
    """One authentication under way."""

    def step(self, response: bytes | None) -> bytes | Credentials:
        """Take the client's response (None to begin without one); give a challenge or the credentials.

        Raises: Invalid for a response that is none of this mechanism.
        """


class Plain:
    """PLAIN: authorization identity, authentication identity and password in one message.

    RFC 4616 §2.
    """

    __slots__ = ()

    def step(self, response: bytes | None) -> bytes | Credentials:
        """See Exchange."""
        if response is None:
            return b""
        fields = response.split(b"\0")
        if len(fields) != 3 or not fields[1] or not fields[2]:
            raise Invalid("the response is not of the form [authzid] NUL authcid NUL password")
        authzid, authcid, password = fields
        _check_fields(authzid, authcid, password)
        return Credentials(authzid, authcid, password)


class Login:
    """LOGIN: asks for the name, then for the password; never standardised, still used by old clients."""

    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name: bytes | None = None

    def step(self, response: bytes | None) -> bytes | Credentials:
        """See Exchange."""
        if response is None:
            return b"Username:"
        if self._name is None:
            if not response:
                raise Invalid("the name is empty")
            _check_fields(response)
            self._name = response
            return b"Password:"
        if not response:
            raise Invalid("the password is empty")
        _check_fields(response)
        return Credentials(b"", self._name, response)


SASL: Mapping[str, Callable[[], Exchange]] = MappingProxyType({"PLAIN": Plain, "LOGIN": Login})


def start(name: str) -> Exchange:
    """Begin an exchange by the mechanism's name, in any case.

    Raises: NotFound when there is no such mechanism.
    """
    make = SASL.get(name.upper())
    if make is None:
        raise NotFound(f"there is no SASL mechanism {name}")
    return make()


def _check_fields(*fields: bytes) -> None:
    for value in fields:
        if len(value) > MAX_FIELD_BYTES:
            raise Invalid("a name or password is too long")
        if b"\0" in value:
            raise Invalid("a name or password contains NUL")
        try:
            value.decode()
        except UnicodeDecodeError:
            raise Invalid("a name or password is not in UTF-8") from None
