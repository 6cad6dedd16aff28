"""APOP (RFC 1939 §7): a digest of the timestamp in pop3d's greeting and the password.

It is a command of POP3, and comes here as a mechanism with one message: ``timestamp NUL name NUL digest``.
"""

from __future__ import annotations

import hashlib
import hmac

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Failed, Identity, malformed, read_name, take_first


def exchange(judge: Judge) -> Exchange:
    """Compare the digests."""
    parts = (yield from take_first(judge)).split(b"\0")
    if len(parts) != 3 or not parts[0] or len(parts[2]) != 32:
        raise malformed()
    stamp, login, digest = parts[0], read_name(parts[1]), parts[2]

    def fits(secret: bytes) -> bool:
        return hmac.compare_digest(hashlib.md5(stamp + secret).hexdigest().encode(), digest.lower())

    if judge.find_secret(login, fits) is None:
        raise Failed
    return Identity(login)
