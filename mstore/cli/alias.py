"""msadm alias: more addresses for users."""

from __future__ import annotations

from pathlib import Path

import click

from mstore.cli.acting import account_log
from mstore.cli.names import ALIAS, USER
from mstore.cli.site import Site, as_json, find, write_json, write_table


@click.group()
def alias() -> None:
    """Give users more addresses; nobody logs in with one."""


@alias.command("list")
@click.argument("user", type=USER, required=False)
@as_json
@click.pass_obj
def list_aliases(config: Path, user: str | None, as_json: bool) -> None:
    """List all aliases, or those of USER.

    Example: msadm alias list joe
    """
    accounts = Site(config).accounts()
    if user is None:
        found = list(accounts.all_aliases())
    else:
        record = find(accounts, user)
        found = [(name, record.name) for name in accounts.aliases(record)]
    if as_json:
        write_json([{"alias": name, "user": owner} for name, owner in found])
    else:
        write_table(("ALIAS", "USER"), found)


@alias.command()
@click.argument("name", metavar="ALIAS")
@click.argument("user", type=USER)
@as_json
@click.pass_obj
def add(config: Path, name: str, user: str, as_json: bool) -> None:
    """Let mail addressed to ALIAS reach USER.

    Example: msadm alias add postmaster joe
    """
    site = Site(config)
    accounts = site.accounts()
    record = find(accounts, user)
    accounts.add_alias(name, record)
    log = account_log(site)
    log.info("alias-added", account=record.name, alias=name)
    _done(name, record.name, f"mail for {name} reaches {record.name}", as_json)


@alias.command()
@click.argument("name", metavar="ALIAS", type=ALIAS)
@as_json
@click.pass_obj
def remove(config: Path, name: str, as_json: bool) -> None:
    """Take ALIAS away from whom it reaches.

    Example: msadm alias remove postmaster
    """
    site = Site(config)
    accounts = site.accounts()
    record = accounts.resolve(name, None)
    accounts.remove_alias(name)
    log = account_log(site)
    log.info("alias-removed", account=record.name if record else None, alias=name)
    _done(name, record.name if record else None, f"removed alias {name}", as_json)


def _done(name: str, user: str | None, text: str, as_json: bool) -> None:
    if as_json:
        write_json({"alias": name, "user": user})
    else:
        click.echo(text)
