"""msadm backup: making, listing and verifying backups."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from mstore.accounts.accounts import AccountRecord
from mstore.accounts.database import ACCOUNTS, PASSWORDS
from mstore.accounts.transfer import copy_database
from mstore.backup import pack
from mstore.backup.repository import MARK, PASSING, Backup, Repository
from mstore.backup.save import Saver
from mstore.backup.verify import size_bytes, verify
from mstore.base.errors import MStoreError, StorageFailed
from mstore.cli.names import Names
from mstore.cli.progress import progress
from mstore.cli.site import Site, as_json, find_or_shared, format_size, write_json, write_table
from mstore.store.store import Store


@click.command()
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=Names("directory user|shared ..."),
    metavar="DIR [USER]... | list DIR | verify DIR",
)
@click.option("--verify", "verifies", is_flag=True, help="Read every message and manifest; change nothing.")
@as_json
@click.pass_context
def backup(ctx: click.Context, words: tuple[str, ...], verifies: bool, as_json: bool) -> None:
    """Back up all accounts, or those of USER..., to DIR, while they are in use.

    DIR keeps each message once: a second backup reads only what is new. shared/ stands for the shared
    mailboxes. "list DIR" shows which backups there are, "verify DIR" reads all of them.

    Example: msadm backup /backup/mail; msadm backup /backup/mail joe; msadm backup list /backup/mail;
    msadm backup verify /backup/mail
    """
    what, path = ("make", Path(words[0]))
    if len(words) == 2 and words[0] in ("list", "verify"):
        what, path = words[0], Path(words[1])
    elif verifies:
        what = "verify"
        if len(words) > 1:
            raise click.UsageError("--verify reads the backups of all users")
    if what == "list":
        _list(Repository.open(path), as_json)
    elif what == "verify":
        if not _verify(Repository.open(path), as_json):
            ctx.exit(1)
    elif not _make(Site(ctx.obj), path, words[1:], as_json):
        ctx.exit(1)


def _make(site: Site, path: Path, users: Sequence[str], as_json: bool) -> bool:
    accounts = site.accounts()
    records = [find_or_shared(accounts, name) for name in users] or accounts.everybody()
    os.umask(0o077)
    repository = Repository.make(path)
    with repository.alone():
        made = Backup("", int(time.time()), not users)
        begun = repository.begin(made.time_s)
        made.id = begun.name.removeprefix(PASSING)
        has_passwords = _copy_databases(site, repository, begun)
        site.become_runtime_user()
        repository.sweep(begun)
        packs = pack.Writer(repository.packs)
        store = Store.of(site.settings)
        try:
            saver = Saver(repository, begun, made, packs)
            for record in records:
                _save(saver, store, record, made)
            packs.finish()
            repository.finish(begun, made)
        finally:
            packs.close()
            store.close()
    _tell(made, has_passwords, as_json)
    accounts.close()
    return not made.left_out


def _copy_databases(site: Site, repository: Repository, begun: Path) -> bool:
    """Copy the databases while we may, and give the rest to the user that goes on; whether with passwords."""
    db_path = site.settings.db_path
    copy_database(db_path, ACCOUNTS, begun / "accounts.db")
    has_passwords = os.access(db_path / PASSWORDS.file_name, os.R_OK)
    if has_passwords:
        copy_database(db_path, PASSWORDS, begun / "passwords.db")
    ids = site.runtime_ids()
    if ids is not None:
        mine = (repository.path, repository.packs, repository.path / MARK, begun / "accounts.db", begun)
        for path in mine:
            os.chown(path, *ids, follow_symlinks=False)
    return has_passwords


def _save(saver: Saver, store: Store, record: AccountRecord, made: Backup) -> None:
    try:
        account = store.account(record)
        with progress(record.name, account.usage().messages) as tick:
            saver.save(account, record.name, tick)
    except StorageFailed:
        raise
    except MStoreError as error:
        made.left_out.append(f"{record.name}: {error}")


def _tell(made: Backup, has_passwords: bool, as_json: bool) -> None:
    if as_json:
        write_json(asdict(made) | {"passwords": has_passwords})
        return
    for text in made.left_out:
        click.echo(f"left out: {text}", err=True)
    click.echo(
        f"backup {made.id}: {len(made.accounts)} accounts, {made.messages} messages"
        f" ({format_size(made.size_bytes)})"
        + (f" and {made.retained} that were expunged" if made.retained else "")
        + f", {made.new_messages} of them new ({format_size(made.new_bytes)})"
        + ("" if has_passwords else "; without passwords, which only the superuser may read")
    )


def _list(repository: Repository, as_json: bool) -> None:
    found = repository.backups()
    if as_json:
        write_json([asdict(backup) for backup in found])
        return
    write_table(
        ("ID", "TIME", "ACCOUNTS", "MESSAGES", "SIZE", "NEW", "LEFT OUT"),
        [
            (
                backup.id,
                datetime.fromtimestamp(backup.time_s).strftime("%Y-%m-%d %H:%M:%S"),
                f"{len(backup.accounts)}{'' if backup.whole else ' of more'}",
                backup.messages,
                format_size(backup.size_bytes),
                format_size(backup.new_bytes),
                len(backup.left_out),
            )
            for backup in found
        ],
        right=(3, 4, 5, 6),
    )


def _verify(repository: Repository, as_json: bool) -> bool:
    with progress("reading", size_bytes(repository)) as tick:
        problems = list(verify(repository, tick))
    if as_json:
        write_json({"backups": len(repository.backups()), "problems": problems})
    else:
        for text in problems:
            click.echo(text)
        if not problems:
            click.echo(f"{len(repository.backups())} backups are sound")
    return not problems
