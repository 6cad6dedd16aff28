"""msadm kick: end the sessions of a user."""

from __future__ import annotations

import click

from mstore.cli.live import ask_all
from mstore.cli.names import USER
from mstore.cli.site import Site, as_json, confirm, find, without_asking, write_json


@click.command()
@click.argument("name", type=USER)
@click.option("--session", metavar="ID", help="Only this session, as msadm who names it.")
@without_asking
@as_json
@click.pass_context
def kick(ctx: click.Context, name: str, session: str | None, yes: bool, as_json: bool) -> None:
    """End the sessions of NAME in all daemons.

    A session that is busy ends when its command is done. The user may log in again.

    Example: msadm kick joe --yes
    """
    site = Site(ctx.obj)
    user = find(site.accounts(), name).name
    confirm(f"End the sessions of {user}?", yes)
    site.become_runtime_user()
    told = ask_all(site.settings, "kick", user, session)
    if as_json:
        write_json(told)
    else:
        click.echo(f"told to end: {len(told)}")
