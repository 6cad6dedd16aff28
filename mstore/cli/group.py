"""msadm group: groups of users, which access control lists can name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mstore.accounts.accounts import Accounts
from mstore.accounts.groups import Group
from mstore.base.errors import NotFound
from mstore.cli.acting import account_log
from mstore.cli.names import GROUP, USER
from mstore.cli.site import (
    Site,
    as_json,
    confirm,
    did_you_mean,
    find,
    without_asking,
    write_json,
    write_table,
)


@click.group()
def group() -> None:
    """Make groups of users, which access control lists name as group:NAME."""


@group.command("list")
@click.argument("name", type=GROUP, required=False)
@as_json
@click.pass_obj
def list_groups(config: Path, name: str | None, as_json: bool) -> None:
    """List the groups, or the users in the group NAME.

    Example: msadm group list; msadm group list staff
    """
    accounts = Site(config).accounts()
    if name is not None:
        members = accounts.groups.members(_find_group(accounts, name))
        if as_json:
            write_json(list(members))
        else:
            write_table(("USER",), [(member,) for member in members])
        return
    groups = accounts.groups.list()
    if as_json:
        write_json([asdict(found) for found in groups])
    else:
        write_table(("NAME", "USERS"), [(found.name, found.members) for found in groups], right=(1,))


@group.command()
@click.argument("name")
@as_json
@click.pass_obj
def add(config: Path, name: str, as_json: bool) -> None:
    """Make the group NAME, with nobody in it.

    Example: msadm group add staff
    """
    site = Site(config)
    made = site.accounts().groups.add(name)
    log = account_log(site)
    log.info("group-added", group=made.name)
    _done(made, f"added group {made.name}", as_json)


@group.command()
@click.argument("name", type=GROUP)
@without_asking
@as_json
@click.pass_obj
def remove(config: Path, name: str, yes: bool, as_json: bool) -> None:
    """Remove the group NAME; what mailboxes were shared with it, nobody has by it any more.

    Example: msadm group remove staff --yes
    """
    site = Site(config)
    accounts = site.accounts()
    found = _find_group(accounts, name)
    confirm(f"Remove the group {found.name}?", yes)
    accounts.groups.remove(found)
    log = account_log(site)
    log.info("group-removed", group=found.name)
    _done(found, f"removed group {found.name}", as_json)


@group.command()
@click.argument("name", type=GROUP)
@click.argument("user", type=USER)
@as_json
@click.pass_obj
def join(config: Path, name: str, user: str, as_json: bool) -> None:
    """Put USER into the group NAME.

    Example: msadm group join staff joe
    """
    site = Site(config)
    accounts = site.accounts()
    found, record = _find_group(accounts, name), find(accounts, user)
    accounts.groups.join(found, record.id)
    log = account_log(site)
    log.info("group-joined", account=record.name, group=found.name)
    _done(found, f"{record.name} is in {found.name}", as_json)


@group.command()
@click.argument("name", type=GROUP)
@click.argument("user", type=USER)
@as_json
@click.pass_obj
def leave(config: Path, name: str, user: str, as_json: bool) -> None:
    """Take USER out of the group NAME.

    Example: msadm group leave staff joe
    """
    site = Site(config)
    accounts = site.accounts()
    found, record = _find_group(accounts, name), find(accounts, user)
    accounts.groups.leave(found, record.id)
    log = account_log(site)
    log.info("group-left", account=record.name, group=found.name)
    _done(found, f"{record.name} is no longer in {found.name}", as_json)


def _find_group(accounts: Accounts, name: str) -> Group:
    found = accounts.groups.find(name)
    if found is None:
        near = did_you_mean(name, (each.name for each in accounts.groups.list()))
        raise NotFound(f"there is no group {name}{near}")
    return found


def _done(found: Group, text: str, as_json: bool) -> None:
    if as_json:
        write_json({"id": found.id, "name": found.name})
    else:
        click.echo(text)
