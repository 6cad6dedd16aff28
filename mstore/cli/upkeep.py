"""msadm upkeep, msadm compact, msadm rebuild: what the store does by itself, done now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mstore.accounts.accounts import SHARED_ID, Accounts
from mstore.base.errors import Invalid, MStoreError, NotFound
from mstore.cli.names import MAILBOX, USERS_OR_SHARED
from mstore.cli.place import check_there, open_mail, open_site, read_names
from mstore.cli.site import (
    Site,
    as_json,
    confirm,
    find,
    find_or_shared,
    format_size,
    without_asking,
    write_json,
)
from mstore.store import recovery
from mstore.store.access import Access
from mstore.store.account import Account
from mstore.store.diskuse import is_due
from mstore.store.expiry import expire
from mstore.store.namestate import MailboxEntry
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX


@click.command()
@click.argument("users", nargs=-1, type=USERS_OR_SHARED, metavar="[USER|shared/…]")
@as_json
@click.pass_context
def upkeep(ctx: click.Context, users: tuple[str, ...], as_json: bool) -> None:
    """Expunge messages that are old by auto-expunge, and give back the space of what was expunged.

    For USER, or for everybody; for the daily cron. The daemons do the same for mailboxes that are in use.
    Space is given back where much is to be had; what retain-expunged keeps stays for its time.

    Example: msadm upkeep; msadm upkeep joe
    """
    done: list[dict[str, Any]] = []
    failed = False
    with open_site(ctx.obj) as (accounts, access):
        records = [find_or_shared(accounts, user) for user in users] or list(accounts.everybody())
        for record in records:
            prefix = SHARED_PREFIX if record.id == SHARED_ID else f"{OTHERS_PREFIX}{record.name}/"
            try:
                account = access.store.account(record)
                account.tidy()
                entries = [entry for entry in account.mailboxes().values() if not entry.no_select]
            except MStoreError as error:
                failed = True
                click.echo(f"{prefix}: {error}", err=True)
                continue
            for entry in entries:
                try:
                    found = _keep_up(account, entry)
                except MStoreError as error:
                    failed = True
                    click.echo(f"{prefix}{entry.name}: {error}", err=True)
                    continue
                done.append({"name": prefix + entry.name} | found)
                if not as_json and any(found.values()):
                    expunged, given = found["expunged"], format_size(found["given_back_bytes"])
                    click.echo(f"{prefix}{entry.name}: {expunged} messages expunged, {given} given back")
    if as_json:
        write_json(done)
    if failed:
        ctx.exit(1)


def _keep_up(account: Account, entry: MailboxEntry) -> dict[str, int]:
    days = account.lifetimes.days_in(entry)
    mailbox = account.open_entry(entry)
    try:
        mailbox.refresh()
        expunged = 0 if days is None else expire(mailbox, days)
        is_worth_it = is_due(mailbox.index, mailbox.retain_s)
        return {"expunged": expunged, "given_back_bytes": mailbox.compact() if is_worth_it else 0}
    finally:
        mailbox.release()


@click.command()
@click.argument("words", nargs=-1, type=MAILBOX, metavar="[USER [MAILBOX]]")
@click.option("--retained", is_flag=True, help="Also of those that retain-expunged keeps for msadm undelete.")
@as_json
@click.pass_context
def compact(ctx: click.Context, words: tuple[str, ...], retained: bool, as_json: bool) -> None:
    """Give the bytes of all expunged messages back to the file system, but for those that are retained.

    In one mailbox (USER MAILBOX, user/NAME/MAILBOX or shared/MAILBOX), in those of USER, in the shared ones
    (shared/), or everywhere. The daemons may run meanwhile, and nobody has to wait: they do the same by
    themselves where much is to be had.

    Example: msadm compact; msadm compact joe INBOX
    """
    done: list[dict[str, Any]] = []
    failed = False
    with open_site(ctx.obj) as (accounts, access):
        for name in _names(accounts, access, words):
            try:
                given = _compact(access, name, retained)
            except MStoreError as error:
                failed = True
                click.echo(f"{name}: {error}", err=True)
                continue
            if given is not None:
                done.append({"name": name, "given_back_bytes": given})
                if given and not as_json:
                    click.echo(f"{name}: {format_size(given)} given back")
    if as_json:
        write_json(done)
    elif not failed and not any(mailbox["given_back_bytes"] for mailbox in done):
        click.echo("nothing to give back")
    if failed:
        ctx.exit(1)


def _names(accounts: Accounts, access: Access, words: tuple[str, ...]) -> Iterator[str]:
    if len(words) > 1 or (words and words[0].rstrip("/").count("/")):
        names = read_names(accounts, words, 1)
        check_there(access, names)
        yield names.full[0]
        return
    prefixes = []
    if not words:
        users = [f"{OTHERS_PREFIX}{record.name}/" for record in accounts.list()]
        prefixes = [*users, SHARED_PREFIX]
    elif words[0].rstrip("/") == SHARED_PREFIX.rstrip("/"):
        prefixes = [SHARED_PREFIX]
    else:
        prefixes = [f"{OTHERS_PREFIX}{find(accounts, words[0]).name}/"]
    for prefix in prefixes:
        yield from [name for name in access.listing(prefix) if name.startswith(prefix)]


def _compact(access: Access, name: str, retained: bool) -> int | None:
    place = access.place(name)
    if place.entry is None:
        raise NotFound(f"there is no mailbox {name}")
    if place.entry.no_select:
        return None
    opened = place.account.open_entry(place.entry)
    try:
        return opened.compact(thorough=True, retain_s=0 if retained else None)
    finally:
        opened.release()


@click.command()
@click.argument("words", nargs=-1, required=True, type=MAILBOX, metavar="[USER] MAILBOX")
@click.option("--from-segments", is_flag=True, help="Believe neither index nor journal.")
@without_asking
@as_json
@click.pass_obj
def rebuild(config: Path, words: tuple[str, ...], from_segments: bool, yes: bool, as_json: bool) -> None:
    """Make the index of MAILBOX anew, from the index before and the journal as far as they are sound.

    With --from-segments from the messages alone: then flags are again those at arrival, and expunged
    messages come back whose bytes were not given back yet; with retain-expunged, those that msadm undelete
    can bring back stay expunged.

    Example: msadm rebuild joe INBOX
    """
    site = Site(config)
    with open_mail(site) as (accounts, access):
        names = read_names(accounts, words, 1)
        check_there(access, names)
        place = access.place(names.full[0])
        if place.entry is None:
            raise NotFound(f"there is no mailbox {place.name}")
        if place.entry.no_select:
            raise Invalid(f"{place.name} holds no messages")
        if from_segments:
            confirm(f"Forget the flags of {place.name}, and bring expunged messages back?", yes)
        table = recovery.rebuild(
            place.account.path / place.entry.id,
            from_segments,
            place.entry.uid_validity,
            bool(site.settings.retain_expunged),
        )
        place.account.recount()
        found = {"name": names.show(place.name), "messages": table.messages, "uid_next": table.uid_next}
    if as_json:
        write_json(found)
    else:
        click.echo(f"{found['name']}: {table.messages} messages")
