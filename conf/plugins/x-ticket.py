"""A SASL mechanism of a site, as an example: X-TICKET, a name and a ticket in one message.

Put it into <executable-base-path>/lib/plugins and restart M-Store; docs/authproxyd.md explains it. Tickets
are lines "NAME TICKET" of the file "tickets" beside the directory of plugins. They are read when authproxyd
starts, while it has the rights of the superuser, so the file may be root's alone.
"""

import hmac
from pathlib import Path

from mstore.auth.offers import Offer
from mstore.auth.sasl.mechanism import Failed, Identity, Mechanism, malformed, read_name, take_first

lines = (Path(__file__).resolve().parents[1] / "tickets").read_text().splitlines()
TICKETS = dict(line.split() for line in lines if line and not line.startswith("#"))


def exchange(judge):
    """One message: NAME SPACE TICKET."""
    name, space, ticket = (yield from take_first(judge)).partition(b" ")
    if not space:
        raise malformed()
    login = read_name(name)
    judge.admit(login)  # whoever has failed too often waits here, or is turned away
    right = TICKETS.get(login, "").encode()
    if not right or not hmac.compare_digest(ticket, right):
        raise Failed
    return Identity(login)


# A ticket is as good as a password: it is asked for under TLS only, or where clear text is allowed.
MECHANISM = Mechanism(Offer("X-TICKET", password=True), exchange)
