"""Directories of mailboxes and accounts as a whole: what is one, whether it was ever used, and its removal.

A directory is taken out of the way by a rename, under its lock, before its files go: who waits for the lock
finds that it has been deleted, and a crash leaves what is plainly trash.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mstore.base.errors import Moved, NotFound
from mstore.base.ids import AccountId, MailboxId
from mstore.files import raw
from mstore.files.layout import SEGMENT
from mstore.files.lock import DEADLINE_S, RANK_ACCOUNT, RANK_MAILBOX, Lock
from mstore.files.segment import number_of

TRASH = "trash-"
MOVED = "moved-"
"""What is left of an account's directory that was moved to another mailstore."""

_ID = re.compile(r"[0-9a-f]{16}\Z")


def is_mailbox_id(name: str) -> bool:
    """Whether a file name is an id, as directories of mailboxes and accounts have it."""
    return _ID.match(name) is not None


def gone(account_path: Path | str, text: str) -> NotFound | Moved:
    """What to raise when something of an account is not there: it was removed, or the account has moved."""
    shard, account_id = os.path.split(account_path)
    if not os.path.isdir(account_path) and os.path.isdir(os.path.join(shard, MOVED + account_id)):
        return Moved("the mail was moved to another place; connect again")
    return NotFound(text)


def is_abandoned(path: Path) -> bool:
    """Whether a directory is a mailbox that never held a message, as a crash in a CREATE leaves it."""
    if not is_mailbox_id(path.name) or not path.is_dir():
        return False
    segments = [path / name for name in raw.list_directory(path) if number_of(name) is not None]
    return all(segment.stat().st_size <= SEGMENT.size for segment in segments)


def remove_mailbox(account_path: Path, mailbox_id: MailboxId) -> None:
    """Remove the directory of a mailbox; nothing happens when there is none.

    Locks: the account's lock is held; takes the mailbox's, so that no writer is left believing in it.
    Raises: Busy, StorageFailed.
    """
    path = account_path / mailbox_id
    trash = account_path / (TRASH + mailbox_id)
    if not path.is_dir():
        remove_tree(trash)
        return
    remove_tree(trash)
    lock = Lock(path / "lock", RANK_MAILBOX, mailbox_id)
    if (path / "lock").exists():
        with lock.hold():
            raw.rename(path, trash)
    else:
        raw.rename(path, trash)
    remove_tree(trash)


def remove_account(path: Path, deadline_s: float = DEADLINE_S) -> None:
    """Remove an account's directory with all its mail; nothing happens when there is none.

    Locks: takes the account's lock. Durable: the removal.
    Raises: Busy, StorageFailed.
    """
    trash = path.parent / (TRASH + path.name)
    remove_tree(trash)
    if path.is_dir():
        if (path / "lock").exists():
            with Lock(path / "lock", RANK_ACCOUNT, AccountId(path.name)).hold(deadline_s):
                raw.rename(path, trash)
        else:
            raw.rename(path, trash)
        remove_tree(trash)
        raw.sync_directory(path.parent)


def remove_trash(path: Path) -> None:
    """Finish the removals that a crash has interrupted."""
    for name in raw.list_directory(path):
        if name.startswith(TRASH):
            remove_tree(path / name)


def remove_tree(path: Path) -> None:
    """Remove a directory and all it holds; nothing happens when there is none."""
    try:
        found = raw.list_directory(path)
    except FileNotFoundError:
        return
    for name in found:
        file = path / name
        if file.is_dir() and not file.is_symlink():
            remove_tree(file)
        else:
            raw.unlink(file)
    raw.rmdir(path)
