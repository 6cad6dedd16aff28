"""The only user of ssl: the server's TLS contexts.

A context is made while the private key can still be read, before rights are dropped and before workers
are forked; sessions only wrap sockets with it. A certificate is renewed by making a new context.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from mstore.base.errors import Unavailable


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
