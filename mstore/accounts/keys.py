"""What is kept of a password: a verifier, the keys of SCRAM, and, only where a mechanism asks for it, the
password itself.

None of this ever leaves authproxyd and the administrator's tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps for SCRAM with one hash function (RFC 5802 §5.1)."""

    salt: bytes = field(repr=False)
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """All that is kept of one password of an account.

    ``verifier`` is a hash in its modular form (``$argon2id$…``). ``scram`` has the keys by the name of the
    hash function as in the mechanism's (``SHA-1``, ``SHA-256``, ``SHA-512``). ``secret`` is the password, for
    CRAM-MD5, DIGEST-MD5 and APOP, and None where none of them is enabled.
    """

    verifier: str = field(repr=False)
    scram: Mapping[str, ScramKeys] = field(default_factory=dict, repr=False)
    secret: bytes | None = field(default=None, repr=False)
