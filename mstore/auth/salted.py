"""The verifiers of directories: ``{SSHA}``, ``{SSHA256}``, ``{SSHA512}`` and the same without salt.

Base64 of one round of SHA over password and salt, then the salt (RFC 2307 §5.3 and what followed it). They
are only read: one round is far too little for a new verifier.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_HASHES = {"": "sha1", "256": "sha256", "512": "sha512"}


def _parts(verifier: str) -> tuple[str, bytes, bytes] | None:
    """Hash function, hash and salt."""
    scheme, _, text = verifier.removeprefix("{").partition("}")
    name = _HASHES.get(scheme.removeprefix("S").removeprefix("SHA") if scheme[:2] == "SS" else scheme[3:])
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if name is None:
        return None
    size = hashlib.new(name).digest_size
    is_salted = scheme.startswith("SS")
    if len(data) < size or is_salted != (len(data) > size):
        return None
    return name, data[:size], data[size:]


def can_read(verifier: str) -> bool:
    """Whether the verifier is complete."""
    return _parts(verifier) is not None


def verify(password: bytes, verifier: str) -> bool:
    """Whether a password is the one behind a verifier."""
    parts = _parts(verifier)
    if parts is None:
        return False
    name, digest, salt = parts
    return hmac.compare_digest(hashlib.new(name, password + salt).digest(), digest)
