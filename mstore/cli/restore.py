"""msadm restore: accounts, mailboxes and messages out of a backup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click

from mstore.accounts.accounts import SHARED_ID, AccountRecord, Accounts
from mstore.accounts.database import PASSWORDS
from mstore.accounts.passwords import Passwords
from mstore.accounts.transfer import take_accounts, take_passwords
from mstore.backup import manifest
from mstore.backup.manifest import Box, Head
from mstore.backup.pack import Reader
from mstore.backup.repository import Backup, Repository
from mstore.backup.restore import restore_account, restore_messages
from mstore.base.errors import Exists, Invalid, NotFound, Unavailable
from mstore.base.ids import AccountId
from mstore.base.numset import MAX_NUMBER
from mstore.cli.acting import account_log
from mstore.cli.names import MAILBOX
from mstore.cli.opening import open_store
from mstore.cli.progress import progress
from mstore.cli.site import Site, as_json, confirm, did_you_mean, without_asking, write_json
from mstore.store import names
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX
from mstore.store.store import Store


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1, type=MAILBOX, metavar="[USER [MAILBOX [UID]...]]")
@click.option("--at", metavar="TIME|ID", help="The last backup until then (2026-11-29T06:30), or that one.")
@click.option("--all", "everything", is_flag=True, help="All accounts, into a store that has none.")
@without_asking
@as_json
@click.pass_obj
def restore(
    config: Path,
    directory: Path,
    words: tuple[str, ...],
    at: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring back USER, or a MAILBOX, or messages by their UIDs in the backup, from the newest backup in DIR.

    A whole account goes into one that is missing or was never used; a mailbox or messages into the mailbox
    of that name. Nothing that is there is changed, and no message is doubled. What could be brought back by
    msadm undelete when the backup was made can be so again in an account or a mailbox that is made anew; its
    UID, or the name of a deleted mailbox, brings it back at once. shared/ stands for the shared mailboxes.

    Example: msadm restore /backup/mail joe; msadm restore /backup/mail --at 2026-11-28 joe INBOX 17 18;
    msadm restore /backup/mail --all
    """
    if everything == bool(words):
        raise click.UsageError("Say which USER, or --all.")
    site = Site(config)
    repository = Repository.open(directory)
    accounts = site.accounts()
    if everything:
        chosen = repository.choose(at, lambda backup: backup.whole, "all accounts")
        if accounts.everybody():
            raise Exists("there are accounts already: --all is for a store that has none")
        confirm(f"Restore {len(chosen.accounts)} accounts from backup {chosen.id}?", yes)
        _take_accounts(
            site, accounts, repository, chosen, [AccountId(found) for found in chosen.accounts], True
        )
        done = _restore_all(site, accounts, repository, chosen)
    else:
        chosen, done = _restore_one(site, accounts, repository, at, words, yes)
    if as_json:
        write_json({"backup": chosen.id, "restored": done})
        return
    for found in done:
        click.echo(f"{found['name']}: {found['messages']} messages restored from backup {chosen.id}")


def _restore_all(
    site: Site, accounts: Accounts, repository: Repository, chosen: Backup
) -> list[dict[str, object]]:
    records = accounts.everybody()
    site.become_runtime_user()
    log = account_log(site)
    for record in records:
        log.info("account-restored", account=record.name, mailstore=record.mailstore)
    done: list[dict[str, object]] = []
    store, packs = open_store(site, accounts), Reader(repository.packs)
    try:
        for record in records:
            head, boxes = manifest.read(repository.manifest(chosen, record.id))
            done.append(_fill(store, record, head, boxes, packs))
    finally:
        packs.close()
        store.close()
    return done


def _fill(
    store: Store, record: AccountRecord, head: Head, boxes: list[Box], packs: Reader
) -> dict[str, object]:
    account = store.account(record)
    with progress(record.name, sum(len(box.all_messages()) for box in boxes)) as tick:
        count = restore_account(account, head, boxes, packs, tick)
    return {"name": record.name, "messages": count}


def _restore_one(
    site: Site, accounts: Accounts, repository: Repository, at: str | None, words: Sequence[str], yes: bool
) -> tuple[Backup, list[dict[str, object]]]:
    user = words[0].removeprefix(OTHERS_PREFIX) if words[0] != SHARED_PREFIX else SHARED_PREFIX
    record = accounts.shared() if user == SHARED_PREFIX else accounts.find(user)
    wanted = record.id if record is not None else SHARED_ID if user == SHARED_PREFIX else None
    known = {user.casefold()} | ({record.name.casefold()} if record is not None else set())

    def ids(backup: Backup) -> list[str]:
        if wanted in backup.accounts:
            return [str(wanted)]
        return [
            found
            for found, name in backup.accounts.items()
            if name.casefold() in known and found != SHARED_ID
        ]

    chosen = repository.choose(at, lambda backup: bool(ids(backup)), user)
    head, boxes = manifest.read(repository.manifest(chosen, ids(chosen)[0]))
    uids = _uids(words[2:])
    if len(words) > 1:
        known_boxes = [box.entry.name for box in boxes]
        named = [box for box in boxes if box.entry.name == names.normalize(words[1])]
        # That which is there comes first, or was there last.
        boxes = sorted(named, key=lambda box: -(box.deleted_s or math.inf))
        if not boxes:
            near = did_you_mean(words[1], known_boxes)
            raise NotFound(f"backup {chosen.id} has no mailbox {words[1]} of {user}{near}")
    count = len(uids) if uids else sum(len(box.messages) for box in boxes)
    is_new = record is None
    if record is None:
        _take_accounts(site, accounts, repository, chosen, [head.id], False)
        record = accounts.by_id(head.id)
        assert record is not None
    else:
        confirm(f"Restore up to {count} messages from backup {chosen.id} to {' '.join(words[:2])}?", yes)
    site.become_runtime_user()
    if is_new:
        log = account_log(site)
        log.info("account-restored", account=record.name, mailstore=record.mailstore)
    store, packs = open_store(site, accounts), Reader(repository.packs)
    try:
        if len(words) == 1:
            return chosen, [_fill(store, record, head, boxes, packs)]
        with progress(words[1], count) as tick:
            came = restore_messages(store.account(record), head, boxes[0], packs, uids, tick)
        return chosen, [{"name": f"{record.name} {boxes[0].entry.name}", "messages": came}]
    finally:
        packs.close()
        store.close()


def _uids(words: Sequence[str]) -> set[int] | None:
    for word in words:
        if not (word.isascii() and word.isdigit() and 0 < int(word[:11]) <= MAX_NUMBER):
            raise Invalid(f"{word} is no UID")
    return {int(word) for word in words} or None


def _take_accounts(
    site: Site,
    accounts: Accounts,
    repository: Repository,
    chosen: Backup,
    ids: Sequence[AccountId],
    is_all: bool,
) -> None:
    """Make the accounts as they were, with their passwords where we may."""
    db_path, settings = site.settings.db_path, site.settings
    copy = repository.file(chosen, "accounts.db")
    if copy is None:
        raise Unavailable(f"the accounts of backup {chosen.id} cannot be read")
    take_accounts(db_path, copy, ids, is_all)
    for account_id in ids:
        record = accounts.by_id(account_id)
        if record is not None and record.mailstore not in settings.mailstores:
            accounts.set_mailstore(record, accounts.assign_home(record.name))
    passwords = repository.file(chosen, "passwords.db")
    try:
        vault = Passwords(db_path)
        vault.open()
        vault.close()
    except Unavailable:
        passwords = None
    if passwords is not None:
        take_passwords(db_path, passwords, ids, is_all)
    else:
        click.echo(f"without passwords ({PASSWORDS.file_name}): set them with msadm user passwd", err=True)
