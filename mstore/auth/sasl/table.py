"""The mechanisms of our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mstore.auth.judge import Judge
from mstore.auth.offers import own_offer
from mstore.auth.sasl import anonymous, apop, crammd5, digestmd5, external, login, oauth, plain, scram
from mstore.auth.sasl.mechanism import Exchange, Mechanism

_EXCHANGES: Mapping[str, Callable[[Judge], Exchange]] = {
    "SCRAM-SHA-512-PLUS": scram.exchange,
    "SCRAM-SHA-256-PLUS": scram.exchange,
    "SCRAM-SHA-1-PLUS": scram.exchange,
    "SCRAM-SHA-512": scram.exchange,
    "SCRAM-SHA-256": scram.exchange,
    "SCRAM-SHA-1": scram.exchange,
    "OAUTHBEARER": oauth.exchange,
    "XOAUTH2": oauth.exchange_xoauth2,
    "EXTERNAL": external.exchange,
    "CRAM-MD5": crammd5.exchange,
    "DIGEST-MD5": digestmd5.exchange,
    "PLAIN": plain.exchange,
    "LOGIN": login.exchange,
    "ANONYMOUS": anonymous.exchange,
    "APOP": apop.exchange,
}

OWN: Mapping[str, Mechanism] = MappingProxyType(
    {name: Mechanism(own_offer(name), exchange) for name, exchange in _EXCHANGES.items()}
)
"""By the name, in capitals."""
