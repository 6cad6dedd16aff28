"""The directory of backups: which there are, how one is begun and gets its name, and which one is meant."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mstore.base.errors import Busy, Corrupt, Invalid, NotFound, StorageFailed
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.lockfile import LockFile
from mstore.store.directory import remove_tree

MARK = "m-store-backup"
"""A file that says what the directory is."""
SUMMARY = "backup.json"
PASSING = "incoming-"
_ID = "%Y%m%dT%H%M%SZ"


@dataclass(slots=True)
class Backup:
    """What is to be known of a backup without reading its manifests."""

    id: str
    time_s: int
    whole: bool = False
    """Whether it is of all accounts."""
    accounts: dict[str, str] = field(default_factory=dict)
    """Names by ids."""
    messages: int = 0
    size_bytes: int = 0
    """Of all messages, new ones and those that were in the packs already."""
    retained: int = 0
    """So many besides had been expunged, but could be brought back."""
    new_messages: int = 0
    new_bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    """What could not be read, a sentence each."""


class Repository:
    """One directory of backups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packs = path / "packs"

    @classmethod
    def make(cls, path: Path) -> Repository:
        """The directory, made when it is not there or empty.

        Raises: Invalid when it is something else, StorageFailed.
        """
        try:
            raw.mkdir(path)
            found: list[str] = []
        except FileExistsError:
            found = raw.list_directory(path)
        except FileNotFoundError:
            raise NotFound(f"the directory {path.parent} is missing") from None
        if found and MARK not in found and set(found) - {"packs"}:
            raise Invalid(f"{path} holds something else than backups")
        repository = cls(path)
        try:
            raw.mkdir(repository.packs)
        except FileExistsError:
            pass
        if MARK not in found:
            raw.write_file(path / MARK, [(0, b"1\n")], 2)
        raw.sync_directory(path)
        return repository

    @classmethod
    def open(cls, path: Path) -> Repository:
        """The directory as it is.

        Raises: NotFound.
        """
        if not (path / MARK).is_file():
            raise NotFound(f"there are no backups in {path}")
        return cls(path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other backup be written meanwhile.

        Raises: Busy.
        """
        try:
            lock = LockFile.take(self.path / "lock")
        except Busy as error:
            raise Busy(f"another backup {error}") from None
        try:
            yield
        finally:
            lock.release()

    def begin(self, time_s: int) -> Path:
        """A directory under a passing name for a new backup."""
        backup_id = first = datetime.fromtimestamp(time_s, UTC).strftime(_ID)
        number = 1
        while True:
            try:
                if not (self.path / backup_id).exists():
                    path = self.path / (PASSING + backup_id)
                    raw.mkdir(path)
                    return path
            except FileExistsError:
                pass
            number += 1
            backup_id = f"{first}-{number}"

    def sweep(self, begun: Path) -> None:
        """Remove the directories of backups that were interrupted; what they left in packs stays."""
        for name in raw.list_directory(self.path):
            if name.startswith(PASSING) and name != begun.name:
                remove_tree(self.path / name)

    def finish(self, path: Path, backup: Backup) -> None:
        """Give a backup its name. Durable: the backup, whose messages are so already."""
        data = json.dumps(asdict(backup), indent=1).encode() + b"\n"
        raw.write_file(path / SUMMARY, [(0, data)], len(data))
        raw.sync_directory(path)
        raw.rename(path, self.path / backup.id)
        raw.sync_directory(self.path)

    def backups(self) -> list[Backup]:
        """All complete backups, the oldest first.

        Raises: Corrupt, StorageFailed.
        """
        found = []
        for name in sorted(raw.list_directory(self.path)):
            file = self.path / name / SUMMARY
            if name.startswith(PASSING) or not file.is_file():
                continue
            try:
                found.append(Backup(**json.loads(file.read_bytes())))
            except (TypeError, ValueError) as error:
                raise Corrupt(f"{file} is damaged: {error}") from None
            except OSError as error:
                raise StorageFailed(f"cannot read {file}: {error.strerror}") from None
        return found

    def choose(self, at: str | None, wanted: Callable[[Backup], bool], what: str) -> Backup:
        """The newest backup that is wanted, of all, of those until a time, or the one with an id.

        Raises: NotFound, Invalid for a time that cannot be read.
        """
        found = self.backups()
        if at is not None:
            until_s = None if any(backup.id == at for backup in found) else parse_time(at)
            found = [
                backup
                for backup in found
                if (backup.id == at if until_s is None else backup.time_s <= until_s)
            ]
        for backup in reversed(found):
            if wanted(backup):
                return backup
        when = f" from {at} or before" if at else ""
        raise NotFound(f"there is no backup of {what}{when} in {self.path}")

    def manifest(self, backup: Backup, account_id: AccountId | str) -> Path:
        """The file with an account's manifest."""
        return self.path / backup.id / f"{account_id}.jsonl"

    def file(self, backup: Backup, name: str) -> Path | None:
        """A database file of a backup, None where there is none or it is closed to us."""
        path = self.path / backup.id / name
        return path if os.access(path, os.R_OK) else None


def parse_time(text: str) -> int:
    """Seconds since 1970 of an ISO 8601 time; without a zone it is local, a day alone means its end.

    Raises: Invalid.
    """
    try:
        if len(text) == 10:
            text += "T23:59:59"
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise Invalid(f"{text} is neither a backup's id nor a time (2026-11-29T06:30)") from None
