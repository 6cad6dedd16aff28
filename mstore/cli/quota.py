"""msadm quota: how much mail users have and may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mstore.accounts.accounts import SHARED_ID, AccountRecord, Accounts
from mstore.base.errors import MStoreError
from mstore.cli.acting import account_log
from mstore.cli.limits import describe_limits, parse_messages, parse_storage
from mstore.cli.names import USERS_OR_SHARED
from mstore.cli.site import Site, as_json, find_or_shared, format_size, write_json, write_table
from mstore.store.quota import Usage
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX
from mstore.store.store import Store


@click.group()
def quota() -> None:
    """Show and set how much mail users may have.

    NAME is a user, also as user/NAME; shared/ are the shared mailboxes.
    """


@quota.command("list")
@as_json
@click.pass_context
def list_quotas(ctx: click.Context, as_json: bool) -> None:
    """Show what all users have and may have.

    Example: msadm quota list
    """
    site = Site(ctx.obj)
    accounts = site.accounts()
    _report(ctx, site, accounts.everybody(), as_json)


@quota.command()
@click.argument("names", nargs=-1, required=True, type=USERS_OR_SHARED, metavar="NAME…")
@as_json
@click.pass_context
def show(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Show what NAME has and may have.

    Example: msadm quota show joe shared/
    """
    site = Site(ctx.obj)
    _report(ctx, site, _find_all(site.accounts(), names), as_json)


@quota.command("set")
@click.argument("names", nargs=-1, required=True, type=USERS_OR_SHARED, metavar="NAME…")
@click.option("--storage", metavar="SIZE|none", help="How many bytes of mail are allowed (500M, 2G).")
@click.option("--messages", metavar="N|none", help="How many messages are allowed.")
@as_json
@click.pass_context
def set_quota(
    ctx: click.Context, names: tuple[str, ...], storage: str | None, messages: str | None, as_json: bool
) -> None:
    """Set what NAME may have; what is not given stays as it is.

    It holds for the next message to come. What is there already stays, also when it is more.

    Example: msadm quota set joe --storage 500M --messages 100000; msadm quota set shared/ --storage none
    """
    if storage is None and messages is None:
        raise click.UsageError("Give --storage, --messages or both.")
    size_limit = None if storage is None else parse_storage(storage)
    count_limit = None if messages is None else parse_messages(messages)
    site = Site(ctx.obj)
    accounts = site.accounts()
    records = [
        accounts.set_quota(
            record,
            record.quota_bytes if storage is None else size_limit,
            record.quota_messages if messages is None else count_limit,
        )
        for record in _find_all(accounts, names)
    ]
    site.become_runtime_user()
    log = account_log(site)
    for record in records:
        log.info("quota-set", account=_name_of(record), **describe_limits(record))
    _report(ctx, site, records, as_json)


@quota.command()
@click.argument("names", nargs=-1, type=USERS_OR_SHARED, metavar="[NAME…]")
@as_json
@click.pass_context
def recompute(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Count anew what NAME has, or what all have; the daemons may run meanwhile.

    Example: msadm quota recompute joe
    """
    site = Site(ctx.obj)
    accounts = site.accounts()
    records = _find_all(accounts, names) if names else accounts.everybody()
    _report(ctx, site, records, as_json, anew=True)


def _find_all(accounts: Accounts, names: Sequence[str]) -> list[AccountRecord]:
    return [find_or_shared(accounts, name) for name in names]


def _name_of(record: AccountRecord) -> str:
    return SHARED_PREFIX if record.id == SHARED_ID else record.name


def _report(
    ctx: click.Context, site: Site, records: Sequence[AccountRecord], as_json: bool, anew: bool = False
) -> None:
    """Write what accounts have and may have; the exit status is 1 when something cannot be told."""
    site.become_runtime_user()
    store = Store.of(site.settings)
    try:
        found = [_describe(store, record, anew) for record in records]
    finally:
        store.close()
    if as_json:
        write_json(found)
    else:
        write_table(("ROOT", "STORAGE", "LIMIT", "MESSAGES", "LIMIT"), map(_row, found), right=(1, 2, 3, 4))
        for entry in found:
            if "error" in entry:
                click.echo(f"{entry['root']}: {entry['error']}", err=True)
    if any("error" in entry for entry in found):
        ctx.exit(1)


def _describe(store: Store, record: AccountRecord, anew: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": record.name,
        "root": SHARED_PREFIX.rstrip("/") if record.id == SHARED_ID else OTHERS_PREFIX + record.name,
        "limit_bytes": record.quota_bytes,
        "limit_messages": record.quota_messages,
    }
    try:
        usage = _usage(store, record, anew)
    except MStoreError as error:
        return entry | {"used_bytes": None, "used_messages": None, "error": str(error)}
    return entry | {"used_bytes": usage.size_bytes, "used_messages": usage.messages}


def _usage(store: Store, record: AccountRecord, anew: bool) -> Usage:
    if not store.path_of(record).is_dir():
        return Usage(0, 0)  # nobody has logged in yet, and no mail has come
    account = store.account(record)
    return account.recount() if anew else account.usage()


def _row(entry: dict[str, Any]) -> Sequence[object]:
    return (
        entry["root"],
        "?" if entry["used_bytes"] is None else format_size(entry["used_bytes"]),
        format_size(entry["limit_bytes"]),
        "?" if entry["used_messages"] is None else entry["used_messages"],
        "-" if entry["limit_messages"] is None else entry["limit_messages"],
    )
