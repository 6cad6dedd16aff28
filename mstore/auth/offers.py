"""Which mechanisms there are to offer, and on which connections: what workers and authproxyd both know.

Those that M-Store has of its own follow from the configuration. authproxyd adds those of its plugins, and
says all of them to whoever connects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mstore.base import saslnames
from mstore.base.errors import Invalid
from mstore.base.options import Settings

NAME = re.compile(r"[A-Z0-9_-]{1,20}\Z")
"""RFC 4422 §3.1."""
_MARKS = ("password", "binding", "certificate", "command")


@dataclass(frozen=True, slots=True)
class Offer:
    """One mechanism: its name, and what a connection must be like."""

    name: str
    password: bool = False
    """It sends the password, or as good as that: only under TLS, or where clear text is allowed."""
    binding: bool = False
    """It is bound to a TLS channel."""
    certificate: bool = False
    """It needs a client's certificate that TLS has verified."""
    command: bool = False
    """It is a command of its own (APOP), and in no list of SASL mechanisms."""
    services: frozenset[str] = frozenset()
    """The protocols it is for; none: all."""

    def format(self) -> bytes:
        """As a field of authproxyd's HELLO."""
        marks = [mark for mark in _MARKS if getattr(self, mark)]
        return " ".join([self.name, *marks, *(f"service={name}" for name in sorted(self.services))]).encode()

    @classmethod
    def parse(cls, text: bytes) -> Offer:
        """From such a field.

        Raises: Invalid
        """
        name, *words = text.decode("ascii", "replace").split(" ")
        services = frozenset(word.removeprefix("service=") for word in words if word.startswith("service="))
        marks = {word: True for word in words if not word.startswith("service=")}
        if not NAME.match(name) or not marks.keys() <= set(_MARKS):
            raise Invalid(f"{text!r} is no mechanism")
        return cls(name, services=services, **marks)

    def fits(self, service: str, tls: bool, passwords: bool, bound: bool, certified: bool) -> bool:
        """Whether it can work on such a connection; ``passwords`` tells whether these may be sent there."""
        if self.services and service not in self.services:
            return False
        if self.binding and not (tls and bound):
            return False
        return not (self.password and not passwords) and not (self.certificate and not certified)


_OWN = {
    offer.name: offer
    for offer in (
        *(Offer(f"SCRAM-{name}-PLUS", binding=True) for name in ("SHA-512", "SHA-256", "SHA-1")),
        *(Offer(f"SCRAM-{name}") for name in ("SHA-512", "SHA-256", "SHA-1")),
        Offer("OAUTHBEARER", password=True),
        Offer("XOAUTH2", password=True),
        Offer("EXTERNAL", certificate=True),
        Offer("CRAM-MD5"),
        Offer("DIGEST-MD5"),
        Offer("PLAIN", password=True),
        Offer("LOGIN", password=True),
        Offer("ANONYMOUS", services=frozenset({"imap"})),
        Offer("APOP", command=True, services=frozenset({"pop3"})),
    )
}
_BY_KEYS = frozenset(name for name in _OWN if name.startswith("SCRAM-")) | {"CRAM-MD5", "DIGEST-MD5", "APOP"}
"""Those that work with what the account database keeps of a password, and not with the password itself."""
_BY_TOKENS = frozenset({"OAUTHBEARER", "XOAUTH2"})


def own_offers(settings: Settings) -> tuple[Offer, ...]:
    """The mechanisms of our own that the configuration switches on and that can work."""
    found = []
    for name in saslnames.BY_DEFAULT:
        offer = _OWN[name.upper()]
        if offer.name in _BY_KEYS and settings.authproxy_authmech != "authdb":
            continue
        if offer.name in _BY_TOKENS and not settings.has_oauth:
            continue
        if settings.may_use(name):
            found.append(offer)
    return tuple(found)


def own_offer(name: str) -> Offer:
    """A mechanism of our own, whether switched on or not."""
    return _OWN[name]


def format_all(offers: Iterable[Offer]) -> list[tuple[bytes, bytes]]:
    """As fields of authproxyd's HELLO."""
    return [(b"mechanism", offer.format()) for offer in offers]
