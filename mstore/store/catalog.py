"""The file ``catalog`` of an account: an append-only journal of changes to its names.

Readers take no lock: they apply the whole valid groups, and look again when the file's identity, time or
size is another. Writers hold the account's lock; what they write is on disk when ``commit`` returns, and
before anybody sees it: a group is pending until its sync. One that stays so is released by who next gets the
lock. A torn group at the end, left by a crash, is recognised by its checksum and cut by the next writer. When
the file has become long it is written anew under another generation, and takes the old one's place by a
rename.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from pathlib import Path

from mstore.base.errors import Corrupt, NotFound, StorageFailed
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.cataloglayout import CATALOG, CATALOG_MAGIC, CATALOG_VERSION
from mstore.files.journal import format_group, parse_group, release
from mstore.files.layout import GROUP_MAGIC
from mstore.store.namestate import NameState, Record

REWRITE_BYTES = 64 << 10
_NEVER = (0, 0, 0)
_GROUP_MAGIC = GROUP_MAGIC.to_bytes(4, "little")


class Catalog:
    """The names of one account as one process sees them."""

    def __init__(self, directory: Path | str, account_id: AccountId) -> None:
        self.path = os.path.join(directory, "catalog")
        self.account_id = account_id
        self.state = NameState()
        self._generation = 0
        self._serial = 0
        self._end = 0
        self._fresh_size = 0
        self._seen = _NEVER
        self._unsure = False
        self._durable_generation = 0
        """Its name is known to be on disk: its author may have died before he saw to it."""
        self.pending = False
        """A group waits behind the end: being written just now, or left by one who died."""
        self.applying = threading.Lock()
        """Held, without ever waiting inside, by who reads or extends the state."""

    @property
    def serial(self) -> int:
        """Counts the changes of the names; the same number means the same names."""
        return self._serial

    @property
    def end(self) -> int:
        """Where the last valid group ends."""
        return self._end

    def refresh(self) -> bool:
        """Apply what was written since the last time; True when there was something.

        Raises: NotFound when there is no catalog, Corrupt, StorageFailed.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            raise NotFound("the account has no catalog") from None
        except OSError as error:
            raise StorageFailed(f"cannot read the catalog: {error.strerror}") from None
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return False
        with self.applying:
            return self._refresh(seen)

    def _refresh(self, seen: tuple[int, int, int]) -> bool:
        try:
            fd = raw.open_file(self.path, raw.READ)
        except FileNotFoundError:
            raise NotFound("the account has no catalog") from None
        try:
            before = (self._generation, self._end)
            self._read(fd)
        finally:
            raw.close(fd)
        self._seen = _NEVER if self.pending else seen  # its release need not change time or size
        return before != (self._generation, self._end)

    def settle(self) -> None:
        """Release the pending group that a dead writer has left, so that everybody sees it.

        Locks: the account's lock is held. Durable: the group.
        """
        self.refresh()
        while self.pending:
            fd = raw.open_file(self.path, raw.WRITE)
            try:
                raw.sync(fd)
                release(fd, self._end)
            finally:
                raw.close(fd)
            self.refresh()

    def create(self, records: list[Record]) -> None:
        """Write the first catalog of an account.

        Locks: the account's lock is held. Durable: the file and its name.
        Raises: StorageFailed.
        """
        state = NameState()
        state.apply(records)
        self._write_anew(state, 1, 1)

    def commit(self, records: list[Record]) -> None:
        """Make changes, all or none.

        Locks: the account's lock is held, and ``settle`` was called under it. Durable: the changes.
        Raises: StorageFailed; then nothing has changed.
        """
        if self._unsure or (self._end > REWRITE_BYTES and self._end > 4 * self._fresh_size):
            state = self.state.copy()
            state.apply(records)
            self._write_anew(state, self._generation + 1, self._serial + 1)
            self._unsure = False
            self.refresh()
        else:
            self._append(records)

    def _append(self, records: list[Record]) -> None:
        if self._durable_generation != self._generation:
            raw.sync_directory(os.path.dirname(self.path))
            self._durable_generation = self._generation
        fd = raw.open_file(self.path, raw.WRITE)
        try:
            size = raw.size_of(fd)
            if size > self._end:
                if not self._is_torn(raw.pread(fd, size - self._end, self._end)):
                    raise Corrupt("the catalog is damaged in the middle; no change is made to it")
                raw.truncate(fd, self._end)
            at = self._end
            group = format_group(self._generation, at, self._serial + 1, records, True)
            try:
                raw.pwrite(fd, group, at)
                raw.sync(fd)
                with self.applying:
                    release(fd, at)
                    # not read back: that might fail, though the change is made
                    self.state.apply(records)
                    self._end += len(group)
                    self._serial += 1
            except BaseException:
                # whether others have released it is unknown, so the next change begins a new generation
                self._unsure = True
                raw.truncate(fd, at)
                raise
        finally:
            raw.close(fd)

    def is_damaged(self) -> bool:
        """Whether valid groups lie behind what is none: then it is damage, and no change is made any more.

        Raises: NotFound when there is no catalog, StorageFailed.
        """
        try:
            fd = raw.open_file(self.path, raw.READ)
        except FileNotFoundError:
            raise NotFound("the account has no catalog") from None
        try:
            size = raw.size_of(fd)
            return size > self._end and not self._is_torn(raw.pread(fd, size - self._end, self._end))
        finally:
            raw.close(fd)

    def _is_torn(self, tail: bytes) -> bool:
        """Whether it is what a crash can leave at the end: one group that is not whole, none behind it."""
        at = tail.find(_GROUP_MAGIC, 1)
        while at > 0:
            if parse_group(tail, at, self._end + at, self._generation) is not None:
                return False
            at = tail.find(_GROUP_MAGIC, at + 1)
        return True

    def _write_anew(self, state: NameState, generation: int, serial: int) -> None:
        head = _format_header(generation, self.account_id)
        group = format_group(generation, CATALOG.size, serial, state.records())
        raw.write_file(self.path, [(0, head + group)], len(head) + len(group))
        raw.sync_directory(os.path.dirname(self.path))

    def _read(self, fd: int) -> None:
        self.pending = False
        generation = _read_header(fd, self.account_id)
        if generation == self._generation and self._end:
            size = raw.size_of(fd)
            tail = raw.pread(fd, size - self._end, self._end) if size > self._end else b""
            if size >= self._end and (not tail or self._apply(self.state, tail, self._end)):
                return
        data = raw.pread(fd, raw.size_of(fd), 0)
        state = NameState()
        self._generation = generation
        self._end = 0
        self._serial = 0
        if not self._apply(state, data[CATALOG.size :], CATALOG.size):
            raise Corrupt("the catalog does not hold what its checksums promise")
        self.state = state

    def _apply(self, state: NameState, data: bytes, position: int) -> bool:
        """Apply the valid groups of ``data``, which stands at ``position``; whether there was one."""
        at = 0
        found = parse_group(data, at, position, self._generation)
        first = found[0].end if found and not found[1] else 0
        end, serial = self._end, self._serial
        while found is not None and not found[1]:
            group = found[0]
            state.apply(group.records)
            end, serial = group.end, group.modseq
            at = end - position
            found = parse_group(data, at, end, self._generation)
        self.pending = found is not None
        self._end, self._serial = end, serial
        if position == CATALOG.size:
            self._fresh_size = first
        return bool(first)


def _format_header(generation: int, account_id: AccountId) -> bytes:
    head = CATALOG.pack(CATALOG_MAGIC, 0, CATALOG_VERSION, generation, int(account_id, 16), int(time.time()))
    return head[:4] + zlib.crc32(head[8:]).to_bytes(4, "little") + head[8:]


def _read_header(fd: int, account_id: AccountId) -> int:
    data = raw.pread(fd, CATALOG.size, 0)
    if len(data) < CATALOG.size:
        raise Corrupt("the catalog is cut off")
    head = CATALOG.read(data)
    if head.magic != CATALOG_MAGIC or head.crc != zlib.crc32(data[8:]):
        raise Corrupt("the catalog has no valid header")
    if head.version != CATALOG_VERSION:
        raise Corrupt(f"the catalog has format {head.version}; this version reads {CATALOG_VERSION}")
    if head.account_id != int(account_id, 16):
        raise Corrupt("the catalog is another account's")
    generation: int = head.generation
    return generation
