"""Moving an account's directory to another mailstore while it is in use.

The bulk is copied without any lock, as often as it takes until little has changed meanwhile. Then, under the
account's lock and those of all its mailboxes, the copy is brought up to date and put in place, the old
directory gets a name under which nobody looks for it, and only then the caller's database is told. So at
every moment one directory at most can be written to, and it is the one that the database names:

- until the old directory is renamed, the copy is a directory that nobody knows;
- from then on nobody can write to the old one: whoever waits for its locks, or takes one later, finds that
  the lock file is not where it was, and ``Moved`` says why;
- what is left of it afterwards, an empty ``moved-<id>``, says so to whoever comes with an outdated record.

``settle`` takes back or finishes what a crash has interrupted, by what the database says.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mstore.base import blocking
from mstore.base.errors import Corrupt, LimitReached, StorageFailed
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.lock import DEADLINE_S, RANK_ACCOUNT, RANK_MAILBOX, Lock
from mstore.store.directory import MOVED, TRASH, is_mailbox_id, needed, remove_tree
from mstore.store.maildrop import LOCK_FILE

INCOMING = "incoming-"
LITTLE_BYTES = 16 << 20
"""So much may be left to copy under the locks."""
MOST_ROUNDS = 5
SETTLED_NS = 1_000_000_000
"""A file changed less than this before it was looked at may change again within one tick of its clock."""
_CHUNK_BYTES = 64 << 20
_SPARE_DESCRIPTORS = 64

Place = tuple[int, int, int]
"""Inode, size and time of a file."""


class Follower:
    """A copy of an account's directory, brought up to date as often as it is asked to."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        self._copied: dict[str, Place] = {}

    def update(self) -> int:
        """Copy what has changed since the last time, forget what is gone; gives the bytes copied.

        What others write meanwhile may be copied in part; the next time finds it changed. Durable: what was
        copied, with its names.
        Raises: StorageFailed; NotFound, Moved when the source is gone.
        """
        with needed(self._source):
            return self._update_directory(self._source, self._target, "")

    def _update_directory(self, source: Path, target: Path, under: str) -> int:
        try:
            raw.mkdir(target)
        except FileExistsError:
            pass
        copied = 0
        wanted = set[str]()
        for entry in list(os.scandir(source)):
            name = entry.name
            if name.startswith(TRASH) or name.endswith(".new"):
                continue
            wanted.add(name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    copied += self._update_directory(source / name, target / name, f"{under}{name}/")
                elif name in ("lock", LOCK_FILE):
                    raw.close(raw.open_file(target / name, raw.WRITE | os.O_CREAT))
                elif entry.is_file(follow_symlinks=False):
                    copied += self._update_file(source / name, target / name, under + name)
            except FileNotFoundError:
                continue  # removed since: it is not there the next time, or it was only in the way
        for name in os.listdir(target):
            if name not in wanted:
                self._copied.pop(under + name, None)
                _remove(target / name)
        raw.sync_directory(target)
        return copied

    def _update_file(self, source: Path, target: Path, key: str) -> int:
        before = self._copied.pop(key, None)
        fd = raw.open_file(source, raw.READ)
        try:
            asked_ns = time.time_ns()
            status = os.fstat(fd)
            inode, size, changed_ns = status.st_ino, status.st_size, status.st_mtime_ns
            if before == (inode, size, changed_ns):
                self._copied[key] = before
                return 0
            start = 0
            if source.name == "derived" and before is not None and before[0] == inode and before[1] <= size:
                start = before[1]  # it only grows, and what stands in it is verified by who reads it
            if self._copy(fd, target, start, size):
                is_settled = asked_ns - changed_ns > SETTLED_NS
                self._copied[key] = (inode, size, changed_ns if is_settled else 0)
            return size - start
        finally:
            raw.close(fd)

    def _copy(self, fd: int, target: Path, start: int, size: int) -> bool:
        """Copy a file's bytes and sync them; False when it was cut meanwhile."""
        flags = raw.WRITE | os.O_CREAT if start else raw.REPLACE
        out = raw.open_file(target, flags)
        try:
            while start < size:
                count = min(_CHUNK_BYTES, size - start)
                raw.copy_range(fd, out, count, start, start)
                start += count
                blocking.breathe()
        except StorageFailed:
            if raw.size_of(fd) >= size:
                raise
            return False
        finally:
            try:
                raw.sync(out)
            finally:
                raw.close(out)
        return True


def _remove(path: Path) -> None:
    if path.is_dir():
        remove_tree(path)
    else:
        raw.unlink(path)


def move_account(source: Path, target: Path, switch: Callable[[], None]) -> None:
    """Move an account's directory; ``switch`` makes the database name the new place.

    Should this fail or be stopped, ``settle`` is to be called, with what the database says then.
    Locks: at the end the account's and those of all its mailboxes. Durable: the copy, before ``switch`` is
    called; the move, on return.
    Raises: Busy, NotFound, LimitReached, StorageFailed, and whatever ``switch`` raises.
    """
    shard, incoming = target.parent, target.parent / (INCOMING + target.name)
    try:
        raw.mkdir(shard)
    except FileExistsError:
        pass
    raw.sync_directory(shard.parent)
    follower = Follower(source, incoming)
    for _ in range(MOST_ROUNDS):
        if follower.update() <= LITTLE_BYTES:
            break
    with _all_locked(source):
        follower.update()
        raw.rename(incoming, target)
        raw.sync_directory(shard)
        raw.rename(source, source.parent / (MOVED + source.name))
        raw.sync_directory(source.parent)
        switch()
    _empty(source.parent / (MOVED + source.name))
    remove_tree(shard / (MOVED + target.name))  # it may have lived there before


@contextmanager
def _all_locked(path: Path) -> Iterator[None]:
    """Hold all locks of an account: nobody writes to it, and who wants to, waits."""
    with ExitStack() as stack:
        with needed(path):
            stack.enter_context(Lock(path / "lock", RANK_ACCOUNT, path.name).hold())
            found = sorted(name for name in os.listdir(path) if is_mailbox_id(name))
            mailboxes = [name for name in found if (path / name / "lock").exists()]
            _allow_descriptors(len(mailboxes))
            deadline = time.monotonic() + DEADLINE_S
            for name in mailboxes:
                left_s = max(0.0, deadline - time.monotonic())
                stack.enter_context(Lock(path / name / "lock", RANK_MAILBOX, name).hold(left_s))
        yield


def _allow_descriptors(count: int) -> None:
    """See to it that so many more files can be open.

    Raises: LimitReached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + len(os.listdir("/proc/self/fd")) + _SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise LimitReached(f"{count} mailboxes cannot be locked at once: at most {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def settle(home: Path, elsewhere: Iterable[Path]) -> None:
    """Finish or take back what a move has left; ``home`` is where the database says the account is.

    Locks: none; no other move of the account may be under way. Durable: the result.
    Raises: Corrupt when the account is not at home, but its directory is elsewhere; StorageFailed.
    """
    away = home.parent / (MOVED + home.name)
    if not home.is_dir() and away.is_dir() and os.listdir(away):
        raw.rename(away, home)  # the database was not told: nobody has written to the copy
        raw.sync_directory(home.parent)
    for other in elsewhere:
        if not other.parent.is_dir():
            continue
        if other.is_dir():
            if not home.is_dir():
                raise Corrupt(f"the account should be at {home}, and is at {other}")
            trash = other.parent / (TRASH + other.name)
            remove_tree(trash)
            raw.rename(other, trash)
        for prefix in (TRASH, INCOMING):
            remove_tree(other.parent / (prefix + other.name))
        _empty(other.parent / (MOVED + other.name))


def forget(places: Iterable[Path]) -> None:
    """Remove all that is left of an account that is no more."""
    for place in places:
        for prefix in ("", INCOMING, MOVED):
            remove_tree(place.parent / (prefix + place.name))


def unfinished(shard: Path) -> Iterator[Path]:
    """What a move that is under way, or was interrupted, has left in a mailstore's directory."""
    for name in sorted(os.listdir(shard)):
        path = shard / name
        if name.startswith(INCOMING) or (name.startswith(MOVED) and os.listdir(path)):
            yield path


def _empty(path: Path) -> None:
    """Remove what is in a directory, but not the directory: it says that the account was here."""
    if not path.is_dir():
        return
    for entry in list(os.scandir(path)):
        _remove(path / entry.name)
    raw.sync_directory(path)


def path_of(mailstore: Path, account_id: AccountId) -> Path:
    """Where a mailstore holds the directory of an account."""
    return mailstore / account_id[:2] / account_id


def away_of(mailstore: Path, account_id: AccountId) -> Path:
    """What a mailstore holds in the place of an account that was moved to another one."""
    return mailstore / account_id[:2] / (MOVED + account_id)
