"""msadm export: a user's mail as a Maildir, as mbox files, or into another IMAP server."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mstore.base.errors import Denied, Invalid
from mstore.cli.names import USER
from mstore.cli.place import open_site
from mstore.cli.progress import progress
from mstore.cli.remote import remote_of, remote_options
from mstore.cli.site import as_json, find, write_json
from mstore.moving.leaving import MaildirTarget, MboxTarget, Target, leave
from mstore.moving.sending import ImapTarget
from mstore.store.account import Account
from mstore.store.spaces import OTHERS_PREFIX


@click.group("export")
def export_mail() -> None:
    """Write a user's mail elsewhere, in forms that other programs and msadm import read.

    What was written before is left as it is; a command that was interrupted is given again.
    """


@export_mail.command()
@click.argument("user", type=USER)
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@as_json
@click.pass_obj
def maildir(config: Path, user: str, path: Path, as_json: bool) -> None:
    """Write the mail of USER to the Maildir PATH, with Dovecot's lists of UIDs and keywords.

    Example: msadm export maildir joe /var/tmp/joe
    """
    _run(config, user, lambda _: MaildirTarget(_prepare(path)), as_json)


@export_mail.command()
@click.argument("user", type=USER)
@click.argument("path", type=click.Path(file_okay=False, path_type=Path))
@as_json
@click.pass_obj
def mbox(config: Path, user: str, path: Path, as_json: bool) -> None:
    """Write the mail of USER to mbox files in the directory PATH, one for each mailbox.

    Example: msadm export mbox joe /var/tmp/joe
    """
    _run(config, user, lambda _: MboxTarget(_prepare(path)), as_json)


@export_mail.command()
@click.argument("user", type=USER)
@click.argument("server", metavar="HOST[:PORT]")
@remote_options
@as_json
@click.pass_obj
def imap(config: Path, /, user: str, server: str, as_json: bool, **options: Any) -> None:
    """Add the mail of USER to that of an account on another IMAP server.

    Example: msadm export imap joe new.example.org --password-stdin < password
    """
    remote = remote_of(user, server, **options)

    def connect(account: Account) -> Target:
        entries = account.mailboxes().items()
        return ImapTarget(remote, {name: entry.special_use for name, entry in entries if entry.special_use})

    _run(config, user, connect, as_json)


def _prepare(path: Path) -> Path:
    """The directory, made if need be. Raises: Denied, Invalid."""
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except PermissionError as error:
        raise Denied(f"{error.filename}: the runtime user may not write there") from None
    except FileExistsError:
        raise Invalid(f"{path} is in the way of a directory") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise Denied(f"{path}: the runtime user may not write there")
    return path


def _run(config: Path, user: str, make: Callable[[Account], Target], as_json: bool) -> None:
    """Export, showing how far it is; the exit status is 1 when something was left behind."""
    with open_site(config) as (accounts, access):
        record = find(accounts, user)
        account = access.place(f"{OTHERS_PREFIX}{record.name}/INBOX").account
        with ExitStack() as shown:

            def show(name: str, count: int) -> Callable[[int], None]:
                shown.close()
                return shown.enter_context(progress(name, count, as_json))

            written = list(leave(account, make(account), show))
    if as_json:
        write_json([asdict(each) for each in written])
    else:
        for each in written:
            lost = f", {each.lost_keywords} keywords have no place there" if each.lost_keywords else ""
            already = f", {each.already} there before" if each.already else ""
            click.echo(f"{each.name}: {each.messages} messages{already}{lost}")
            for problem in each.problems:
                click.echo(problem, err=True)
    if any(each.problems for each in written):
        raise SystemExit(1)
