"""How much mail an account holds, one slot for each mailbox: the file ``quota`` of its directory.

A slot holds the absolute totals of its mailbox, written by whoever holds that mailbox's lock, so no two write
one slot at once. The file is never synced: it is of use only within the boot of the machine that it names.
Its structure (which slot is whose) changes under the lock of the account's usage alone, and whoever finds it
damaged or of another boot replaces it by an empty one: descriptors of the one before notice that it has lost
its name, so nothing is ever written where nobody reads. See ``store.quota`` for what the numbers mean.
"""

from __future__ import annotations

import os
import time
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.base.errors import Corrupt
from mstore.base.ids import AccountId, MailboxId
from mstore.files import raw
from mstore.files.layout import (
    COMPLETE,
    SLOT_GONE,
    USAGE,
    USAGE_MAGIC,
    USAGE_SLOT,
    VERSION,
)

_START = USAGE.size
_WIDTH = USAGE_SLOT.size
_ATTEMPTS = 5
_pack = USAGE_SLOT.pack
_xor = np.bitwise_xor.reduce
_sum = np.add.reduce


class Outdated(Corrupt):
    """The usage file is of another boot of the machine: it says nothing."""


class Slots:
    """All slots of a usage file as they were at one moment."""

    __slots__ = ("_words", "complete")

    def __init__(self, data: bytes) -> None:
        """Raises: Corrupt when the header or a slot is not sound, or of another boot."""
        if len(data) < _START:
            raise Corrupt("the usage file is cut off")
        head = USAGE.unpack_from(data)
        if head[0] != USAGE_MAGIC or head[1] != zlib.crc32(data[8:_START]) or head[2] != VERSION:
            raise Corrupt("the usage file has no valid header")
        if head[4] != raw.boot_id():
            raise Outdated("the usage file is of another boot")
        self.complete = bool(head[3] & COMPLETE)
        if (len(data) - _START) % _WIDTH:
            raise Corrupt("the usage file is cut off in a slot")
        self._words: npt.NDArray[Any] = np.frombuffer(data, "<u8", offset=_START)
        if _xor(self._words):
            raise Corrupt("a slot of the usage file is damaged")

    def total(self, without: int = -1) -> tuple[int, int]:
        """Bytes and messages of all mailboxes, but for the one whose slot is at that place."""
        words = self._words
        size = int(_sum(words[1::4]))
        messages = int(_sum(words.view("<u4")[4::8], dtype=np.uint64))
        first = (without - _START) // 8
        if 0 <= first < len(words):
            size -= words.item(first + 1)
            messages -= words.item(first + 2) & 0xFFFFFFFF
        return size, messages

    def place(self, mailbox_id: MailboxId) -> int:
        """Where in the file the slot of a mailbox is; -1: it has none."""
        found = np.flatnonzero(self._words[::4] == np.uint64(int(mailbox_id, 16)))
        return _START + _WIDTH * int(found[0]) if len(found) else -1

    def free_place(self) -> int:
        """Where the slot of a mailbox that has none may go."""
        free = np.flatnonzero(self._words[::4] == 0)
        return _START + _WIDTH * (int(free[0]) if len(free) else len(self._words) // 4)

    def states(self) -> dict[MailboxId, int]:
        """The state of each slot in use."""
        used = self._used()
        pairs = zip(used[:, 0].tolist(), (used[:, 2] >> np.uint64(32)).tolist(), strict=True)
        return {MailboxId(f"{number:016x}"): state for number, state in pairs}

    def amounts(self) -> dict[MailboxId, tuple[int, int]]:
        """Bytes and messages of each slot in use."""
        used = self._used()
        messages = (used[:, 2] & np.uint64(0xFFFFFFFF)).tolist()
        triples = zip(used[:, 0].tolist(), used[:, 1].tolist(), messages, strict=True)
        return {MailboxId(f"{number:016x}"): (size, count) for number, size, count in triples}

    def _used(self) -> npt.NDArray[Any]:
        rows = self._words.reshape(-1, 4)
        used: npt.NDArray[Any] = rows[rows[:, 0] != 0]
        return used


def _format(number: int, size_bytes: int, messages: int, state: int) -> bytes:
    return _pack(number, size_bytes, messages, state, number ^ size_bytes ^ (messages | state << 32))


def read_slots(path: str) -> Slots:
    """The slots of a file that others may be writing to just now.

    Raises: FileNotFoundError, Corrupt, StorageFailed.
    """
    fd = raw.open_file(path, raw.READ)
    try:
        return _read(fd)
    finally:
        raw.close(fd)


def _read(fd: int) -> Slots:
    attempt = 0
    while True:
        attempt += 1
        try:
            return Slots(raw.pread(fd, raw.size_of(fd), 0))
        except Corrupt:
            if attempt == _ATTEMPTS:
                raise


class UsageFile:
    """The usage file of one account, as one process writes to it."""

    __slots__ = ("_account", "_fd", "_places", "path", "serial")

    def __init__(self, path: str, account_id: AccountId) -> None:
        self.path = path
        self._account = int(account_id, 16)
        self._fd = -1
        self._places: dict[MailboxId, tuple[int, int]] = {}
        self.serial = 0
        """Counts the files opened; the same number means the same file."""

    @property
    def is_open(self) -> bool:
        """Whether there is a descriptor just now."""
        return self._fd >= 0

    def put(self, mailbox_id: MailboxId, size_bytes: int, messages: int, state: int) -> bool:
        """Write a mailbox's slot; False when this process does not know where it is.

        Locks: the mailbox's is held. Raises: StorageFailed.
        """
        place = self._places.get(mailbox_id)
        if place is None or not os.fstat(self._fd).st_nlink:
            return False
        at, number = place
        check = number ^ size_bytes ^ (messages | state << 32)
        raw.pwrite(self._fd, _pack(number, size_bytes, messages, state, check), at)
        return True

    def slots(self) -> Slots:
        """All slots; a file that is missing, damaged or of another boot is replaced by an empty one.

        Locks: that of the usage is held. Raises: StorageFailed.
        """
        try:
            if self._fd < 0 or not os.fstat(self._fd).st_nlink:
                self.close()
                self._fd = raw.open_file(self.path, raw.WRITE)
                self.serial += 1
            return _read(self._fd)
        except (FileNotFoundError, Corrupt):
            self.replace()
            return _read(self._fd)

    def find(self, slots: Slots, mailbox_id: MailboxId) -> int:
        """Where the slot of a mailbox is, for ``put`` to know as well; -1: it has none.

        Locks: that of the usage is held, and was when ``slots`` were read.
        """
        place = self._places.get(mailbox_id)
        if place is not None:
            return place[0]
        at = slots.place(mailbox_id)
        if at >= 0:
            self._places[mailbox_id] = at, int(mailbox_id, 16)
        return at

    def put_first(
        self, slots: Slots, mailbox_id: MailboxId, size_bytes: int, messages: int, state: int
    ) -> None:
        """Write a mailbox's slot wherever it is, giving it one when it has none.

        Locks: the mailbox's is held; that of the usage is, and was when ``slots`` were read.
        Raises: StorageFailed.
        """
        if self.find(slots, mailbox_id) >= 0:
            self.put(mailbox_id, size_bytes, messages, state)
            return
        at, number = slots.free_place(), int(mailbox_id, 16)
        raw.pwrite(self._fd, _format(number, size_bytes, messages, state), at)
        self._places[mailbox_id] = at, number

    def free(self, slots: Slots, mailbox_id: MailboxId, for_good: bool) -> None:
        """Let a mailbox that was deleted count for nothing; ``for_good`` gives its slot to the next one.

        Locks: that of the usage is held; for good, nobody can have the mailbox's any more.
        """
        at = slots.place(mailbox_id)
        self._places.pop(mailbox_id, None)
        if at >= 0:
            slot = bytes(_WIDTH) if for_good else _format(int(mailbox_id, 16), 0, 0, SLOT_GONE)
            raw.pwrite(self._fd, slot, at)

    def replace(self) -> None:
        """Begin a new file, without slots.

        Locks: that of the usage is held. Raises: StorageFailed.
        """
        self.close()
        passing = f"{self.path}.new"
        fd = raw.open_file(passing, raw.REPLACE)
        try:
            raw.pwrite(fd, self._header(0), 0)
            raw.rename(passing, self.path)
        except BaseException:
            raw.close(fd)
            raise
        self._fd = fd
        self.serial += 1

    def complete(self) -> None:
        """Note that every mailbox with messages has its slot.

        Locks: that of the usage is held.
        """
        raw.pwrite(self._fd, self._header(COMPLETE), 0)

    def _header(self, flags: int) -> bytes:
        head = USAGE.pack(USAGE_MAGIC, 0, VERSION, flags, raw.boot_id(), self._account, int(time.time()))
        return head[:4] + zlib.crc32(head[8:]).to_bytes(4, "little") + head[8:]

    def close(self) -> None:
        """Close the descriptor; it comes back by itself."""
        self._places.clear()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            raw.close(fd)
