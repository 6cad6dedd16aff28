"""msadm user: adding, listing, disabling and removing users, and their passwords."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from mstore.accounts.accounts import SHARED_ID
from mstore.accounts.keys import Keys
from mstore.accounts.login import check_account_name
from mstore.accounts.passwords import Passwords
from mstore.accounts.verifier import MAX_VERIFIER_BYTES, scheme_of
from mstore.auth.keying import Keeping, Keymaker
from mstore.auth.prepare import MAX_PASSWORD_BYTES, check_new_password
from mstore.auth.scheme import Scheme
from mstore.base.errors import Busy, Exists, Invalid
from mstore.base.ids import AccountId
from mstore.cli.acting import account_log
from mstore.cli.apppassword import app_password
from mstore.cli.limits import describe_limits, parse_messages, parse_storage
from mstore.cli.names import MAILSTORE, USER, USER_OR_SHARED
from mstore.cli.site import (
    Site,
    as_json,
    confirm,
    find,
    find_or_shared,
    format_size,
    without_asking,
    write_json,
    write_table,
)
from mstore.files.lockfile import LockFile
from mstore.store.spaces import SHARED_PREFIX

password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)

password_hash = click.option(
    "--hash", "made_elsewhere", metavar="HASH|-", hide_input=True,
    help="A hash of the password that was made elsewhere, in place of the password; - reads it from standard"
    " input, where ps does not show it.",
)  # fmt: skip


@click.group()
def user() -> None:
    """Add, list, disable and remove users, and set their passwords."""


user.add_command(app_password)


@user.command()
@click.argument("name")
@password_stdin
@password_hash
@click.option("--quota", metavar="SIZE|none", help="How many bytes of mail are allowed (500M, 2G).")
@click.option("--quota-messages", metavar="N|none", help="How many messages are allowed.")
@click.option(
    "--mailstore",
    metavar="NAME",
    type=MAILSTORE,
    help="Where the mail goes, instead of by ms-assignment-policy.",
)
@as_json
@click.pass_obj
def add(
    config: Path,
    name: str,
    password_stdin: bool,
    made_elsewhere: str | None,
    quota: str | None,
    quota_messages: str | None,
    mailstore: str | None,
    as_json: bool,
) -> None:
    """Add the user NAME, who can log in and gets mail at once.

    Example: msadm user add joe@example.org; msadm user add ann --quota 2G --password-stdin < password
    """
    from mstore.store.store import Store

    site = Site(config)
    settings = site.settings
    accounts = site.accounts()
    check_account_name(name)
    if accounts.resolve(name, None) is not None:
        raise Exists(f"there is a user or an alias {name} already")
    size_limit = None if quota is None else parse_storage(quota, "--quota")
    count_limit = None if quota_messages is None else parse_messages(quota_messages, "--quota-messages")
    if mailstore is not None and mailstore not in settings.mailstores:
        raise _no_mailstore(site, mailstore)
    mailstore = accounts.assign_home(name, mailstore)
    account_id = accounts.new_id()
    _set_password(site, account_id, password_stdin, made_elsewhere)
    record = accounts.add(name, mailstore, size_limit, account_id, count_limit)
    site.become_runtime_user()
    log = account_log(site)
    log.info("account-added", account=record.name, mailstore=record.mailstore, **describe_limits(record))
    store = Store.of(settings)
    store.account(record)
    store.close()
    if as_json:
        write_json(asdict(record))
    else:
        click.echo(f"added {record.name} in mailstore {record.mailstore}")


@user.command("list")
@as_json
@click.pass_obj
def list_users(config: Path, as_json: bool) -> None:
    """List the users, and, where one may know, by which scheme their passwords are kept.

    Example: msadm user list --json
    """
    site = Site(config)
    records = site.accounts().list()
    schemes = _password_schemes(site)
    if as_json:
        kept = {} if schemes is None else schemes
        write_json([asdict(record) | {"password": kept.get(record.id)} for record in records])
        return
    write_table(
        ("NAME", "MAILSTORE", "QUOTA", "STATE", "PASSWORD", "ID"),
        [
            (
                record.name,
                record.mailstore,
                format_size(record.quota_bytes),
                "enabled" if record.enabled else "disabled",
                "?" if schemes is None else schemes.get(record.id, "none"),
                record.id,
            )
            for record in records
        ],
        right=(2,),
    )


@user.command()
@click.argument("name", type=USER)
@password_stdin
@password_hash
@as_json
@click.pass_obj
def passwd(config: Path, name: str, password_stdin: bool, made_elsewhere: str | None, as_json: bool) -> None:
    """Set the password of the user NAME.

    Example: msadm user passwd joe
    """
    site = Site(config)
    record = find(site.accounts(), name)
    _set_password(site, record.id, password_stdin, made_elsewhere)
    log = account_log(site)
    log.info("password-set", account=record.name)
    if as_json:
        write_json({"name": record.name})
    else:
        click.echo(f"the password of {record.name} is set")


@user.command()
@click.argument("name", type=USER_OR_SHARED)
@click.argument("mailstore", type=MAILSTORE)
@as_json
@click.pass_obj
def move(config: Path, name: str, mailstore: str, as_json: bool) -> None:
    """Move the mail of the user NAME to MAILSTORE, while it is in use; shared/ are the shared mailboxes.

    Sessions of the user are ended with a temporary error at the very end, and find the mail in its new place
    when they connect again. A move that was interrupted is finished or taken back by the same command.

    Example: msadm user move joe second
    """
    from mstore.store.store import Store

    site = Site(config)
    if mailstore not in site.settings.mailstores:
        raise _no_mailstore(site, mailstore)
    accounts = site.accounts()
    site.become_runtime_user()
    with _one_move_at_a_time(site.settings.run_path / "move.lock"):
        record = find_or_shared(accounts, name)
        store = Store.of(site.settings)
        store.settle(record)
        if record.mailstore != mailstore:
            try:
                store.move(record, mailstore, lambda: accounts.set_mailstore(record, mailstore))
            except BaseException:
                left = accounts.by_id(record.id)
                if left is not None:
                    store.settle(left)
                raise
        store.close()
    shown = SHARED_PREFIX if record.id == SHARED_ID else record.name
    if record.mailstore != mailstore:
        log = account_log(site)
        log.info("account-moved", account=shown, mailstore=mailstore)
    if as_json:
        write_json({"name": shown, "from": record.mailstore, "to": mailstore})
    elif record.mailstore == mailstore:
        click.echo(f"{shown} is in mailstore {mailstore} already")
    else:
        click.echo(f"moved {shown} from mailstore {record.mailstore} to {mailstore}")


@contextmanager
def _one_move_at_a_time(path: Path) -> Iterator[None]:
    try:
        lock = LockFile.take(path)
    except Busy as error:
        raise Busy(f"another move {error}") from None
    try:
        yield
    finally:
        lock.release()


@user.command()
@click.argument("name", type=USER)
@without_asking
@as_json
@click.pass_obj
def remove(config: Path, name: str, yes: bool, as_json: bool) -> None:
    """Remove the user NAME with all mail.

    Example: msadm user remove joe --yes
    """
    from mstore.moving.arriving import forget
    from mstore.store.store import Store

    site = Site(config)
    accounts = site.accounts()
    record = find(accounts, name)
    confirm(f"Remove {record.name} with all mail?", yes)
    store = Store.of(site.settings)
    store.path_of(record)
    accounts.remove(record)
    Passwords(site.settings.db_path).remove(record.id)
    site.become_runtime_user()
    log = account_log(site)
    log.info("account-removed", account=record.name, mailstore=record.mailstore)
    store.remove(record)
    forget(site.settings.run_path, record.id)
    if as_json:
        write_json(asdict(record))
    else:
        click.echo(f"removed {record.name}")


@user.command()
@click.argument("name", type=USER)
@as_json
@click.pass_obj
def disable(config: Path, name: str, as_json: bool) -> None:
    """Let the user NAME not log in any more, until msadm user enable; mail is received as before.

    Sessions that are under way go on: msadm kick ends them.

    Example: msadm user disable joe; msadm kick joe --yes
    """
    _switch(config, name, False, as_json)


@user.command()
@click.argument("name", type=USER)
@as_json
@click.pass_obj
def enable(config: Path, name: str, as_json: bool) -> None:
    """Let the user NAME log in again.

    Example: msadm user enable joe
    """
    _switch(config, name, True, as_json)


def _switch(config: Path, name: str, enabled: bool, as_json: bool) -> None:
    site = Site(config)
    accounts = site.accounts()
    record = find(accounts, name)
    accounts.set_enabled(record, enabled)
    log = account_log(site)
    if enabled:
        log.info("account-enabled", account=record.name)
    else:
        log.info("account-disabled", account=record.name)
    if as_json:
        write_json({"name": record.name, "enabled": enabled})
    else:
        click.echo(f"{record.name} is {'enabled' if enabled else 'disabled'}")


def _no_mailstore(site: Site, mailstore: str) -> Invalid:
    return Invalid(f"there is no mailstore {mailstore}; there are: {', '.join(site.settings.mailstores)}")


def _set_password(
    site: Site, account_id: AccountId, password_stdin: bool, made_elsewhere: str | None
) -> None:
    """Get a new password, or a hash of one, and keep what is made of it."""
    keeping = Keeping.of(site.settings)
    passwords = Passwords(site.settings.db_path)
    if made_elsewhere is None:
        password = _ask_password(password_stdin)
        check_new_password(password)
        keys = Keymaker(keeping).make(password, passwords.keys(account_id))
    elif password_stdin:
        raise click.UsageError("--hash is in place of a password: leave --password-stdin out")
    else:
        if made_elsewhere == "-":
            made_elsewhere = sys.stdin.buffer.readline(4 * MAX_VERIFIER_BYTES).decode(errors="replace")
        keys = Keys(Scheme(keeping.scheme).read(made_elsewhere))
    passwords.set_keys(account_id, keys)
    if not keeping.secret:
        passwords.drop_secrets()
    passwords.close()


def _ask_password(password_stdin: bool) -> bytes:
    """A new password, from standard input or twice from the terminal."""
    if password_stdin:
        line = sys.stdin.buffer.readline(4 * MAX_PASSWORD_BYTES)
        return line.removesuffix(b"\n").removesuffix(b"\r")
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt="Once more")
        return password.encode()
    raise click.UsageError("there is no terminal to ask for a password on: use --password-stdin")


def _password_schemes(site: Site) -> Mapping[AccountId, str] | None:
    """How each account's password is kept; None where this user may not look."""
    passwords = Passwords(site.settings.db_path)
    if not os.access(passwords.path, os.R_OK):
        return None
    try:
        return {account_id: scheme_of(setting) for account_id, setting in passwords.settings().items()}
    finally:
        passwords.close()
