"""msadm mailbox: mailboxes from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mstore.base.errors import Invalid, NotFound
from mstore.base.values import MOST_DAYS
from mstore.cli.names import MAILBOX, USER_OR_SHARED, Names
from mstore.cli.place import check_there, open_site, read_names
from mstore.cli.site import as_json, confirm, find, format_size, without_asking, write_json, write_table
from mstore.store.access import Access
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX
from mstore.store.specialuse import USES, holder


@click.group()
def mailbox() -> None:
    """List, create, delete and rename mailboxes; say how long messages stay in one.

    A mailbox is given as USER NAME, or in full as user/NAME/MAILBOX or shared/MAILBOX.
    """


@mailbox.command("list")
@click.argument("where", type=USER_OR_SHARED, metavar="USER|shared/")
@as_json
@click.pass_obj
def list_mailboxes(config: Path, where: str, as_json: bool) -> None:
    """List the mailboxes of USER, or the shared ones, with what is in them, and how many days it stays.

    Example: msadm mailbox list joe; msadm mailbox list shared/
    """
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
        ("NAME", "MESSAGES", "UNSEEN", "SIZE", "DAYS", "ID"),
        [
            (
                mailbox["name"],
                mailbox.get("messages", "-"),
                mailbox.get("unseen", "-"),
                format_size(mailbox.get("size_bytes")),
                mailbox.get("auto_expunge_days") or "-",
                mailbox["id"] or "-",
            )
            for mailbox in found
        ],
        right=(1, 2, 3, 4),
    )


@mailbox.command()
@click.argument("words", nargs=-1, required=True, type=MAILBOX, metavar="[USER] NAME")
@as_json
@click.pass_obj
def create(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Create the mailbox NAME, and those above it that are missing.

    Example: msadm mailbox create joe Archive/2026; msadm mailbox create shared/bugs
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1)
        entry = access.create(names.full[0])
        name = names.show(access.normalize(names.full[0]))
    _done(as_json, {"name": name, "id": entry.id}, f"created {name}")


@mailbox.command()
@click.argument("words", nargs=-1, required=True, type=MAILBOX, metavar="[USER] NAME")
@without_asking
@as_json
@click.pass_obj
def delete(config: Path, words: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete the mailbox NAME with its messages.

    Example: msadm mailbox delete joe Archive/2026 --yes
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1)
        check_there(access, names)
        place = access.place(names.full[0])
        confirm(f"Delete {place.name} with its messages?", yes)
        access.delete(place.name)
        name = names.show(place.name)
    _done(as_json, {"name": name}, f"deleted {name}")


@mailbox.command()
@click.argument(
    "words", nargs=-1, required=True, type=Names("place mailbox mailbox"), metavar="[USER] OLD NEW"
)
@as_json
@click.pass_obj
def rename(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Rename the mailbox OLD, with all beneath it, to NEW, of the same user or shared like it.

    Example: msadm mailbox rename joe Archive Old; msadm mailbox rename shared/bugs shared/reports
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 2)
        check_there(access, names)
        access.rename(*names.full)
        old, new = (names.show(access.normalize(name)) for name in names.full)
    _done(as_json, {"old": old, "new": new}, f"renamed {old} to {new}")


@mailbox.command()
@click.argument(
    "words", nargs=-1, required=True, type=Names("place mailbox"), metavar="[USER] NAME|\\USE DAYS"
)
@as_json
@click.pass_obj
def days(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    r"""Set how many DAYS messages stay in the mailbox NAME, or in that for \USE, whatever auto-expunge says.

    DAYS is a number, "forever", or "default" for what auto-expunge says again. It goes with the mailbox when
    that is renamed.

    Example: msadm mailbox days joe '\Trash' 7; msadm mailbox days joe Junk forever
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1, 1)
        number = _parse_days(names.rest[0])
        place = access.place(_holder(access, names.full[0]))
        entry = place.account.set_days(place.inner, number)
        effective = place.account.lifetimes.days_in(entry)
        name = names.show(place.name)
    found = {"name": name, "auto_expunge_days": effective, "auto_expunge_own": entry.days is not None}
    text = "for ever" if effective is None else f"{effective} days"
    _done(as_json, found, f"messages stay in {name} {text}")


def _parse_days(word: str) -> int | None:
    if word.lower() in ("forever", "default"):
        return 0 if word.lower() == "forever" else None
    if not (word.isascii() and word.isdigit() and 0 < int(word[:6]) <= MOST_DAYS):
        raise Invalid(f"{word} is no number of days (1 to {MOST_DAYS}), forever or default")
    return int(word)


def _holder(access: Access, name: str) -> str:
    """The full name of a mailbox that is given by its name or by its special use. Raises: NotFound."""
    prefix, _, last = name.rpartition("/")
    use = USES.get(last.lower())
    if use is None or name.startswith(SHARED_PREFIX):
        return name
    found = holder(access.place(f"{prefix}/INBOX").account.mailboxes(), use)
    if found is None:
        raise NotFound(f"{prefix} has no mailbox for {use} yet; msadm mailbox create makes one")
    return f"{prefix}/{found}"


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
            "auto_expunge_days": place.account.lifetimes.days_in(place.entry),
            "auto_expunge_own": place.entry.days is not None,
        }
    finally:
        opened.release()


def _done(as_json: bool, value: dict[str, Any], text: str) -> None:
    if as_json:
        write_json(value)
    else:
        click.echo(text)
