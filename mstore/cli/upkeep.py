"""msadm compact, msadm rebuild: what the store does by itself, done now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mstore.accounts.accounts import Accounts
from mstore.base.errors import Invalid, MStoreError, NotFound
from mstore.cli.place import open_site, read_names
from mstore.cli.site import as_json, confirm, find, format_size, without_asking, write_json
from mstore.store import recovery
from mstore.store.access import Access
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX


@click.command()
@click.argument("words", nargs=-1, metavar="[USER [MAILBOX]]")
@as_json
@click.pass_context
def compact(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Give the bytes of all expunged messages back to the file system.

    In one mailbox (USER MAILBOX, user/NAME/MAILBOX or shared/MAILBOX), in those of USER, in the shared ones
    (shared/), or everywhere. The daemons may run meanwhile, and nobody has to wait: they do the same by
    themselves where much is to be had.
    """
    done: list[dict[str, Any]] = []
    failed = False
    with open_site(ctx.obj) as (accounts, access):
        for name in _names(accounts, access, words):
            try:
                given = _compact(access, name)
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


def _compact(access: Access, name: str) -> int | None:
    place = access.place(name)
    if place.entry is None:
        raise NotFound(f"there is no mailbox {name}")
    if place.entry.no_select:
        return None
    opened = place.account.open_entry(place.entry)
    try:
        return opened.compact(thorough=True)
    finally:
        opened.release()


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[USER] MAILBOX")
@click.option("--from-segments", is_flag=True, help="Believe neither index nor journal.")
@without_asking
@as_json
@click.pass_obj
def rebuild(config: Path, words: tuple[str, ...], from_segments: bool, yes: bool, as_json: bool) -> None:
    """Make the index of MAILBOX anew, from the index before and the journal as far as they are sound.

    With --from-segments from the messages alone: then flags are again those at arrival, and expunged
    messages come back whose bytes were not given back yet.
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1)
        place = access.place(names.full[0])
        if place.entry is None:
            raise NotFound(f"there is no mailbox {place.name}")
        if place.entry.no_select:
            raise Invalid(f"{place.name} holds no messages")
        if from_segments:
            confirm(f"Forget the flags of {place.name}, and bring expunged messages back?", yes)
        table = recovery.rebuild(
            place.account.path / place.entry.id, from_segments, place.entry.uid_validity
        )
        place.account.recount()
        found = {"name": names.show(place.name), "messages": table.messages, "uid_next": table.uid_next}
    if as_json:
        write_json(found)
    else:
        click.echo(f"{found['name']}: {table.messages} messages")
