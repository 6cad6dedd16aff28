"""SCRAM with SHA-1, SHA-256 and SHA-512, alone or bound to the TLS channel (RFC 5802, RFC 7677).

The server keeps no password, only keys that a client's proof is checked against. Who does not exist has a
salt as well, always the same one, and is told the same at the end as who has a wrong password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from pysasl.prep import saslprep

from mstore.accounts.keys import ScramKeys
from mstore.auth.judge import SCRAM_ITERATIONS, Judge, Site
from mstore.auth.sasl.mechanism import Exchange, Failed, Identity, malformed, read_name, take_first

HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
SALT_BYTES = 16
MAX_NONCE_BYTES = 512
_FIRST = re.compile(
    rb"(?P<gs2>(?P<flag>[ny]|p=[A-Za-z0-9.-]+),(?:a=(?P<authzid>[^,\0]+))?,)"
    rb"(?P<bare>(?P<mext>m=[^,\0]*,)?n=(?P<name>[^,\0]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]+)*)",
    re.DOTALL,
)
_FINAL = re.compile(
    rb"(?P<unproved>c=(?P<channel>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]+)*)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _First:
    """A client's first message."""

    gs2: bytes
    flag: bytes
    bare: bytes
    name: str
    authzid: str
    nonce: bytes


def exchange(judge: Judge) -> Exchange:
    """The two messages of each side."""
    words = judge.question.mechanism.removeprefix("SCRAM-")
    hash_name = words.removesuffix("-PLUS")
    first = _read_first((yield from take_first(judge)))
    bound_to = _check_binding(judge, first.flag, words.endswith("-PLUS"))
    found = judge.find_keys(first.name)
    kept = found.scram.get(hash_name) if found is not None else None
    if kept is not None:
        judge.site.iterations[hash_name] = kept.iterations
    keys = kept or _decoy(judge, hash_name, first.name)
    nonce = first.nonce + secrets.token_urlsafe(24).encode()
    told = b"r=%b,s=%b,i=%d" % (nonce, base64.b64encode(keys.salt), keys.iterations)
    final = _FINAL.fullmatch((yield told))
    if final is None:
        raise malformed()
    channel, proof = _decode(final["channel"]), _decode(final["proof"])
    if final["nonce"] != nonce:
        raise _error("other-error")
    if channel != first.gs2 + bound_to:
        raise _error("channel-bindings-dont-match")
    message = b",".join((first.bare, told, final["unproved"]))

    def fits(made: ScramKeys) -> bool:
        return verify_proof(HASHES[hash_name], made, message, proof)

    right = kept if fits(keys) else judge.find_app_scram(hash_name, keys, fits)
    if right is None:
        # Told without a last message of ours (RFC 5802 §7 "OPTIONAL"): clients take that for a fault in the
        # conversation, and their users would not learn that the password is wrong.
        raise Failed
    signature = hmac.digest(right.server_key, message, HASHES[hash_name])
    return Identity(first.name, first.authzid, b"v=" + base64.b64encode(signature))


def verify_proof(hash_name: str, keys: ScramKeys, message: bytes, proof: bytes) -> bool:
    """Whether a client's proof shows that it has the password (RFC 5802 §3)."""
    signature = hmac.digest(keys.stored_key, message, hash_name)
    if len(signature) != len(proof):
        return False
    client_key = (int.from_bytes(signature, "big") ^ int.from_bytes(proof, "big")).to_bytes(len(proof), "big")
    return hmac.compare_digest(hashlib.new(hash_name, client_key).digest(), keys.stored_key)


def _read_first(message: bytes) -> _First:
    match = _FIRST.fullmatch(message)
    if match is None or len(match["nonce"]) > MAX_NONCE_BYTES:
        raise malformed()
    if match["mext"] is not None:
        raise _error("extensions-not-supported")
    name, authzid = _read_saslname(match["name"]), _read_saslname(match["authzid"] or b"")
    try:
        name = saslprep(name)
    except ValueError:
        raise _error("invalid-username-encoding") from None
    if not name:
        raise _error("invalid-username-encoding")
    return _First(match["gs2"], match["flag"], match["bare"], name, authzid, match["nonce"])


def _read_saslname(data: bytes) -> str:
    """A name in which ``,`` and ``=`` are written otherwise (RFC 5802 §5.1)."""
    if re.search(rb"=(?!2C|3D)", data):
        raise _error("invalid-username-encoding")
    return read_name(data.replace(b"=2C", b",").replace(b"=3D", b"="))


def _check_binding(judge: Judge, flag: bytes, plus: bool) -> bytes:
    """The data that the client must bind to, empty for none (RFC 5802 §6).

    Some clients bind themselves without saying so in the mechanism's name.
    """
    if flag.startswith(b"p="):
        bindings = judge.question.bindings
        if not bindings:
            raise _error("channel-binding-not-supported")
        data = bindings.get(flag[2:].decode())
        if data is None:
            raise _error("unsupported-channel-binding-type")
        return data
    if plus:
        raise _error("channel-bindings-dont-match")
    if flag == b"y" and judge.bound:
        # The client would have bound itself, but was told that we cannot: somebody is in between.
        raise _error("server-does-support-channel-binding")
    return b""


def _decoy(judge: Judge, hash_name: str, name: str) -> ScramKeys:
    """Keys that no proof fits, of somebody who seems to exist: the same for every spelling of a name."""
    site: Site = judge.site
    text = f"scram {hash_name} {site.accounts.rules.key(name)}".encode()
    made = hmac.digest(judge.site_key(), text, "sha512")
    iterations = site.iterations.get(hash_name, SCRAM_ITERATIONS)
    size = hashlib.new(HASHES[hash_name]).digest_size
    return ScramKeys(made[:SALT_BYTES], iterations, secrets.token_bytes(size), secrets.token_bytes(size))


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _error("invalid-encoding") from None


def _error(value: str) -> Failed:
    """A failure of which the client is told the kind (RFC 5802 §7 "server-error-value")."""
    return Failed(data=b"e=" + value.encode())
