"""The ways of proving who one is that M-Store has of its own, by the names they have in ms.conf.

What each of them is stands in ``mstore.auth.offers``. APOP is none of SASL's, and is switched like them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BY_DEFAULT: Mapping[str, bool] = MappingProxyType(
    {
        "scram-sha-512-plus": False,
        "scram-sha-256-plus": True,
        "scram-sha-1-plus": False,
        "scram-sha-512": False,
        "scram-sha-256": True,
        "scram-sha-1": False,
        "oauthbearer": True,
        "xoauth2": True,
        "external": True,
        "cram-md5": True,
        "digest-md5": False,
        "plain": True,
        "login": True,
        "anonymous": False,
        "apop": True,
    }
)
"""Which of them are offered where ms.conf says nothing; the strongest first, as they are announced."""

_BOUND = "-plus"


def is_on(given: Mapping[str, bool], name: str) -> bool:
    """Whether a mechanism (in lower case) is switched on, for the values of ``sasl-enable-``.

    The form of a mechanism that is bound to its channel follows the plain form unless it is named itself. One
    that is not ours is a plugin's, and its file is there because somebody wants it.
    """
    if name in given:
        return given[name]
    plain = name.removesuffix(_BOUND)
    return given.get(plain, BY_DEFAULT.get(name, True))
