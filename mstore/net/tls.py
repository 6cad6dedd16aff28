"""The only user of ssl: the server's TLS contexts, what a TLS connection knows of its two sides, and a
client's contexts for asking other servers.

A context is made while the private key can still be read, before rights are dropped and before workers
are forked; sessions only wrap sockets with it. A certificate is renewed by making a new context.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mstore.base.errors import Unavailable
from mstore.net.exporter import export

END_POINT, EXPORTER = "tls-server-end-point", "tls-exporter"
_NONE: Mapping[str, bytes] = {}


class ClientCertificate(NamedTuple):
    """Who a client's certificate, verified in the handshake, says that it is."""

    common_name: str | None
    emails: tuple[str, ...]


class ServerContext(ssl.SSLContext):
    """A context, and what mechanisms of authentication bind to."""

    end_point: bytes | None = None
    """The hash of our certificate (RFC 5929 §4.1)."""
    exports = False
    """Connections give keying material (RFC 9266)."""


def make_client_context(verify: bool, authorities: Path | None) -> ssl.SSLContext:
    """A client's context; without ``verify`` any certificate will do, otherwise one by these authorities.

    Raises: Unavailable when the file of authorities cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (ssl.SSLError, OSError) as error:
        raise Unavailable(f"no certificates in {authorities}: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def start_client_tls(context: ssl.SSLContext, sock: socket.socket, host: str) -> ssl.SSLSocket:
    """Put a client's blocking connection under TLS; the time limit of the socket holds.

    Raises: OSError (ssl.SSLError is one), also for a certificate that is not the host's.
    """
    return context.wrap_socket(sock, server_hostname=host)


def make_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context: TLS 1.2 and later, ciphers and curves as the library recommends.

    Raises: Unavailable, naming the file that cannot be read or does not fit.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # One ticket is enough for a client that resumes; each costs memory and bytes in every handshake.
    context.num_tickets = 1
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise Unavailable(f"no certificate with its key in {certificate} and {key}: {error}") from None
    context.end_point = hash_certificate(certificate.read_bytes())
    context.exports = _can_export(context)
    return context


def channel_bindings(sock: Any) -> Mapping[str, bytes]:
    """What a client of this TLS connection may bind its authentication to, by type."""
    context = getattr(sock, "context", None)
    if not isinstance(context, ServerContext):
        return _NONE
    found = {} if context.end_point is None else {END_POINT: context.end_point}
    exported = export(sock._sslobj) if context.exports else None
    if exported is not None:
        found[EXPORTER] = exported
    return found


def client_certificate(sock: Any) -> ClientCertificate | None:
    """Who the client of this TLS connection is, where its certificate has been verified."""
    ask = getattr(sock, "getpeercert", None)
    try:
        found = ask() if ask is not None else None
    except ValueError:
        return None
    if not found:
        return None
    names = [value for part in found.get("subject", ()) for name, value in part if name == "commonName"]
    emails = tuple(value for kind, value in found.get("subjectAltName", ()) if kind == "email")
    return ClientCertificate(names[-1] if names else None, emails)


def hash_certificate(pem: bytes) -> bytes | None:
    """The hash of a certificate as RFC 5929 §4.1 has it, None where its signature says none."""
    from cryptography import x509  # takes 40 ms, which only who makes a context should pay

    certificate = x509.load_pem_x509_certificate(pem)
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, ssl.PEM_cert_to_DER_cert(_first(pem))).digest()


def _first(pem: bytes) -> str:
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    return (begin + pem.split(begin, 1)[1].split(end, 1)[0] + end).decode("ascii")


def _can_export(context: ssl.SSLContext) -> bool:
    """Whether both sides of a conversation, held in memory, get the same keying material."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    sides = [asking.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True)]
    try:
        for _ in range(3):
            for side in sides:
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        one, other = (export(side._sslobj) for side in sides)  # type: ignore[attr-defined]
    except (ssl.SSLError, OSError, ValueError):
        return False
    return one is not None and one == other
