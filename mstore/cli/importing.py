"""msadm import: mail from a Maildir, from mbox files, from another IMAP server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mstore.base.errors import Busy, MStoreError
from mstore.cli.names import USER
from mstore.cli.place import open_mail
from mstore.cli.progress import progress
from mstore.cli.remote import remote_of, remote_options
from mstore.cli.site import Site, as_json, find, write_json
from mstore.files.lockfile import LockFile
from mstore.moving.arriving import Arrivals, Import, Report, list_path
from mstore.moving.foreign import Source
from mstore.moving.imapserver import ImapServer
from mstore.moving.maildir import Maildir
from mstore.moving.mbox import Mbox
from mstore.store.spaces import OTHERS_PREFIX

_NAMED = 10
into = click.option("--into", metavar="MAILBOX", default="", help="Put everything below this mailbox.")
dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be imported.")
foreign_path = click.Path(exists=True, path_type=Path)


@click.group("import")
def import_mail() -> None:
    """Bring a user's mail in from elsewhere.

    What has been imported already is left out, so a command that was interrupted is given again, and again
    later for what has come since. In a mailbox that nothing has ever been in, messages keep their UIDs.
    """


@import_mail.command()
@click.argument("user", type=USER)
@click.argument("path", type=foreign_path)
@into
@dry_run
@as_json
@click.pass_context
def maildir(ctx: click.Context, user: str, path: Path, into: str, dry_run: bool, as_json: bool) -> None:
    """Import the Maildir PATH of Dovecot, Courier or another program for USER.

    Example: msadm import maildir joe /home/joe/Maildir
    """
    _run(ctx, user, lambda: Maildir(path.absolute()), into, dry_run, as_json)


@import_mail.command()
@click.argument("user", type=USER)
@click.argument("path", type=foreign_path)
@click.option("--mailbox", metavar="NAME", help="The mailbox that a single file becomes [INBOX].")
@into
@dry_run
@as_json
@click.pass_context
def mbox(
    ctx: click.Context, user: str, path: Path, mailbox: str | None, into: str, dry_run: bool, as_json: bool
) -> None:
    """Import the mbox file PATH, or a directory of such files, for USER.

    Example: msadm import mbox joe /var/mail/joe; msadm import mbox joe /home/joe/mail
    """
    _run(ctx, user, lambda: Mbox(path.absolute(), mailbox), into, dry_run, as_json)


@import_mail.command()
@click.argument("user", type=USER)
@click.argument("server", metavar="HOST[:PORT]")
@remote_options
@into
@dry_run
@as_json
@click.pass_context
def imap(
    ctx: click.Context, /, user: str, server: str, into: str, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Import the mail of USER from another IMAP server.

    Example: msadm import imap joe old.example.org --password-stdin < password
    """
    remote = remote_of(user, server, **options)
    _run(ctx, user, lambda: ImapServer(remote), into, dry_run, as_json)


def _run(
    ctx: click.Context, user: str, open_source: Callable[[], Source], into: str, dry: bool, as_json: bool
) -> None:
    """Import, showing how far it is; the exit status is 1 when something was left behind."""
    site = Site(ctx.obj)
    source = open_source()  # While we may read what the runtime user may not.
    reports: list[Report] = []
    failure: MStoreError | None = None
    subscribed: list[str] = []
    with open_mail(site) as (accounts, access):
        record = find(accounts, user)
        account = access.place(f"{OTHERS_PREFIX}{record.name}/INBOX").account
        with _arrivals(site.settings.run_path, record.id) as arrivals:
            try:
                for foreign in source.mailboxes():
                    with progress(foreign.name, foreign.count, as_json) as advance:
                        work = Import(account, source, arrivals, into, advance, dry)
                        reports.append(work.bring(foreign))
                subscribed = Import(account, source, arrivals, into, dry=dry).subscribe()
            except MStoreError as error:
                failure = error
    _tell(reports, subscribed, failure, dry, as_json)
    if failure is not None or any(report.problems for report in reports):
        ctx.exit(1)


@contextmanager
def _arrivals(run_path: Path, account_id: str) -> Iterator[Arrivals]:
    """What has arrived in this account, which one import at a time may add to."""
    path = list_path(run_path, account_id)
    try:
        lock = LockFile.take(path.with_suffix(".lock"))
    except Busy as error:
        raise Busy(f"another import into this account {error}") from None
    try:
        arrivals = Arrivals(path)
        try:
            yield arrivals
        finally:
            arrivals.close()
    finally:
        lock.release()


def _tell(
    reports: list[Report], subscribed: list[str], failure: MStoreError | None, dry: bool, as_json: bool
) -> None:
    if as_json:
        found: dict[str, Any] = {
            "mailboxes": [asdict(report) for report in reports],
            "subscribed": subscribed,
        }
        write_json(found | {"failure": None if failure is None else str(failure)})
        return
    for report in reports:
        words = [f"{report.messages} messages" + (" to import" if dry else " imported")]
        if report.already:
            words.append(f"{report.already} there before")
        if report.renumbered or not (report.keeps_uids or dry):
            words.append("new UIDs" + (f" for {report.renumbered}" if report.keeps_uids else ""))
        click.echo(f"{report.name}: {', '.join(words)}")
    problems = [problem for report in reports for problem in report.problems]
    for problem in problems[:_NAMED]:
        click.echo(problem, err=True)
    if len(problems) > _NAMED:
        click.echo(f"and {len(problems) - _NAMED} more (--json tells all)", err=True)
    if failure is not None:
        click.echo(f"Error: {failure}; the same command goes on from here", err=True)
