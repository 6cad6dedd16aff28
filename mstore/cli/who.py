"""msadm who: the sessions of all workers."""

from __future__ import annotations

import time
from ipaddress import IPv6Address, ip_address, ip_network

import click

from mstore.base.clock import format_age
from mstore.base.errors import Invalid
from mstore.base.networks import Network
from mstore.cli.live import PROTOCOLS, ask_all
from mstore.cli.names import USER
from mstore.cli.site import Site, as_json, find, format_size, write_json, write_table


@click.command()
@click.argument("name", type=USER, required=False)
@click.option("--service", type=click.Choice(PROTOCOLS), help="Only the sessions of this daemon.")
@click.option("--address", metavar="ADDRESS", help="Only those from this address, or network: 192.0.2.0/24.")
@click.option("--mailbox", metavar="MAILBOX", help="Only those that have this mailbox selected.")
@as_json
@click.pass_context
def who(
    ctx: click.Context,
    name: str | None,
    service: str | None,
    address: str | None,
    mailbox: str | None,
    as_json: bool,
) -> None:
    """Show who is connected, or the sessions of NAME.

    IDLE is how long the client has sent nothing.

    Example: msadm who joe --service imapd
    """
    site = Site(ctx.obj)
    network = None if address is None else parse_network(address)
    user = None if name is None else find(site.accounts(), name).name
    site.become_runtime_user()
    sessions = [
        each
        for each in ask_all(site.settings, "who", user)
        if service in (None, each["service"])
        and mailbox in (None, each["mailbox"])
        and (network is None or is_from(each["peer"], network))
    ]
    if as_json:
        write_json(sessions)
        return
    now = time.time()
    write_table(
        ("USER", "SERVICE", "PEER", "TLS", "MAILBOX", "AGE", "IDLE", "STATE", "IN", "OUT", "SESSION"),
        [
            (
                each["user"] or "-",
                each["service"],
                each["peer"],
                "yes" if each["tls"] else "no",
                each["mailbox"] or "-",
                format_age(now - each["since"]),
                format_age(each["silent_s"]),
                "waiting" if each["idle"] else "busy",
                format_size(each["bytes_in"]),
                format_size(each["bytes_out"]),
                each["session"],
            )
            for each in sessions
        ],
        right=(5, 6, 8, 9),
    )


def parse_network(text: str) -> Network:
    """An address, or a network.

    Raises: Invalid.
    """
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f"{text} is neither an address nor a network") from None


def is_from(peer: str, network: Network) -> bool:
    """Whether a client's address is in a network; that of a Unix socket is in none."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None and network.version == 4:
        return address.ipv4_mapped in network
    return address in network
