"""The only user of ssl: the server's TLS contexts, and a client's for asking other servers.

A context is made while the private key can still be read, before rights are dropped and before workers
are forked; sessions only wrap sockets with it. A certificate is renewed by making a new context.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from mstore.base.errors import Unavailable


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
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
    return context
