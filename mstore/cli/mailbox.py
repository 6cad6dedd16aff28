"""msadm mailbox: mailboxes from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mstore.cli.place import open_site, read_names
from mstore.cli.site import as_json, confirm, find, format_size, without_asking, write_json, write_table
from mstore.store.access import Access
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX


@click.group()
def mailbox() -> None:
    """List, create, delete and rename mailboxes.

    A mailbox is given as USER NAME, or in full as user/NAME/MAILBOX or shared/MAILBOX.
    """


@mailbox.command("list")
@click.argument("where", metavar="USER|shared/")
@as_json
@click.pass_obj
def list_mailboxes(config: Path, where: str, as_json: bool) -> None:
    """List the mailboxes of USER, or the shared ones, with what is in them."""
    with open_site(config) as (accounts, access):
        if where == SHARED_PREFIX:
            prefix, shown = SHARED_PREFIX, ""
            subscriptions: frozenset[str] = frozenset()
        else:
            record = find(accounts, where.removeprefix(OTHERS_PREFIX).removesuffix("/"))
            prefix = shown = f"{OTHERS_PREFIX}{record.name}/"
            subscriptions = Access(access.store, accounts, record).subscriptions()
        found = []
        for name in access.listing(prefix):
            if name.startswith(prefix):
                described = {"name": name.removeprefix(shown)} | _describe(access, name)
                if shown:
                    described["subscribed"] = described["name"] in subscriptions
                found.append(described)
    if as_json:
        write_json(found)
        return
    write_table(
        ("NAME", "MESSAGES", "UNSEEN", "SIZE", "ID"),
        [
            (
                mailbox["name"],
                mailbox.get("messages", "-"),
                mailbox.get("unseen", "-"),
                format_size(mailbox.get("size_bytes")),
                mailbox["id"] or "-",
            )
            for mailbox in found
        ],
        right=(1, 2, 3),
    )


@mailbox.command()
@click.argument("words", nargs=-1, required=True, metavar="[USER] NAME")
@as_json
@click.pass_obj
def create(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Create the mailbox NAME, and those above it that are missing."""
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1)
        entry = access.create(names.full[0])
        name = names.show(access.normalize(names.full[0]))
    _done(as_json, {"name": name, "id": entry.id}, f"created {name}")


@mailbox.command()
@click.argument("words", nargs=-1, required=True, metavar="[USER] NAME")
@without_asking
@as_json
@click.pass_obj
def delete(config: Path, words: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete the mailbox NAME with its messages."""
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1)
        place = access.place(names.full[0])
        confirm(f"Delete {place.name} with its messages?", yes)
        access.delete(place.name)
        name = names.show(place.name)
    _done(as_json, {"name": name}, f"deleted {name}")


@mailbox.command()
@click.argument("words", nargs=-1, required=True, metavar="[USER] OLD NEW")
@as_json
@click.pass_obj
def rename(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Rename the mailbox OLD, with all beneath it, to NEW, of the same user or shared like it."""
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 2)
        access.rename(*names.full)
        old, new = (names.show(access.normalize(name)) for name in names.full)
    _done(as_json, {"old": old, "new": new}, f"renamed {old} to {new}")


def _describe(access: Access, name: str) -> dict[str, Any]:
    place = access.place(name)
    if place.entry is None or place.entry.no_select:
        return {"id": None}
    opened = place.account.open_entry(place.entry)
    try:
        opened.refresh()
        status = opened.status()
        return {
            "id": place.entry.id,
            "uid_validity": place.entry.uid_validity,
            "messages": status.messages,
            "unseen": status.unseen,
            "size_bytes": status.size_bytes,
            "uid_next": status.uid_next,
        }
    finally:
        opened.release()


def _done(as_json: bool, value: dict[str, Any], text: str) -> None:
    if as_json:
        write_json(value)
    else:
        click.echo(text)
