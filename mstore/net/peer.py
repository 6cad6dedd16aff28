"""What is known of the client at the other end of a connection."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Whom a client has proved to be by a certificate that one of ``tls-client-ca`` has signed."""

    common_name: str | None
    """The subject's; None where it has none, or several."""
    emails: tuple[str, ...] = ()
    """The mail addresses among the subject's alternative names."""


def is_loopback(peer: str) -> bool:
    """Whether a peer, by its address, is on this host; Unix sockets are ``local``."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer == "local"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
