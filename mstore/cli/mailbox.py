"""msadm mailbox: a user's mailboxes from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mstore.cli.site import Site, as_json, confirm, find, format_size, without_asking, write_json, write_table
from mstore.store.account import Account, MailboxEntry
from mstore.store.store import Store


@click.group()
def mailbox() -> None:
    """List, create, delete and rename a user's mailboxes."""


@mailbox.command("list")
@click.argument("user")
@as_json
@click.pass_obj
def list_mailboxes(config: Path, user: str, as_json: bool) -> None:
    """List the mailboxes of USER with what is in them."""
    with _account(config, user) as account:
        subscriptions = account.subscriptions()
        found = [
            _describe(account, entry) | {"subscribed": entry.name in subscriptions}
            for entry in account.mailboxes().values()
        ]
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
@click.argument("user")
@click.argument("name")
@as_json
@click.pass_obj
def create(config: Path, user: str, name: str, as_json: bool) -> None:
    """Create the mailbox NAME of USER, and those above it that are missing."""
    with _account(config, user) as account:
        entry = account.create(name)
    _done(as_json, {"name": entry.name, "id": entry.id}, f"created {entry.name}")


@mailbox.command()
@click.argument("user")
@click.argument("name")
@without_asking
@as_json
@click.pass_obj
def delete(config: Path, user: str, name: str, yes: bool, as_json: bool) -> None:
    """Delete the mailbox NAME of USER with its messages."""
    with _account(config, user) as account:
        entry = account.entry(name)
        confirm(f"Delete {entry.name} of {user} with its messages?", yes)
        account.delete(entry.name)
    _done(as_json, {"name": entry.name}, f"deleted {entry.name}")


@mailbox.command()
@click.argument("user")
@click.argument("old")
@click.argument("new")
@as_json
@click.pass_obj
def rename(config: Path, user: str, old: str, new: str, as_json: bool) -> None:
    """Rename the mailbox OLD of USER, with all beneath it, to NEW."""
    with _account(config, user) as account:
        account.rename(old, new)
    _done(as_json, {"old": old, "new": new}, f"renamed {old} to {new}")


@contextmanager
def _account(config: Path, user: str) -> Iterator[Account]:
    site = Site(config)
    record = find(site.accounts(), user)
    site.become_runtime_user()
    store = Store(site.settings.mailstores)
    try:
        yield store.account(record)
    finally:
        store.close()


def _describe(account: Account, entry: MailboxEntry) -> dict[str, Any]:
    if entry.no_select:
        return {"name": entry.name, "id": None}
    opened = account.open(entry.name)
    try:
        opened.refresh()
        status = opened.status()
        return {
            "name": entry.name,
            "id": entry.id,
            "uid_validity": entry.uid_validity,
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
