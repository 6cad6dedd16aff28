"""Writing messages into the segments of a mailbox, within a transaction: frames first, the journal later.

Before the first frame, what another writer left unpublished behind the tail is adopted (whole groups) or cut.
``undo`` takes back what was written; ``sync`` makes it durable, once, for all of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import Invalid, LimitReached, StorageFailed
from mstore.base.flags import SEEN
from mstore.base.ids import Uid
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.column import format_rows
from mstore.files.layout import APPENDED, ROW, TYPE_APPENDED
from mstore.files.segment import HEADER_BYTES, ROLL_BYTES, SegmentInfo, format_frame, segment_numbers
from mstore.store import recovery

if TYPE_CHECKING:
    from mstore.store.append import NewMessage
    from mstore.store.transaction import Transaction

_BATCH_BYTES = 1 << 20
_MOST_UID = 0xFFFFFFFF


class FrameWriter:
    """The end of the segments, while a transaction adds to it."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._mailbox = tx.mailbox
        self._pinned: list[int] = []
        self._fds: list[int] = []
        index, segments = self._mailbox.index, self._mailbox.segments
        status = segments.status(index.tail_segment) if index.tail_segment else None
        if status is None or status.st_size > index.tail_offset:
            self._adopt()
            status = segments.status(index.tail_segment) if index.tail_segment else None
        self.uid_next = index.uid_next
        self._segment, self._offset = index.tail_segment, index.tail_offset
        self._undo_at = (self._segment, self._offset)
        if status is not None:
            self._use(self._segment)
        else:
            self._fd = -1

    def _adopt(self) -> None:
        """Adopt or cut what stands behind the tail."""
        mailbox, index = self._mailbox, self._mailbox.index
        segments, tail = mailbox.segments, index.tail_segment
        left = [number for number in segment_numbers(mailbox.path) if number >= tail]
        for number in left:
            raw.sync(segments.fd_to_write(number))  # its author died before that, and visible means durable
        for record in recovery.adopt(index, segments):
            self._tx._write([record], self._tx.modseq, sync_first=False)
            self._tx.modseq += 1
        for number in left:
            end = index.tail_offset if number == index.tail_segment else HEADER_BYTES
            if number >= index.tail_segment and raw.size_of(segments.fd(number)) > end:
                raw.truncate(segments.fd(number), end)

    def _use(self, number: int) -> None:
        self._mailbox.segments.fd_to_write(number)
        self._fd = self._mailbox.segments.pin(number)
        self._pinned.append(number)
        self._fds.append(self._fd)

    def _roll(self) -> None:
        """Begin the next segment: the first of a mailbox, or when the last is full."""
        mailbox = self._mailbox
        number = self._segment + 1
        mailbox.segments.create(SegmentInfo(number, mailbox.uid_validity, self.uid_next, mailbox.number))
        self._use(number)
        self._segment, self._offset = number, HEADER_BYTES

    def close_tail(self) -> None:
        """End the segment that is written to, however short, and begin the next.

        Durable: the next one, whose header tells that no UID below UIDNEXT is free.
        """
        self._roll()
        self._fds.clear()  # no frame was written, and the header is on disk
        self._tx.add(journals.tail_moved(self._segment, self._offset))

    def reserve(self, size: int) -> tuple[int, int, int]:
        """Descriptor, segment and offset for a frame of that size (header included)."""
        if self._fd < 0 or (self._offset + size > ROLL_BYTES and self._offset > HEADER_BYTES):
            self._roll()
        at = self._offset
        self._offset += size
        return self._fd, self._segment, at

    def take_uids(self, count: int) -> int:
        """The first of so many new UIDs.

        Raises: LimitReached.
        """
        first = self.uid_next
        if first + count > _MOST_UID:
            raise LimitReached("the mailbox has used up its UIDs")
        self.uid_next = first + count
        return first

    def _uids_for(self, messages: Sequence[NewMessage]) -> list[int]:
        """The UIDs of new messages: the next ones, but for those that bring their own.

        Raises: LimitReached; Invalid for a UID that is below the next.
        """
        uids, uid_next = [], self.uid_next
        for message in messages:
            uid = uid_next if message.uid is None else message.uid
            if uid < uid_next:
                raise Invalid(f"UID {uid} may have been used already: the next is {uid_next}")
            if uid + 1 > _MOST_UID:
                raise LimitReached("the mailbox has used up its UIDs")
            uids.append(uid)
            uid_next = uid + 1
        self.uid_next = uid_next
        return uids

    def raise_uid_next(self, uid_next: int) -> None:
        """Let no UID below this be given any more; the next segment's header tells it as well.

        Raises: LimitReached.
        """
        if uid_next > _MOST_UID:
            raise LimitReached("the mailbox would have no UID left")
        if uid_next > self.uid_next:
            self.uid_next = uid_next
            self.close_tail()
            self._tx.add(journals.uid_next_moved(uid_next))

    def add_messages(self, messages: Sequence[NewMessage]) -> list[Uid]:
        """Write frames for new messages, and their blobs; gives the UIDs. Keywords without room stay out."""
        now, count = int(time.time()), len(messages)
        bits = [
            message.flags & 0x1F
            | (self._tx.keyword_bits(message.keywords, needed=False) if message.keywords else 0)
            for message in messages
        ]
        uids = self._uids_for(messages)
        seen = self._take_seen(bits)
        rows: list[tuple[Any, ...]] = []
        waiting: list[Any] = []
        waiting_at = waiting_bytes = 0
        waiting_fd = -1
        blobs = self.add_blobs([message.blob(uid) for message, uid in zip(messages, uids, strict=True)])
        for place, message in enumerate(messages):
            size, uid, summary = message.size, uids[place], message.summary
            save_date = now if message.save_date is None else message.save_date
            fd, segment, at = self.reserve(HEADER_BYTES + size)
            header = format_frame(
                size, bits[place], message.internal_date, message.email_id, message.crc, uid,
                summary.header_length, place, count, save_date,
            )  # fmt: skip
            if waiting and (fd != waiting_fd or waiting_bytes + size > _BATCH_BYTES):
                raw.pwritev(waiting_fd, waiting, waiting_at)
                waiting, waiting_bytes = [], 0
            if not waiting:
                waiting_fd, waiting_at = fd, at
            waiting.append(header)
            if size <= _BATCH_BYTES:
                waiting.append(message.buffer())
                waiting_bytes += HEADER_BYTES + size
            else:
                raw.pwritev(fd, waiting, waiting_at)
                waiting, waiting_bytes = [], 0
                self._write_large(fd, message, at + HEADER_BYTES)
            rows.append(
                (
                    bits[place],
                    message.internal_date,
                    save_date,
                    summary.sent_date,
                    at + HEADER_BYTES,
                    message.email_id,
                    blobs[place],
                    0,
                    uid,
                    size,
                    segment,
                    summary.header_length,
                    summary.sent_zone_s,
                )
            )
        if waiting:
            raw.pwritev(waiting_fd, waiting, waiting_at)
        self._tx.add((TYPE_APPENDED, 0, APPENDED.pack(count) + _format(rows)))
        self._tx.see_new(np.array([uids[place] for place in seen], np.uint32))
        return [Uid(uid) for uid in uids]

    def _take_seen(self, bits: list[int]) -> list[int]:
        """Take \\Seen away where it is a reader's own, whose it is not in the frame; gives the places."""
        if self._mailbox.reader is None:
            return []
        seen = [place for place, value in enumerate(bits) if value & SEEN]
        for place in seen:
            bits[place] &= ~SEEN
        return seen

    def _write_large(self, fd: int, message: NewMessage, at: int) -> None:
        for chunk in message.chunks():
            raw.pwrite(fd, chunk, at)
            at += len(chunk)
            blocking.breathe()

    def add_blobs(self, blobs: Sequence[bytes]) -> list[int]:
        """Write blobs (empty: none) and give their offsets, all 0 when that failed: they can be made
        again."""
        try:
            offsets = self._mailbox.derived_file.append(blobs)
        except StorageFailed:
            return [0] * len(blobs)
        return [offset if blob else 0 for offset, blob in zip(offsets, blobs, strict=True)]

    def add_block(self, block: raw.Buffer) -> int:
        """Write blobs that stand one behind the other; gives the offset of the first, 0 when that failed."""
        try:
            return self._mailbox.derived_file.append_block(block)
        except StorageFailed:
            return 0

    def add_rows(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Publish rows whose frames the caller has written itself."""
        self._tx.add((TYPE_APPENDED, 0, APPENDED.pack(len(arrays["uid"])) + format_rows(arrays)))

    def sync(self) -> None:
        """Durable: all frames written. Other sessions run meanwhile."""
        segment, offset = self._undo_at
        size_bytes = self._offset - offset if segment == self._segment else None
        for fd in self._fds:
            raw.sync(fd, size_bytes)

    def undo(self) -> None:
        """Cut what was written."""
        segment, offset = self._undo_at
        for number in self._pinned:
            fd = self._mailbox.segments.fd(number)
            end = offset if number == segment else HEADER_BYTES
            if raw.size_of(fd) > end:
                raw.truncate(fd, end)

    def close(self) -> None:
        """Let go of the descriptors."""
        while self._pinned:
            self._mailbox.segments.unpin(self._pinned.pop())


def _format(rows: list[tuple[Any, ...]]) -> bytes:
    if len(rows) == 1:
        return ROW.pack(*rows[0])
    names = (
        "flags",
        "internal_date",
        "save_date",
        "sent_date",
        "offset",
        "email_id",
        "derived",
        "thread_id",
        "uid",
        "size",
        "segment",
        "header_length",
        "sent_zone",
    )
    kinds = [np.int64 if name.endswith(("date", "zone")) else np.uint64 for name in names]
    return format_rows(
        {
            name: np.array(values, kind)
            for name, kind, values in zip(names, kinds, zip(*rows, strict=True), strict=True)
        }
    )
