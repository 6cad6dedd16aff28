"""The maildrop behind a session: the messages of INBOX as they were at login, numbered from 1.

Holding a ``Maildrop`` is holding the account's exclusive POP3 lock; ``close`` gives it back, and so does the
death of the process. Messages that arrive later are seen by the next session. Messages that IMAP has flagged
\\Deleted are there like any other until somebody expunges them; one that was expunged meanwhile keeps its
number and its size in listings, and cannot be read any more.

Marking is in memory alone; ``update`` removes all that is marked in one transaction. What was fetched becomes
\\Seen when the maildrop is closed, if that is wanted; together with the removal where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt

from mstore.base.errors import MStoreError
from mstore.base.flags import SEEN, TOMBSTONE
from mstore.mail.downgrade import downgrade, mask
from mstore.mail.header import HEADER_LIMIT_BYTES
from mstore.pop3.multiline import first_lines
from mstore.store.account import Account
from mstore.store.names import INBOX
from mstore.store.transaction import Transaction

LISTED_AT_ONCE = 4096


class NoSuchMessage(MStoreError):
    """There is no message of this number, or it is marked as deleted."""


class TooSoon(MStoreError):
    """The user's last session began less than ``pop3d-login-delay`` ago."""


class Maildrop:
    """An account's INBOX, owned by one POP3 session."""

    __slots__ = (
        "_fetched",
        "_lock",
        "_mailbox",
        "_marked",
        "_marked_bytes",
        "_rows",
        "_sizes",
        "_total_bytes",
        "_uids",
        "count",
    )

    def __init__(self, account: Account, delay_s: int = 0, marks_seen: bool = False) -> None:
        """Take the lock and note what is there; the last session must have begun ``delay_s`` ago.

        Raises: Busy when another POP3 session has the maildrop; TooSoon; whatever opening a mailbox raises.
        """
        self._lock = account.pop3_lock()
        try:
            if delay_s:
                self._wait_is_over(delay_s)
            self._mailbox = account.open(INBOX)
        except BaseException:
            self._lock.release()
            raise
        # Rows keep their numbers while a mailbox is open, so these arrays stay right.
        view = self._mailbox.view()
        self._rows = view.rows
        self._uids = view.uids
        self._sizes = self._mailbox.columns.full.size[self._rows]
        self._marked: set[int] = set()
        self._marked_bytes = 0
        self._fetched: set[int] | None = set() if marks_seen else None
        self._total_bytes = int(self._sizes.sum(dtype=np.int64))
        self.count = len(self._rows)

    def _wait_is_over(self, delay_s: int) -> None:
        since_s = self._lock.seconds_since_last()
        if since_s is not None and since_s < delay_s:
            raise TooSoon(f"the next session may begin in {math.ceil(delay_s - since_s)} seconds")
        self._lock.note_session()

    def close(self) -> None:
        """Give mailbox and lock back; nothing is removed.

        Raises: whatever marking as \\Seen raises; mailbox and lock are given back all the same.
        """
        try:
            if self._fetched:
                with self._mailbox.transaction() as tx:
                    self._mark_seen(tx)
        finally:
            self._mailbox.release()
            self._lock.release()

    def _mark_seen(self, tx: Transaction) -> None:
        """What was fetched, and is not marked as deleted, has been seen."""
        if self._fetched:
            indexes = np.array(sorted(self._fetched - self._marked), np.int64)
            self._fetched = None
            tx.flags(self._rows[indexes], "add", SEEN)

    @property
    def remaining(self) -> tuple[int, int]:
        """Number and bytes of the messages that are not marked."""
        return self.count - len(self._marked), self._total_bytes - self._marked_bytes

    @property
    def summary(self) -> str:
        """``2 messages (320 octets)``, for people."""
        count, size_bytes = self.remaining
        return f"{count} message{'' if count == 1 else 's'} ({size_bytes} octets)"

    def size(self, number: int) -> int:
        """The exact size of a message in octets, without byte-stuffing (RFC 1939 §11).

        Raises: NoSuchMessage.
        """
        return int(self._sizes[self._index(number)])

    def unique_id(self, number: int) -> bytes:
        """The unique-id of a message.

        Raises: NoSuchMessage.
        """
        return b"%d.%d" % (self._mailbox.uid_validity, int(self._uids[self._index(number)]))

    def scan_listing(self) -> Iterator[bytes]:
        """``number size`` lines of all messages not marked, in batches."""
        for numbers, indexes in self._batches():
            sizes = self._sizes[indexes].tolist()
            yield b"".join([b"%d %d\r\n" % pair for pair in zip(numbers, sizes, strict=True)])

    def unique_id_listing(self) -> Iterator[bytes]:
        """``number unique-id`` lines of all messages not marked, in batches."""
        line = b"%%d %d.%%d\r\n" % self._mailbox.uid_validity
        for numbers, indexes in self._batches():
            uids = self._uids[indexes].tolist()
            yield b"".join([line % pair for pair in zip(numbers, uids, strict=True)])

    def content(self, number: int, utf8: bool) -> tuple[int, Iterator[bytes]]:
        """The message in chunks, and how many octets they make.

        Without ``utf8`` a header that is not ASCII is sent as one that is (RFC 6856 §2.1), with a size of its
        own; what is longer than any header should be has its other bytes masked.
        Raises: NoSuchMessage; StorageFailed, Corrupt, Expunged.
        """
        row = self._row(number)
        if self._fetched is not None:
            self._fetched.add(number - 1)
        size_bytes = int(self._sizes[number - 1])
        chunks = self._mailbox.chunks(row)
        if utf8:
            return size_bytes, chunks
        first = next(chunks, b"")
        length = self._header_length(row)
        if length <= len(first) and first[:length].isascii():
            return size_bytes, chain((first,), chunks)
        header = list(self._ascii_header(row, length)) if length <= HEADER_LIMIT_BYTES else None
        if header is None:
            return size_bytes, chain(self._ascii_header(row, length), self._mailbox.chunks(row, length))
        size_bytes += sum(map(len, header)) - length
        return size_bytes, chain(header, self._mailbox.chunks(row, length))

    def top(self, number: int, lines: int, utf8: bool) -> Iterator[bytes]:
        """The header with its empty line, and the first lines of the body, in chunks; see ``content``.

        Raises: NoSuchMessage.
        """
        row = self._row(number)
        length = self._header_length(row)
        yield from self._mailbox.chunks(row, 0, length) if utf8 else self._ascii_header(row, length)
        yield from first_lines(self._mailbox.chunks(row, length), lines)

    def _header_length(self, row: int) -> int:
        length: int = self._mailbox.columns.full.header_length.item(row)
        return length

    def _ascii_header(self, row: int, length: int) -> Iterator[bytes]:
        """The first bytes of a message with nothing in them but ASCII."""
        if length <= HEADER_LIMIT_BYTES:
            yield downgrade(self._mailbox.read(row, 0, length))
            return
        for chunk in self._mailbox.chunks(row, 0, length):
            yield mask(chunk)

    def mark(self, number: int) -> None:
        """Mark a message as deleted.

        Raises: NoSuchMessage.
        """
        index = self._index(number)
        self._marked.add(index)
        self._marked_bytes += int(self._sizes[index])

    def unmark_all(self) -> None:
        """Forget all marks."""
        self._marked.clear()
        self._marked_bytes = 0

    def update(self) -> int:
        """Remove all marked messages, or none, and return how many messages of this maildrop are left.

        Those that IMAP has expunged meanwhile are gone already.
        Locks: takes the mailbox lock.
        Durable: the removal.
        """
        left, _ = self.remaining
        if not self._marked:
            return left
        indexes = np.array(sorted(self._marked), np.int64)
        with self._mailbox.transaction() as tx:
            self._mark_seen(tx)
            tx.expunge(self._rows[indexes])
        return left

    def _index(self, number: int) -> int:
        """Where a message stands in the arrays."""
        if not 0 < number <= self.count:
            raise NoSuchMessage(f"no such message, there are {self.count}")
        if number - 1 in self._marked:
            raise NoSuchMessage(f"message {number} is deleted")
        return number - 1

    def _row(self, number: int) -> int:
        """The row of a message that is still there.

        Raises: NoSuchMessage, also when it was expunged by another session.
        """
        index = self._index(number)
        row = self._rows.item(index)
        self._mailbox.refresh()
        if self._mailbox.columns.full.flags.item(row) & TOMBSTONE:
            raise NoSuchMessage(f"message {number} was removed by another session")
        return row

    def _batches(self) -> Iterator[tuple[list[int], npt.NDArray[np.int64]]]:
        """Numbers and indexes of all messages not marked, some thousand at a time."""
        alive = np.ones(self.count, np.bool_)
        alive[list(self._marked)] = False
        indexes = np.flatnonzero(alive)
        for start in range(0, len(indexes), LISTED_AT_ONCE):
            batch = indexes[start : start + LISTED_AT_ONCE]
            yield (batch + 1).tolist(), batch
