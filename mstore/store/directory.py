"""Directories of mailboxes and accounts as a whole: what is one, whether it was ever used, and its removal.

A directory is taken out of the way by a rename, under its lock, before its files go: who waits for the lock
finds that it has been deleted, and a crash leaves what is plainly trash.
"""

from __future__ import annotations

import errno
import math
import os
import re
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mstore.base.errors import Corrupt, Moved, NotFound, StorageFailed
from mstore.base.ids import AccountId, MailboxId
from mstore.files import raw
from mstore.files.cataloglayout import DELETED_MAGIC, DELETED_MAILBOX
from mstore.files.layout import SEGMENT
from mstore.files.lock import DEADLINE_S, RANK_ACCOUNT, RANK_MAILBOX, Lock
from mstore.files.segment import number_of

TRASH = "trash-"
DELETED = "deleted-"
"""A mailbox that was deleted, and can be brought back for a while."""
MOVED = "moved-"
"""What is left of an account's directory that was moved to another mailstore."""

_NOTE = "deleted"
_ATTEMPTS = 5
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


@contextmanager
def needed(account_path: Path | str) -> Iterator[None]:
    """A block in which whatever fails because the account's directory is not there any more says so.

    Raises: NotFound, Moved.
    """
    try:
        yield
    except (FileNotFoundError, NotFound, StorageFailed):
        if os.path.isdir(account_path):
            raise
        raise gone(account_path, "the account has no mail directory") from None


def check_empty(path: Path) -> None:
    """Pass a directory that an account may be begun in: one that holds no mailbox.

    Raises: Corrupt.
    """
    if any(is_mailbox_id(name) for name in raw.list_directory(path)):
        raise Corrupt(f"the account {path.name} holds mailboxes, but its catalog is missing")


def is_abandoned(path: Path) -> bool:
    """Whether a directory is a mailbox that never held a message, as a crash in a CREATE leaves it."""
    if not is_mailbox_id(path.name) or not path.is_dir():
        return False
    segments = [path / name for name in raw.list_directory(path) if number_of(name) is not None]
    return all(segment.stat().st_size <= SEGMENT.size for segment in segments)


def remove_abandoned(path: Path, named: Iterable[str]) -> None:
    """Remove half-made mailboxes, to which no name leads, and half-removed ones, which a crash has left.

    Locks: the account's lock is held, so nobody is making or removing any just now.
    """
    remove_trash(path)
    for mailbox_id in set(raw.list_directory(path)).difference(named):
        if is_abandoned(path / mailbox_id):
            remove_mailbox(path, MailboxId(mailbox_id))


class DeletedMailbox(NamedTuple):
    """A mailbox that was deleted, and can be brought back."""

    path: Path
    name: str
    uid_validity: int
    time_s: float


def note_deletion(path: Path, name: str, uid_validity: int, time_s: int | None = None) -> None:
    """Note in the directory of a mailbox that is about to be deleted what it was, so that it is retained.

    It is deleted now, unless a time (seconds since 1970) says when it was. Should it not be deleted after
    all, the note means nothing. Durable: the note, once its directory is.
    Raises: StorageFailed.
    """
    encoded = name.encode()
    note = bytearray(
        DELETED_MAILBOX.write(
            magic=DELETED_MAGIC,
            crc=0,
            time=int(time.time()) if time_s is None else time_s,
            uid_validity=uid_validity,
            name_length=len(encoded),
        )
    )
    note += encoded
    struct.pack_into("<I", note, 4, zlib.crc32(note[8:]))
    fd = raw.open_file(path / _NOTE, raw.REPLACE)
    try:
        raw.pwrite(fd, note, 0)
        raw.sync(fd)
    finally:
        raw.close(fd)
    raw.sync_directory(path)


def deleted_mailboxes(account_path: Path) -> Iterator[DeletedMailbox]:
    """The deleted mailboxes of an account that are there still; one whose note is damaged has no name, and
    its time is that of its directory.

    Raises: NotFound, Moved, StorageFailed.
    """
    with needed(account_path):
        names = sorted(raw.list_directory(account_path))
    for name in names:
        path = account_path / name
        if not name.startswith(DELETED):
            continue
        try:
            note = (path / _NOTE).read_bytes()
            head = DELETED_MAILBOX.read(note)
            if head.magic != DELETED_MAGIC or head.crc != zlib.crc32(note[8:]):
                raise ValueError("the note is damaged")
            yield DeletedMailbox(path, note[DELETED_MAILBOX.size :].decode(), head.uid_validity, head.time)
        except (OSError, ValueError, struct.error):
            try:
                yield DeletedMailbox(path, "", 0, path.stat().st_mtime)
            except FileNotFoundError:
                continue  # just removed


def remove_deleted(account_path: Path, retain_s: int) -> int:
    """Remove what was deleted so long ago; gives how many mailboxes.

    One from the future, as a clock that was wrong makes it, counts as deleted now: else it would stay.
    Locks: the account's lock is held.
    """
    now = time.time()
    before = now - retain_s if retain_s else math.inf
    over = [found for found in deleted_mailboxes(account_path) if found.time_s < before]
    for found in over:
        remove_tree(found.path)
    for found in deleted_mailboxes(account_path):
        if found.time_s > now:
            note_deletion(found.path, found.name, found.uid_validity)
    return len(over)


def remove_mailbox(account_path: Path, mailbox_id: MailboxId, retains: bool = False) -> None:
    """Remove the directory of a mailbox; nothing happens when there is none.

    One with a note of its deletion stays under another name, where deleted mailboxes are retained.
    Locks: the account's lock is held; takes the mailbox's, so that no writer is left believing in it.
    Raises: Busy, StorageFailed.
    """
    path = account_path / mailbox_id
    trash = account_path / (TRASH + mailbox_id)
    if not path.is_dir():
        remove_tree(trash)
        return
    remove_tree(trash)
    if retains and (path / _NOTE).exists() and not is_abandoned(path):
        trash = account_path / (DELETED + mailbox_id)
    lock = Lock(path / "lock", RANK_MAILBOX, mailbox_id)
    if (path / "lock").exists():
        with lock.hold():
            raw.rename(path, trash)
    else:
        raw.rename(path, trash)
    if not trash.name.startswith(DELETED):
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
    """Remove a directory and all it holds; nothing happens when there is none.

    What another process adds meanwhile goes as well.
    Raises: StorageFailed.
    """
    for attempt in range(_ATTEMPTS):
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
        try:
            raw.rmdir(path)
            return
        except StorageFailed as error:
            is_filled = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOTEMPTY
            if not is_filled or attempt == _ATTEMPTS - 1:
                raise
