"""OAUTHBEARER (RFC 7628) and XOAUTH2: an access token, judged by ``mstore.auth.tokens``.

A token that is refused is answered by a challenge that tells why, as JSON; the client answers that with
nothing of interest, and the exchange has failed.
"""

from __future__ import annotations

import json
import re

from mstore.auth.introspection import TokenRefused
from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import (
    UNAVAILABLE,
    Exchange,
    Failed,
    Identity,
    malformed,
    read_name,
    take_first,
)
from mstore.base.errors import MStoreError

_BEARER = re.compile(rb"n,(?:a=(?P<name>[^,\0\x01]*))?,\x01(?P<pairs>(?:[A-Za-z]+=[^\x01\0]*\x01)*)\x01")
_XOAUTH2 = re.compile(rb"(?P<pairs>(?:[A-Za-z]+=[^\x01\0]*\x01)+)\x01")
_TOKEN = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


def exchange(judge: Judge) -> Exchange:
    """OAUTHBEARER (RFC 7628 §3.1)."""
    match = _BEARER.fullmatch((yield from take_first(judge)))
    if match is None:
        raise malformed()
    named = read_name((match["name"] or b"").replace(b"=2C", b",").replace(b"=3D", b"="))
    tokens = judge.site.tokens
    more = {"scope": tokens.scope if tokens else None}
    more["openid-configuration"] = tokens.configuration_url if tokens else None
    return _judge(judge, named, _pairs(match["pairs"]).get(b"auth", b""), "invalid_token", more)


def exchange_xoauth2(judge: Judge) -> Exchange:
    """XOAUTH2, as large providers have it: the name is a pair like the others."""
    match = _XOAUTH2.fullmatch((yield from take_first(judge)))
    if match is None:
        raise malformed()
    pairs = _pairs(match["pairs"])
    scope = judge.site.tokens.scope if judge.site.tokens else None
    more = {"schemes": "bearer", "scope": scope}
    return _judge(judge, read_name(pairs.get(b"user", b"")), pairs.get(b"auth", b""), "401", more)


def _judge(judge: Judge, named: str, auth: bytes, status: str, more: dict[str, str | None]) -> Identity:
    """Whose token it is; the name that came with it is whom he wants to act as."""
    error = {"status": status, **{key: value for key, value in more.items() if value}}
    refused = Failed(text="the access token is not accepted", data=json.dumps(error).encode())
    match = _TOKEN.fullmatch(auth)
    if judge.site.tokens is None:
        raise Failed(UNAVAILABLE, "access tokens are not accepted")
    judge.admit(named)
    if match is None:
        raise refused
    try:
        owner = judge.site.tokens.verify(match[1].decode())
    except TokenRefused:
        raise refused from None
    except MStoreError as broken:
        raise judge.unavailable(broken) from broken
    return Identity(owner, named)


def _pairs(data: bytes) -> dict[bytes, bytes]:
    """The pairs, each key once."""
    found: dict[bytes, bytes] = {}
    for pair in data.split(b"\x01")[:-1]:
        key, _, value = pair.partition(b"=")
        if key.lower() in found:
            raise malformed()
        found[key.lower()] = value
    return found
