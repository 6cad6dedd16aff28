"""The checkpoint: a new generation written beside the writers, who wait only while it takes over.

What is written is a table of its own, made from the newest index and the journal as far as it reaches by
then; the one in memory that sessions use is not touched. Groups that come meanwhile are carried into the new
journal, most of them before the lock is taken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import Corrupt
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.checkpoint import write_index
from mstore.files.index import Index
from mstore.files.journal import START, Journal, JournalInfo
from mstore.files.segment import every_segment
from mstore.store import generation
from mstore.store.diskuse import retained_since

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

PASSING_INDEX, PASSING_JOURNAL = "index.upkeep", "journal.upkeep"
_PIECE_BYTES = 256 << 10
_FEW_BYTES = 16 << 10


def checkpoint(mailbox: Mailbox) -> bool:
    """Begin a new generation; False when a recovery has begun one meanwhile.

    Damage found on the way is repaired by a recovery.
    Locks: the upkeep lock is held; takes the writers' lock for the last step. Durable: all changes so far.
    Raises: Busy, NotFound, StorageFailed, Corrupt.
    """
    index, journal = mailbox.path / PASSING_INDEX, mailbox.path / PASSING_JOURNAL
    _remove(index, journal)
    try:
        return _checkpoint(mailbox, index, journal)
    except FileNotFoundError:
        return False  # the generation it was made from, or the mailbox, is gone
    finally:
        _remove(index, journal)


def _remove(*paths: Path) -> None:
    for path in paths:
        raw.unlink(path)


def _checkpoint(mailbox: Mailbox, index: Path, journal: Path) -> bool:
    before = mailbox.journal.info.generation
    try:
        table, old = generation.load(mailbox.path, patient=True, retains=bool(mailbox.retain_s))
    except Corrupt:
        with mailbox.transaction() as tx:
            if mailbox.journal.info.generation == before:
                tx.recover()
        return True
    number = old.info.generation + 1
    try:
        _forget_retained(table, mailbox)
        write_index(index, table, number, last_use=True)
        info = JournalInfo(table.uid_validity, number, table.highest_modseq, raw.boot_id(), old.end)
        del table
        fd = raw.open_file(journal, raw.CREATE)
        try:
            raw.pwrite(fd, journals.format_header(info), 0)
            carrier = _Carrier(old, fd, number)
            while carrier.carry(raw.size_of(old.fd)) > _FEW_BYTES:
                blocking.breathe()
            raw.sync(fd)
            with mailbox.transaction():
                if mailbox.journal.info.generation != old.info.generation:
                    return False
                while carrier.carry(mailbox.journal.end):
                    pass
                raw.sync(fd)
                generation.switch(mailbox, number, carrier.at, index, journal)
        finally:
            raw.close(fd)
    finally:
        old.close()
    generation.remove_old(mailbox.path, number - 1)
    return True


def _forget_retained(table: Index, mailbox: Mailbox) -> None:
    """Leave out of the record of retained messages those whose time is over, or whose bytes are gone."""
    if table.retained:
        before_ms, now_ms = retained_since(mailbox.retain_s), retained_since(0)
        table.retained.drop(before_ms, now_ms, every_segment(mailbox.path))


class _Carrier:
    """Carries groups from behind the end of one journal to the end of another."""

    def __init__(self, old: Journal, fd: int, number: int) -> None:
        self._old = old
        self._fd = fd
        self._number = number
        self._from = old.end
        self.at = START

    def carry(self, end: int) -> int:
        """Carry some of the groups that end by there; gives the bytes carried, 0 when there are none."""
        generation_before, piece = self._old.info.generation, _PIECE_BYTES
        while True:
            count = min(end - self._from, piece)
            data = raw.pread(self._old.fd, count, self._from)
            found = journals.carry(data, self._from, generation_before, self.at, self._number)
            if found or count == end - self._from:
                break
            piece *= 4
        raw.pwrite(self._fd, found, self.at)
        self._from += len(found)
        self.at += len(found)
        return len(found)
