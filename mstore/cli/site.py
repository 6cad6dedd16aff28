"""What the verbs of msadm share: the configuration, the rights to act with, and the form of the output."""

from __future__ import annotations

import difflib
import json
import os
import pwd
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from mstore.accounts.accounts import AccountRecord, Accounts
from mstore.accounts.administrators import Administrators
from mstore.accounts.database import missing_databases
from mstore.accounts.login import LoginRules
from mstore.base import config
from mstore.base.errors import Denied, NotFound, Unavailable
from mstore.base.options import Settings
from mstore.base.preload import COMMAND_LINE, load_all, load_modules
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX

as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
_COMPARED = 10_000
"""So many names at most are looked through for one that is near."""
without_asking = click.option("--yes", is_flag=True, help="Do not ask.")


class Site:
    """A message store as msadm sees it."""

    def __init__(self, path: Path) -> None:
        self.settings: Settings = config.load(path)
        self.invoker = pwd.getpwuid(os.getuid()).pw_name
        """The system's user who runs this, whoever he becomes."""

    def check_databases(self) -> None:
        """Pass a store whose database files are all there.

        Raises: Unavailable.
        """
        missing = missing_databases(self.settings.db_path)
        if missing:
            files = ", ".join(str(path) for path in missing)
            raise Unavailable(f"missing: {files}; restore a backup ('msadm init' is for a new message store)")

    def accounts(self) -> Accounts:
        """The accounts.

        Raises: Unavailable when a database file is missing.
        """
        self.check_databases()
        rules = LoginRules.of(self.settings.default_domain, self.settings.single_domain)
        administrators = Administrators.of(self.settings.admin_users, self.settings.admin_domain, rules)
        policy = self.settings.ms_assignment_policy
        return Accounts(self.settings.db_path, rules, administrators, self.settings.mailstores, policy)

    def runtime_ids(self) -> tuple[int, int] | None:
        """User and group that the store's files belong to; None when they are the invoking user's own."""
        name = self.settings.runtime_user
        if os.geteuid() != 0 or name is None:
            return None
        entry = pwd.getpwnam(name)
        return entry.pw_uid, entry.pw_gid

    def become_runtime_user(self, preload: bool = True) -> None:
        """Give up superuser rights for good, so that all that is made from now on is the daemons' too.

        Without ``preload``, for who imports nothing more and is in a hurry.
        Raises: Denied when neither the superuser nor the runtime user runs this.
        """
        name = self.settings.runtime_user
        if name is None:
            return
        entry = pwd.getpwnam(name)
        if os.geteuid() == 0:
            if preload:
                load_all()  # The library may be closed to the runtime user.
                load_modules(COMMAND_LINE)
            os.initgroups(name, entry.pw_gid)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        elif os.geteuid() != entry.pw_uid:
            raise Denied(f"this must be run by the superuser or by {name} (runtime-user)")
        os.umask(0o077)


def find(accounts: Accounts, name: str) -> AccountRecord:
    """The account of this name.

    Raises: NotFound.
    """
    record = accounts.find(name)
    if record is None:
        near = did_you_mean(name, (known.name for known in accounts.list()))
        raise NotFound(f"there is no user {name}{near}")
    return record


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """What to say behind a name that is not there: the nearest of those that are, or nothing.

    ``prefix`` is what all of them begin with, and is shown where the nearest is.
    """
    by_letters = {each.casefold(): each for each in islice(known, _COMPARED)}
    near = difflib.get_close_matches(name.casefold(), by_letters, 1)
    return f"; did you mean {prefix}{by_letters[near[0]]}?" if near else ""


def find_or_shared(accounts: Accounts, name: str) -> AccountRecord:
    """The account of a user, also written ``user/NAME``, or of the shared mailboxes: ``shared/``.

    Raises: NotFound.
    """
    if name != SHARED_PREFIX:
        return find(accounts, name.removeprefix(OTHERS_PREFIX))
    record = accounts.shared()
    if record is None:
        raise NotFound("there are no shared mailboxes")
    return record


def write_json(value: Any) -> None:
    """Write a value for programs."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def write_table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
    """Write rows in columns for people; the columns numbered in ``right`` are numbers."""
    cells = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for row in cells:
        line = "  ".join(
            cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)
        )
        click.echo(line.rstrip())


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal to ask on, ``--yes`` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes to do it without being asked.")
    click.confirm(question, abort=True)


def format_size(size_bytes: int | None) -> str:
    """A size for people."""
    if size_bytes is None:
        return "-"
    size = float(size_bytes)
    for unit in ("", "K", "M", "G"):
        if size < 1024:
            return f"{size:.0f}{unit}" if not unit or size >= 10 or size == int(size) else f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}T"
