"""msadm check: whether everything on disk is as it should be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from mstore.accounts.accounts import AccountRecord, Accounts
from mstore.accounts.database import SCHEMAS, Database
from mstore.base.errors import MStoreError
from mstore.base.ids import AccountId
from mstore.cli.names import USERS
from mstore.cli.site import Site, as_json, find, write_json
from mstore.store.acl import GROUP, USER, all_grantees
from mstore.store.catalog import Catalog
from mstore.store.check import Problem
from mstore.store.checkaccount import check_account
from mstore.store.store import Store

_FINISH = "msadm user move NAME MAILSTORE finishes it"
_NAMED = 10


@click.command()
@click.argument("users", nargs=-1, type=USERS, metavar="[USER…]")
@click.option("--quick", is_flag=True, help="Do not read the messages themselves.")
@as_json
@click.pass_context
def check(ctx: click.Context, users: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Check the mail of USER, or the databases and the mail of all users.

    Nothing is changed, and the daemons may run meanwhile. The exit status is 1 when something is wrong;
    what a process that was killed has left behind for the next one to deal with is told, and is not wrong.

    Example: msadm check; msadm check joe --quick
    """
    site = Site(ctx.obj)
    accounts = site.accounts()
    problems: list[Problem] = []
    if users:
        records = [find(accounts, user) for user in users]
    else:
        problems += _check_databases(site.settings.db_path)
        records = list(accounts.everybody())
    site.become_runtime_user()
    store = Store.of(site.settings)
    checked, unused, found = _check_accounts(store, accounts, records, not quick)
    found += _check_sharing(store, accounts, records)
    accounts.close()
    problems += found
    if not users:
        problems += _check_strangers(store, site.settings.mailstores, records)
    left = [problem for problem in problems if problem.heals or problem.is_note]
    problems = [problem for problem in problems if not (problem.heals or problem.is_note)]
    if as_json:
        found_all = {"problems": _describe(problems), "left": _describe(left), "no_directory_yet": unused}
        write_json({"accounts": checked} | found_all)
    else:
        for problem in (*problems, *left):
            click.echo(str(problem))
        if unused:
            more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
            click.echo(f"no directory yet: {', '.join(unused[:_NAMED])}{more}")
        click.echo(f"{_count(checked, 'account')} checked, {_count(len(problems), 'problem')}")
    if problems:
        ctx.exit(1)


def _check_databases(db_path: Path) -> list[Problem]:
    problems = []
    for schema in SCHEMAS:
        if not os.access(db_path / schema.file_name, os.R_OK):
            continue  # the verifiers, which only the superuser may read
        database = Database(db_path, schema)
        try:
            problems += [Problem(database.path, text) for text in database.problems()]
        except MStoreError as error:
            problems.append(Problem(database.path, str(error)))
        finally:
            database.close()
    return problems


def _check_accounts(
    store: Store, accounts: Accounts, records: Sequence[AccountRecord], messages: bool
) -> tuple[int, list[str], list[Problem]]:
    """Check those accounts that have a directory; gives their number, and the names of the others.

    A directory is made at first use, and nothing takes note of that. Where something else shows that there
    was one, it is lost, which is a problem.
    """
    checked = 0
    unused: list[str] = []
    problems: list[Problem] = []
    for record in records:
        try:
            path = store.path_of(record)
        except MStoreError as error:
            problems.append(Problem(Path(record.name), str(error)))
            continue
        if path.is_dir():
            checked += 1
            problems += check_account(path, record.id, messages)
        elif trace := _trace_of(store, accounts, record):
            text = f"the directory of {record.name} is gone ({trace}); a backup of it has to be restored"
            problems.append(Problem(path, text))
        else:
            unused.append(record.name)
    return checked, unused, problems


def _trace_of(store: Store, accounts: Accounts, record: AccountRecord) -> str:
    """What shows that an account once had a directory, empty when nothing does."""
    if place := store.left_behind(record):
        return f"{place} says that it was moved here"
    if accounts.grantees(record.id):
        return "accounts.db says that it shares mailboxes"
    return ""


def _check_sharing(store: Store, accounts: Accounts, records: Sequence[AccountRecord]) -> list[Problem]:
    """Find grants of access control lists that the account database does not know: no listing shows them."""
    problems = []
    for record in records:
        catalog = Catalog(store.path_of(record), record.id)
        try:
            catalog.refresh()
        except MStoreError:
            continue  # Never used, or told of already.
        granted = all_grantees(entry.acl for entry in catalog.state.entries.values())
        missing = granted - accounts.grantees(record.id)
        unknown = sorted(identifier for identifier in missing if not _is_gone(accounts, identifier))
        if unknown:
            text = (
                f"shares with {', '.join(unknown)}, and accounts.db does not say so; msadm acl set mends it"
            )
            problems.append(Problem(Path(catalog.path), text))
    return problems


def _is_gone(accounts: Accounts, identifier: str) -> bool:
    """Whether an identifier of a list means a user or a group that was removed."""
    word, _, number = identifier.partition(":")
    if word + ":" == GROUP:
        return accounts.group_name(number) is None
    return word + ":" == USER and accounts.by_id(AccountId(number)) is None


def _check_strangers(
    store: Store, mailstores: Iterable[str], records: Sequence[AccountRecord]
) -> list[Problem]:
    known = {(record.mailstore, record.id) for record in records}
    problems = []
    for mailstore in mailstores:
        try:
            for path in store.directories(mailstore):
                if (mailstore, path.name) not in known:
                    problems.append(Problem(path, "no account has this directory"))
            for path in store.unfinished_moves(mailstore):
                problems.append(Problem(path, f"a move is under way or was interrupted ({_FINISH})"))
        except MStoreError as error:
            problems.append(Problem(Path(mailstore), str(error)))
    return problems


def _describe(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [{"path": str(problem.path), "text": problem.text} for problem in problems]


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
