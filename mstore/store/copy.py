"""Copying and moving messages between mailboxes: the copies are frames of their own.

Neighbouring frames are copied in one stretch: small ones through memory, with new headers in their places,
large ones by the kernel, and get theirs afterwards. The headers are made from the table, all at once; the old
ones tell the checksums of the messages alone. What was computed from the messages is copied too. A copy
keeps flags, keywords, internal date and EMAILID; it is adopted as a whole or not at all. A move expunges its
source once the copy is durable, under the locks of both mailboxes, so that two moves of one message cannot
both succeed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import Corrupt, OverQuota
from mstore.base.flags import FIRST_KEYWORD_BIT, SEEN, TOMBSTONE, USER_BITS
from mstore.base.ids import Uid
from mstore.files import raw
from mstore.files.checksums import crc32_added, crc32_each
from mstore.files.column import Array
from mstore.files.layout import FIRST_IN_GROUP, FRAME, FRAME_MAGIC, LAST_IN_GROUP
from mstore.files.segment import HEADER_BYTES, ROLL_BYTES
from mstore.store import derived, reader
from mstore.store.quota import Uncounted, again
from mstore.store.room import PIECE_BYTES, Room, room
from mstore.store.transaction import ascending

if TYPE_CHECKING:
    from mstore.store.frames import FrameWriter
    from mstore.store.mailbox import Mailbox
    from mstore.store.transaction import Transaction

_TOMB, _SEEN = np.uint64(TOMBSTONE), np.uint64(SEEN)
_WINDOW_ROWS = 1000
_NEAR_BYTES = 64 << 10
"""Frames so long on the average are copied through memory: that costs less than a call for each header."""
_HEADER = np.dtype(f"V{HEADER_BYTES}")
_FRAME = FRAME.dtype
_COVERED_AT = 8
"""The checksum of a header is of the bytes from here on."""
_CRC_AT = FRAME.offset_of("message_crc")
_KEPT = ("internal_date", "sent_date", "email_id", "size", "header_length", "sent_zone", "thread_id")
_NO_ROWS: npt.NDArray[Any] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The UIDs of messages there and here, pair by pair, in order."""

    there: npt.NDArray[Any]
    here: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.here)

    def __iter__(self) -> Iterator[tuple[Uid, Uid]]:
        return zip(self.there.tolist(), self.here.tolist(), strict=True)


_NO_PAIRS = Pairs(np.empty(0, np.uint32), np.empty(0, np.uint32))


def copy(
    rows: npt.NDArray[Any],
    source: Mailbox,
    target: Mailbox,
    mask: int = USER_BITS,
    besides: Callable[[Transaction, Pairs], object] = lambda tx, pairs: None,
) -> Pairs:
    """Copy messages into a mailbox, all or none; gives the UIDs there and here, in order (RFC 4315 §3).

    Flags outside ``mask`` are not kept. A message expunged meanwhile, but not yet told to the session, is
    copied all the same as long as its bytes are there. ``besides`` adds to the transaction.
    Locks: takes the target's. Durable: the copies.
    Raises: OverQuota, StorageFailed, Busy, NotFound, LimitReached, Corrupt, Expunged.
    """
    rows = ascending(rows)
    if not len(rows):
        return _NO_PAIRS

    def attempt() -> Pairs:
        with target.transaction() as tx:
            pairs = _copy_rows(tx, rows, source, mask)
            besides(tx, pairs)
            return pairs

    try:
        return attempt()
    except (OverQuota, Uncounted) as refusal:
        return again(target.quota, refusal, attempt)


def move(rows: npt.NDArray[Any], source: Mailbox, target: Mailbox, mask: int = USER_BITS) -> Pairs:
    """Move messages into another mailbox; those that are gone already are left out (RFC 6851 §3.3).

    Flags outside ``mask`` are not kept. Within an account that is possible whatever its quota says.
    Locks: takes both, in order. Durable: the move. Should we die between the two commits, the messages are in
    both mailboxes.
    Raises: OverQuota, StorageFailed, Busy, NotFound, LimitReached, Corrupt, Expunged.
    """
    rows = ascending(rows)
    try:
        return _move(rows, source, target, mask)
    except (OverQuota, Uncounted) as refusal:
        return again(target.quota, refusal, lambda: _move(rows, source, target, mask))


def _move(rows: npt.NDArray[Any], source: Mailbox, target: Mailbox, mask: int) -> Pairs:
    if source is target or source.path == target.path:
        with source.transaction() as tx:
            rows = _alive(rows, source)
            if not len(rows):
                return _NO_PAIRS
            pairs = _copy_rows(tx, rows, source, mask, over_quota=True)
            tx.expunge(rows, moved=True)
            tx.note_moved(tx)
            return pairs
    with ExitStack() as stack:
        by_id = sorted((source, target), key=lambda mailbox: mailbox.lock.place)
        transactions = {mailbox: stack.enter_context(mailbox.transaction()) for mailbox in by_id}
        rows = _alive(rows, source)
        if not len(rows):
            return _NO_PAIRS
        if source.quota is target.quota:
            transactions[source].announce(losing=True)
        pairs = _copy_rows(transactions[target], rows, source, mask, over_quota=source.quota is target.quota)
        transactions[target].commit()
        transactions[source].expunge(rows, moved=True)
        transactions[source].commit()
        transactions[source].note_moved(transactions[target])
        return pairs


def _alive(rows: npt.NDArray[Any], mailbox: Mailbox) -> npt.NDArray[Any]:
    alive: npt.NDArray[Any] = rows[mailbox.index.columns.full.flags[rows] & _TOMB == 0]
    return alive


def _copy_rows(
    tx: Transaction,
    rows: npt.NDArray[Any],
    source: Mailbox,
    mask: int = USER_BITS,
    over_quota: bool = False,
) -> Pairs:
    full = source.index.columns.full
    count = len(rows)
    frames = tx.frames()
    tx.reserve(int(full.size[rows].sum(dtype=np.uint64)), count, over_quota)
    flags = _translate(tx, full.flags[rows] & np.uint64(mask & USER_BITS), source)
    first = frames.take_uids(count)
    uids = np.arange(first, first + count, dtype=np.uint32)
    seen = uids[flags & _SEEN != 0]
    if tx.mailbox.reader is not None:
        flags = flags & ~_SEEN
    arrays: dict[str, Array] = {name: getattr(full, name)[rows] for name in _KEPT}
    arrays |= {
        "uid": uids,
        "flags": flags,
        "save_date": np.full(count, int(time.time()), np.int64),
        "segment": np.zeros(count, np.uint32),
        "offset": np.zeros(count, np.uint64),
    }
    _copy_frames(frames, source, rows, arrays)
    old = full.uid[rows]
    arrays["derived"] = derived.copy_blobs(source, rows, uids, frames.add_block)
    frames.add_rows(arrays)
    tx.note_copied(uids, source, rows)
    tx.see_new(seen)
    return Pairs(old, uids)


def _translate(tx: Transaction, flags: Array, source: Mailbox) -> Array:
    """The same flags in the bits of another mailbox, without keywords for which it has no room."""
    if source is tx.mailbox:
        return flags
    used = int(np.bitwise_or.reduce(flags)) >> FIRST_KEYWORD_BIT
    result: Array = flags & np.uint64(0xFF)
    for number, keyword in enumerate(source.index.keywords):
        if used >> number & 1:
            had = flags & np.uint64(1 << FIRST_KEYWORD_BIT + number) != 0
            result[had] |= np.uint64(tx.keyword_bits([keyword], needed=False))
    return result


def _copy_frames(
    frames: FrameWriter, source: Mailbox, rows: npt.NDArray[Any], arrays: dict[str, Array]
) -> None:
    """Copy the bytes, run by run, with new headers in the places of the old ones.

    The first header comes last: until then the group has no beginning, and nobody adopts any of it. Who finds
    that compaction has moved the messages goes on where they lie now.
    """
    last: list[tuple[int, bytes, int]] = []
    headers = _make_headers(arrays)
    done = 0
    with room(int(arrays["size"].sum(dtype=np.uint64)) + len(rows) * HEADER_BYTES) as own:
        while done < len(rows):
            segment = 0
            try:
                for run, begin, end, segment in _runs(source, rows, arrays["size"], done):
                    last += _copy_run(frames, source, run, begin, end, segment, arrays, headers, own)
                    done = run.stop
                    blocking.breathe()
            except reader.Moved:
                reader.follow(source, int(rows[done]), segment)
    for target, header, place in last:
        raw.pwrite(target, header, place)


def _runs(
    source: Mailbox, rows: npt.NDArray[Any], sizes: Array, first: int
) -> Iterator[tuple[slice, int, int, int]]:
    """Neighbours among the rows from ``first`` on: which, where they begin and end, and in which segment."""
    full = source.index.columns.full
    begins = full.offset[rows].astype(np.int64) - HEADER_BYTES
    ends = begins + HEADER_BYTES + sizes
    segments = full.segment[rows]
    apart = (segments[1:] != segments[:-1]) | (begins[1:] != ends[:-1])
    apart[:first] = False
    bounds = [first, *(np.flatnonzero(apart) + 1).tolist(), len(rows)]
    for start, run_end in itertools.pairwise(bounds):
        at = start
        while at < run_end:
            room = int(begins[at]) + min(ROLL_BYTES // 2, PIECE_BYTES)
            stop = max(at + 1, min(at + _WINDOW_ROWS, at + int(ends[at:run_end].searchsorted(room, "right"))))
            yield slice(at, stop), int(begins[at]), int(ends[stop - 1]), int(segments[at])
            at = stop


def _copy_run(
    frames: FrameWriter,
    source: Mailbox,
    run: slice,
    begin: int,
    end: int,
    segment: int,
    arrays: dict[str, Array],
    headers: npt.NDArray[Any],
    own: Room,
) -> list[tuple[int, bytes, int]]:
    """One run of neighbouring frames, with new headers; gives what is to be written when all else is."""
    fd = reader.pin(source, segment)
    try:
        target, number, at = frames.reserve(end - begin)
        sizes = arrays["size"][run].astype(np.int64) + HEADER_BYTES
        shifts = np.cumsum(sizes) - sizes
        arrays["segment"][run] = number
        arrays["offset"][run] = shifts + at + HEADER_BYTES
        spared = HEADER_BYTES if run.start == 0 else 0
        if end - begin <= len(shifts) * _NEAR_BYTES:
            data = reader.read_into(fd, own.take(end - begin), begin)
            if len(data) < end - begin:
                raise Corrupt("a frame to be copied is cut short")
            places: npt.NDArray[Any] = np.ndarray((len(data) - HEADER_BYTES + 1,), _HEADER, data, 0, (1,))
            new = _complete(headers[run], places[shifts])
            places[shifts] = new.view(_HEADER)
            raw.pwrite(target, data[spared:], at + spared)
        else:
            raw.copy_range(fd, target, end - begin - spared, begin + spared, at + spared)
            old = raw.pread_each(fd, HEADER_BYTES, (shifts + begin).tolist())
            if len(old) < len(shifts) * HEADER_BYTES:
                raise Corrupt("a frame to be copied is cut short")
            new = _complete(headers[run], np.frombuffer(old, _HEADER))
            rest = slice(bool(spared), None)
            raw.pwrite_each(target, new[rest].tobytes(), HEADER_BYTES, (shifts[rest] + at).tolist())
        return [(target, new[:1].tobytes(), at)] if spared else []
    finally:
        source.segments.unpin(segment)


def _make_headers(arrays: dict[str, Array]) -> npt.NDArray[Any]:
    """New frame headers, which lack the checksums of the messages yet."""
    headers = np.zeros(len(arrays["uid"]), _FRAME)
    headers["magic"], headers["length"] = FRAME_MAGIC, arrays["size"]
    for name in ("flags", "internal_date", "email_id", "uid", "header_length", "save_date"):
        headers[name] = arrays[name]
    headers["place"] = np.arange(len(headers)) & 0xFFFF
    headers["mark"][0] |= FIRST_IN_GROUP
    headers["mark"][-1] |= LAST_IN_GROUP
    headers["crc"] = crc32_each(_bytes(headers)[:, _COVERED_AT:])
    return headers


def _complete(new: npt.NDArray[Any], old: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """These new frame headers with the checksums of the messages, which the old ones tell."""
    old = old.view(_FRAME)
    if not (old["length"] == new["length"]).all():
        raise Corrupt("a frame to be copied is not what the index says")
    new = new.copy()
    new["message_crc"] = old["message_crc"]
    added = _bytes(new)[:, _CRC_AT : _CRC_AT + 4]
    new["crc"] ^= crc32_added(added, _CRC_AT - _COVERED_AT, HEADER_BYTES - _COVERED_AT)
    return new


def _bytes(headers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return headers.view(np.uint8).reshape(len(headers), HEADER_BYTES)
