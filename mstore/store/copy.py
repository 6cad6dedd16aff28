"""Copying and moving messages between mailboxes: frames of their own, their bytes copied by the kernel.

Neighbouring frames are copied in one call, headers included, and get their new headers; where the
file system can, the bytes are shared. What was computed from the messages is copied too. A copy keeps flags,
keywords, internal date and EMAILID; it is adopted as a whole or not at all. A move expunges its source once
the copy is durable, under the locks of both mailboxes, so that two moves of one message cannot both succeed.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import Corrupt, OverQuota
from mstore.base.flags import FIRST_KEYWORD_BIT, SEEN, TOMBSTONE, USER_BITS
from mstore.base.ids import Uid
from mstore.files import raw
from mstore.files.column import Array
from mstore.files.layout import FIRST_IN_GROUP, FRAME, LAST_IN_GROUP
from mstore.files.segment import HEADER_BYTES, ROLL_BYTES
from mstore.store import derived, reader
from mstore.store.quota import Uncounted, again

if TYPE_CHECKING:
    from mstore.store.frames import FrameWriter
    from mstore.store.mailbox import Mailbox
    from mstore.store.transaction import Transaction

_TOMB, _SEEN = np.uint64(TOMBSTONE), np.uint64(SEEN)
_WINDOW_BYTES = 1 << 20
_WINDOW_ROWS = 1000
_NEAR_BYTES = 8 << 10
"""Reading so much more costs less than another call."""
_KEPT = ("internal_date", "sent_date", "email_id", "size", "header_length", "sent_zone", "thread_id")
_NO_ROWS: npt.NDArray[Any] = np.empty(0, np.int64)
Pairs = list[tuple[Uid, Uid]]


def copy(rows: npt.NDArray[Any], source: Mailbox, target: Mailbox, mask: int = USER_BITS) -> Pairs:
    """Copy messages into a mailbox, all or none; gives the UIDs there and here, in order (RFC 4315 §3).

    Flags outside ``mask`` are not kept. A message expunged meanwhile, but not yet told to the session, is
    copied all the same as long as its bytes are there.
    Locks: takes the target's. Durable: the copies.
    Raises: OverQuota, StorageFailed, Busy, NotFound, LimitReached, Corrupt, Expunged.
    """
    rows = np.unique(np.asarray(rows)).astype(np.int64)
    if not len(rows):
        return []

    def attempt() -> Pairs:
        with target.transaction() as tx:
            return _copy_rows(tx, rows, source, mask)

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
    rows = np.unique(np.asarray(rows)).astype(np.int64)
    try:
        return _move(rows, source, target, mask)
    except (OverQuota, Uncounted) as refusal:
        return again(target.quota, refusal, lambda: _move(rows, source, target, mask))


def _move(rows: npt.NDArray[Any], source: Mailbox, target: Mailbox, mask: int) -> Pairs:
    if source is target or source.path == target.path:
        with source.transaction() as tx:
            rows = _alive(rows, source)
            if not len(rows):
                return []
            pairs = _copy_rows(tx, rows, source, mask, over_quota=True)
            tx.expunge(rows)
            return pairs
    with ExitStack() as stack:
        by_id = sorted((source, target), key=lambda mailbox: mailbox.lock.place)
        transactions = {mailbox: stack.enter_context(mailbox.transaction()) for mailbox in by_id}
        rows = _alive(rows, source)
        if not len(rows):
            return []
        if source.quota is target.quota:
            transactions[source].announce(losing=True)
        pairs = _copy_rows(transactions[target], rows, source, mask, over_quota=source.quota is target.quota)
        transactions[target].commit()
        transactions[source].expunge(rows)
        transactions[source].commit()
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
    old = cast("list[Uid]", full.uid[rows].tolist())
    new = cast("list[Uid]", uids.tolist())
    arrays["derived"] = _copy_blobs(frames, source, rows, uids)
    frames.add_rows(arrays)
    tx.see_new(seen)
    return list(zip(old, new, strict=True))


def _translate(tx: Transaction, flags: Array, source: Mailbox) -> Array:
    """The same flags in the bits of another mailbox."""
    if source is tx.mailbox:
        return flags
    used = int(np.bitwise_or.reduce(flags)) >> FIRST_KEYWORD_BIT
    result: Array = flags & np.uint64(0xFF)
    for number, keyword in enumerate(source.index.keywords):
        if used >> number & 1:
            had = flags & np.uint64(1 << FIRST_KEYWORD_BIT + number) != 0
            result[had] |= np.uint64(tx.keyword_bits([keyword]))
    return result


def _copy_frames(
    frames: FrameWriter, source: Mailbox, rows: npt.NDArray[Any], arrays: dict[str, Array]
) -> None:
    """Copy the bytes, run by run, and lay new headers over the old ones.

    The first header comes last: until then the group has no beginning, and nobody adopts any of it. Who finds
    that compaction has moved the messages goes on where they lie now.
    """
    last: list[tuple[int, bytes, int]] = []
    done = 0
    while done < len(rows):
        segment = 0
        try:
            for run, begin, end, segment in _runs(source, rows, arrays["size"], done):
                last += _copy_run(frames, source, run, begin, end, segment, arrays)
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
            room = int(begins[at]) + min(ROLL_BYTES // 2, _WINDOW_BYTES)
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
) -> list[tuple[int, bytes, int]]:
    """One run of neighbouring frames: their bytes in one call, with new headers; gives what is to be written
    when all else is."""
    fd = reader.pin(source, segment)
    try:
        target, number, at = frames.reserve(end - begin)
        sizes = arrays["size"][run].astype(np.int64) + HEADER_BYTES
        shifts = np.cumsum(sizes) - sizes
        arrays["segment"][run] = number
        arrays["offset"][run] = shifts + at + HEADER_BYTES
        spared = HEADER_BYTES if run.start == 0 else 0
        raw.copy_range(fd, target, end - begin - spared, begin + spared, at + spared)
        new = _headers(_old_headers(fd, begin, end, shifts), run, arrays)
        raw.pwrite_each(target, new[spared:], HEADER_BYTES, (shifts[bool(spared) :] + at).tolist())
        return [(target, new[:HEADER_BYTES], at)] if spared else []
    finally:
        source.segments.unpin(segment)


def _old_headers(fd: int, begin: int, end: int, shifts: npt.NDArray[np.int64]) -> bytes:
    """The headers of neighbouring frames: small ones are read with what lies between, in one call."""
    if end - begin > len(shifts) * _NEAR_BYTES:
        return raw.pread_each(fd, HEADER_BYTES, (shifts + begin).tolist())
    data = np.frombuffer(raw.pread(fd, end - begin, begin), np.uint8)
    if len(data) < end - begin:
        raise Corrupt("a frame to be copied is cut short")
    headers: npt.NDArray[np.uint8] = data[shifts[:, None] + np.arange(HEADER_BYTES)]
    return headers.tobytes()


def _headers(old: bytes, run: slice, arrays: dict[str, Array]) -> bytes:
    """New frame headers for old ones; the checksum of each message comes from the old one."""
    data = bytearray(old)
    headers = np.frombuffer(data, FRAME.dtype)
    if len(headers) != run.stop - run.start or not (headers["length"] == arrays["size"][run]).all():
        raise Corrupt("a frame to be copied is not what the index says")
    for name in ("flags", "uid", "save_date"):
        headers[name] = arrays[name][run]
    last = len(arrays["uid"]) - 1
    places = np.arange(run.start, run.stop)
    headers["place"] = places & 0xFFFF
    headers["mark"] = (places == 0) * FIRST_IN_GROUP + (places == last) * LAST_IN_GROUP
    view, crc32 = memoryview(data), zlib.crc32
    headers["crc"] = [crc32(view[at + 8 : at + HEADER_BYTES]) for at in range(0, len(data), HEADER_BYTES)]
    return bytes(data)


def _copy_blobs(
    frames: FrameWriter, source: Mailbox, rows: npt.NDArray[Any], uids: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Copy what was computed; where it is missing it is computed when it is asked for."""
    offsets = np.zeros(len(rows), np.uint64)
    for start in range(0, len(rows), _WINDOW_ROWS):
        part = slice(start, start + _WINDOW_ROWS)
        offsets[part] = frames.add_blobs(derived.copy_blobs(source, rows[part], uids[part]))
    return offsets
