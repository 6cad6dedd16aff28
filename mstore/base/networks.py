"""Network addresses: what counts as one client, and which machines are trusted."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def remember_origins(trusted: tuple[Network, ...]) -> Callable[[str], str | None]:
    """``origin_of`` with these, which remembers its answers by the address alone: networks hash slowly."""
    return lru_cache(maxsize=4096)(lambda peer: origin_of(peer, trusted))


def origin_of(peer: str, trusted: tuple[Network, ...] = ()) -> str | None:
    """The address or network by which a client is counted; None for one that is trusted, or has no address.

    A site is given a /64 network in IPv6 as it is given an address in IPv4, so that is what counts there.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in trusted):
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
    return str(address)
