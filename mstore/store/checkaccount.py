"""The invariants of an account: its catalog, its directory, and each of its mailboxes.

1. There is a lock file, and a catalog that is this account's and whole to its end.
2. Every name is in its canonical form and has its superiors; INBOX is there and can be selected; a name that
   cannot be selected has others beneath it.
3. Each name leads to a mailbox of its own, with the UIDVALIDITY that the catalog says, none twice.
4. Every directory is a mailbox that a name leads to, except those marked for removal, and deleted ones that
   are retained.
5. Each mailbox keeps its own invariants (``check``), and so does the usage file (``checkquota``).

Nothing is changed. What looks wrong while others write is looked at again under the lock.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mstore.base.errors import MStoreError, NotFound
from mstore.base.ids import AccountId
from mstore.files.lock import RANK_ACCOUNT, RANK_MAILBOX, Lock
from mstore.store import names, namespace
from mstore.store.catalog import Catalog
from mstore.store.check import Problem, check_mailbox
from mstore.store.checkquota import check_quota
from mstore.store.directory import DELETED, TRASH, is_abandoned, is_mailbox_id
from mstore.store.maildrop import LAST_FILE, LOCK_FILE
from mstore.store.names import INBOX
from mstore.store.namestate import MailboxEntry, NameState

_FILES = ("lock", "catalog", LOCK_FILE, LAST_FILE, "quota", "quota.new")


def check_account(path: Path, account_id: AccountId, messages: bool = True) -> list[Problem]:
    """Everything wrong with an account; ``messages`` reads every message as well.

    Locks: none, but where something looks wrong, the account's and then the mailbox's for a second look.
    """
    problems, entries = _check_names(path, account_id)
    if problems:
        try:
            with Lock(path / "lock", RANK_ACCOUNT, account_id).hold():
                problems, entries = _check_names(path, account_id)
        except MStoreError:
            pass
    for entry in entries:
        problems += _check_mailbox(path / entry.id, entry, messages)
    return problems + check_quota(path, account_id)


def _check_mailbox(path: Path, entry: MailboxEntry, messages: bool) -> list[Problem]:
    problems = check_mailbox(path, messages, entry.uid_validity)
    if problems:
        try:
            with Lock(path / "lock", RANK_MAILBOX, entry.id).hold():
                problems = check_mailbox(path, messages, entry.uid_validity)
        except NotFound:
            if not path.exists():
                return []  # deleted since the catalog was read; its absence would have been found there
        except MStoreError:
            pass
    return [Problem(found.path, f"({entry.name}) {found.text}", found.heals) for found in problems]


def _check_names(path: Path, account_id: AccountId) -> tuple[list[Problem], list[MailboxEntry]]:
    """What is wrong with catalog and directory, and the mailboxes that can be looked into."""
    catalog = Catalog(path, account_id)
    try:
        files = sorted(os.listdir(path))
        catalog.refresh()
        size = os.path.getsize(catalog.path)
        is_damaged = catalog.is_damaged()
    except MStoreError as error:
        return [Problem(path / "catalog", str(error))], []
    except OSError as error:
        return [Problem(path, f"cannot be read: {error.strerror}")], []
    problems = []
    if "lock" not in files:
        problems.append(Problem(path, "the lock file is missing"))
    if is_damaged:
        text = f"damaged at byte {catalog.end}: names behind it are lost, and no change is made to it"
        problems.append(Problem(path / "catalog", text))
    elif size != catalog.end:
        text = f"{size - catalog.end} bytes behind the last valid group"
        problems.append(Problem(path / "catalog", text, heals=True))
    problems += [Problem(path / "catalog", text) for text in _wrong_names(catalog.state)]
    selectable = [entry for entry in catalog.state.entries.values() if not entry.no_select]
    for name, text in _wrong_files(files, selectable, catalog.state):
        heals = name.startswith(TRASH) or name in catalog.state.doomed or is_abandoned(path / name)
        problems.append(Problem(path / name, text, heals and name in files))
    return problems, [entry for entry in selectable if entry.id in files]


def _wrong_names(state: NameState) -> Iterable[str]:
    entries = state.entries
    if INBOX not in entries or entries[INBOX].no_select:
        yield "there is no INBOX"
    for name, entry in entries.items():
        try:
            if names.normalize(name) != name:
                yield f"the name {name!r} is not in its canonical form"
        except MStoreError as error:
            yield f"the name {name!r} cannot be: {error}"
        for superior in names.superiors(name):
            if superior not in entries:
                yield f"the name {name!r} is there without {superior!r}"
        if entry.no_select and not namespace.has_children(entries, name):
            yield f"the name {name!r} cannot be selected and has nothing beneath it"
        if entry.uid_validity > state.uid_validity:
            yield f"the UIDVALIDITY of {name!r} is above the highest ever given"
    selectable = [entry for entry in entries.values() if not entry.no_select]
    for mailbox_id, count in Counter(entry.id for entry in selectable).items():
        if count > 1:
            yield f"{count} names lead to mailbox {mailbox_id}"
    for uid_validity, count in Counter(entry.uid_validity for entry in selectable).items():
        if count > 1:
            yield f"{count} mailboxes have UIDVALIDITY {uid_validity}"


def _wrong_files(
    files: list[str], selectable: list[MailboxEntry], state: NameState
) -> Iterable[tuple[str, str]]:
    by_id = {entry.id: entry for entry in selectable}
    for name in files:
        if name in _FILES or name in by_id:
            continue
        if name.startswith(DELETED):
            continue
        if name.startswith(TRASH):
            yield name, "a removal was interrupted"
        elif name in state.doomed:
            yield name, "the mailbox is deleted, its directory not yet removed"
        elif is_mailbox_id(name):
            yield name, "no name leads to this mailbox"
        else:
            yield name, "does not belong here"
    for mailbox_id, entry in by_id.items():
        if mailbox_id not in files:
            yield mailbox_id, f"the directory of {entry.name!r} is missing"
