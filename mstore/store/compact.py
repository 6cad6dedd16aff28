"""Compaction: giving the bytes of expunged messages back, beside readers and writers.

What is live in the segments chosen (the victims) is copied into a packed segment without the writers' lock; a
record in the journal then says where it lies now; only after that are the victims removed, with whatever else
no row refers to (``sweep``). Expunged messages that are retained for now are kept like live ones
(``holdings``). One who keeps up a mailbox excludes the others by the upkeep lock; the writers' lock is held
for short moments only. Wherever it is stopped, nothing is lost: until the record is on disk the victims are
in use, and a packed segment that no row refers to is swept by the next.
"""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import StorageFailed
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.index import Index
from mstore.files.layout import FRAME, FRAME_MAGIC
from mstore.files.lock import DEADLINE_S
from mstore.files.segment import (
    HEADER_BYTES,
    PACKED,
    ROLL_BYTES,
    SegmentInfo,
    every_segment,
    format_header,
    packed_numbers,
)
from mstore.store import compactderived
from mstore.store.diskuse import LEAST_DEAD_BYTES, Use, dead_bytes
from mstore.store.holdings import Holdings, open_holdings

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

_MOST_VICTIMS = 64
_MOST_ROWS = 65536
_SMALL_BYTES = ROLL_BYTES // 4
_TURN_BYTES = 1 << 20
_TURN_PIECES = 256
_SYNC_BYTES = 4 << 20
_MOST_HELD_S = 0.01


class Batch(NamedTuple):
    """The messages to be kept of the victims of one pass, in the order of their UIDs."""

    uids: npt.NDArray[np.uint32]
    segments: npt.NDArray[Any]
    begins: npt.NDArray[np.int64]
    """Where their frames begin in their segments."""
    sizes: npt.NDArray[np.int64]
    """Of the frames."""


def compact(
    mailbox: Mailbox, thorough: bool = False, deadline_s: float = DEADLINE_S, retain_s: int | None = None
) -> int:
    """Give back what is dead, ``thorough``: all of it, else until little is left; gives the bytes given back.

    What was expunged less than ``retain_s`` ago (None: what the mailbox is set to) is kept.

    Locks: takes the upkeep lock for one packed segment at a time, and the mailbox lock for moments.
    Durable: where the messages lie now, before anything is removed.
    Raises: Busy when somebody else keeps the mailbox up, NotFound, StorageFailed, Corrupt.
    """
    goal = 0 if thorough else max(LEAST_DEAD_BYTES // 2, mailbox.index.size_bytes // 8)
    retain_s = mailbox.retain_s if retain_s is None else retain_s
    given, is_more = 0, True
    try:
        left = set(every_segment(mailbox.path))  # each but once, or it might never end beside a busy writer
    except FileNotFoundError:
        raise mailbox.gone() from None
    while is_more:
        freed, is_more = _pass(mailbox, goal, left, deadline_s, retain_s)
        given += freed
        blocking.breathe()
    with mailbox.keeping_up(deadline_s):
        return given + compactderived.rewrite(mailbox)


def _pass(
    mailbox: Mailbox, goal: int, left: set[int], deadline_s: float, retain_s: int = 0
) -> tuple[int, bool]:
    """Empty some of the segments ``left`` into one packed segment, and sweep.

    Gives the bytes freed, and whether to go on.
    """
    with mailbox.keeping_up(deadline_s):
        mailbox.refresh()
        if mailbox.deleted:
            raise mailbox.gone()
        with open_holdings(mailbox, retain_s) as holdings:
            uses = blocking.call(holdings.measure)
            chosen = [use for number, use in uses.items() if number in left]
            spare = ROLL_BYTES + sum(2 * use.message_bytes - use.size for use in uses.values())
            room = min(ROLL_BYTES, max(ROLL_BYTES // 8, spare))
            victims = choose(chosen, holdings.table, goal, room)
            left.difference_update(victims)
            if mailbox.index.tail_segment in victims:
                with mailbox.transaction() as tx:
                    tx.frames().close_tail()
            size = 0
            if victims:
                batch = _gather(mailbox, holdings, victims)
                if len(batch.uids):
                    number, size = _pack(mailbox, batch)
                    _publish(mailbox, holdings, batch, number, size)
            removed = sweep(mailbox, holdings)
        return sum(removed.values()) - size, any(number in removed for number in victims)


def choose(uses: list[Use], index: Index, goal: int, room: int) -> list[int]:
    """The victims of one pass: those with the largest part dead, until no more than ``goal`` is left.

    What is to be kept of them is no more than ``room``: as much as the disk may hold besides until they are
    gone. Small packed segments are taken along where they fit.
    """
    known = [use for use in uses if use.number < index.packed_next]
    left = sum(use.spare_bytes for use in known)
    victims: list[int] = []
    live = rows = copied = 0
    wasteful = [use for use in known if use.spare_bytes]
    for use in sorted(wasteful, key=lambda use: use.kept_bytes / use.size):
        if left <= goal:
            break
        if use.kept:
            fits = live + use.kept_bytes <= room and rows + use.kept <= _MOST_ROWS
            if copied and not (fits and copied < _MOST_VICTIMS):
                break
            live, rows, copied = live + use.kept_bytes, rows + use.kept, copied + 1
        left -= use.spare_bytes
        victims.append(use.number)
    if not copied:
        return victims
    for use in sorted(known, key=lambda use: use.kept_bytes):
        if use.number < PACKED or use.number in victims or copied >= _MOST_VICTIMS:
            continue
        if use.size > _SMALL_BYTES or live + use.kept_bytes > room or rows + use.kept > _MOST_ROWS:
            break
        live, rows, copied = live + use.kept_bytes, rows + use.kept, copied + 1
        victims.append(use.number)
    return victims


def _gather(mailbox: Mailbox, holdings: Holdings, victims: list[int]) -> Batch:
    """What is to be kept of the victims, but for those that are shorter than they should be: they stay."""
    uids, segments, begins, sizes = blocking.call(holdings.gather, np.array(victims, np.uint32))
    keep = np.ones(len(uids), np.bool_)
    for number in np.unique(segments).tolist():
        status = mailbox.segments.status(number)
        mine = segments == number
        if status is None or int((begins + sizes)[mine].max()) > status.st_size:
            keep &= ~mine
    return Batch(uids[keep], segments[keep], begins[keep], sizes[keep])


# -- copying, without the writers' lock


def _pack(mailbox: Mailbox, batch: Batch) -> tuple[int, int]:
    """Copy the frames into a new packed segment; gives its number and its size.

    Durable: the packed segment and its name.
    """
    index = mailbox.index
    number = max([index.packed_next, *(known + 1 for known in packed_numbers(mailbox.path))])
    path = mailbox.segments.path(number)
    passing = f"{path}.new"
    info = SegmentInfo(number, mailbox.uid_validity, index.uid_next, mailbox.number)
    size = HEADER_BYTES + int(batch.sizes.sum())
    pinned: dict[int, int] = {}
    fd = raw.open_file(passing, raw.REPLACE)
    try:
        for segment in np.unique(batch.segments).tolist():
            pinned[segment] = mailbox.segments.pin(segment)
        raw.pwrite(fd, format_header(info), 0)
        unsynced = 0
        for turn in _turns(batch):
            blocking.call(_copy, pinned, fd, turn)
            unsynced += sum(piece[2] for piece in turn)
            if unsynced >= _SYNC_BYTES:  # in small portions, so that the syncs of others do not wait long
                raw.sync(fd)
                unsynced = 0
            blocking.breathe()
        _verify(pinned, fd, batch)
        raw.sync(fd)
    except BaseException:
        raw.unlink(passing)
        raise
    finally:
        raw.close(fd)
        for segment in pinned:
            mailbox.segments.unpin(segment)
    raw.rename(passing, path)
    raw.sync_directory(mailbox.path)
    return number, size


Piece = tuple[int, int, int, int]
"""Segment, where to begin in it, how many bytes, where to put them."""


def _turns(batch: Batch) -> Iterator[list[Piece]]:
    """What to copy, neighbouring frames as one piece, in portions that do not take long."""
    begins, ends, segments = batch.begins, batch.begins + batch.sizes, batch.segments
    apart = np.flatnonzero((segments[1:] != segments[:-1]) | (begins[1:] != ends[:-1])) + 1
    bounds = [0, *apart.tolist(), len(begins)]
    turn: list[Piece] = []
    held, target = 0, HEADER_BYTES
    for first, last in itertools.pairwise(bounds):
        segment, at, end = int(segments[first]), int(begins[first]), int(ends[last - 1])
        while at < end:
            count = min(end - at, _TURN_BYTES)
            turn.append((segment, at, count, target))
            held, at, target = held + count, at + count, target + count
            if held >= _TURN_BYTES or len(turn) >= _TURN_PIECES:
                yield turn
                turn, held = [], 0
    if turn:
        yield turn


def _copy(sources: dict[int, int], target: int, pieces: list[Piece]) -> None:
    for segment, begin, count, at in pieces:
        raw.copy_range(sources[segment], target, count, begin, at)


def _offsets(batch: Batch) -> npt.NDArray[np.int64]:
    """Where the frames begin in the packed segment."""
    ends: npt.NDArray[np.int64] = np.cumsum(batch.sizes)
    return ends - batch.sizes + HEADER_BYTES


def _verify(sources: dict[int, int], fd: int, batch: Batch) -> None:
    """Read all copies: what was whole must be whole; damage stays what it was.

    Raises: StorageFailed when a copy is not what it is a copy of.
    """
    at = _offsets(batch)
    first = 0
    while first < len(at):
        last = max(first + 1, int(at.searchsorted(at[first] + _TURN_BYTES)))
        part = slice(first, last)
        wrong = [0]  # a large one is compared with its source, piece by piece
        if last > first + 1 or batch.sizes[first] <= _TURN_BYTES:
            wrong = blocking.call(_not_whole, fd, at[part], batch.sizes[part], batch.uids[part])
        for place in wrong:
            row = first + place
            source = sources[int(batch.segments[row])]
            blocking.call(_compare, source, fd, int(batch.begins[row]), int(at[row]), int(batch.sizes[row]))
        first = last
        blocking.breathe()


def _not_whole(
    fd: int, at: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], uids: npt.NDArray[Any]
) -> list[int]:
    """Which of some neighbouring frames are not sound frames of these messages."""
    base = int(at[0])
    data = raw.pread(fd, int(at[-1] + sizes[-1]) - base, base)
    if len(data) < int(at[-1] + sizes[-1]) - base:
        return list(range(len(at)))
    starts = at - base
    heads = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(HEADER_BYTES)].view(FRAME.dtype)[:, 0]
    right = (heads["magic"] == FRAME_MAGIC) & (heads["uid"] == uids)
    right &= heads["length"].astype(np.int64) + HEADER_BYTES == sizes
    view, crc32 = memoryview(data), zlib.crc32
    found = [
        crc32(view[start + HEADER_BYTES : end])
        for start, end in zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
    ]
    right &= heads["message_crc"] == np.array(found, np.uint32)
    wrong: list[int] = np.flatnonzero(~right).tolist()
    return wrong


def _compare(source: int, target: int, source_at: int, target_at: int, count: int) -> None:
    while count:
        size = min(count, _TURN_BYTES)
        mine, theirs = raw.pread(source, size, source_at), raw.pread(target, size, target_at)
        if mine != theirs or len(mine) != size:
            raise StorageFailed("cannot compact: a copy differs from its message")
        count, source_at, target_at = count - size, source_at + size, target_at + size


# -- under the writers' lock, for moments


def _publish(mailbox: Mailbox, holdings: Holdings, batch: Batch, number: int, size: int) -> None:
    """Say where the messages lie now, but for those that are not to be kept any more.

    Durable: the record, before anybody follows it.
    """
    with mailbox.transaction() as tx:
        holdings.follow()
        places = np.flatnonzero(holdings.still_there(batch.uids, batch.segments, batch.begins))
        if not len(places):
            return
        offsets = (_offsets(batch)[places] + HEADER_BYTES).astype(np.uint64)
        # the old copies are dead from now on, and so is what lies in the new segment for nobody
        dead = mailbox.index.dead_bytes + size - HEADER_BYTES
        tx.add(journals.relocated(number, batch.uids[places], offsets, dead))
    mailbox.forget_moved()


def sweep(mailbox: Mailbox, holdings: Holdings) -> dict[int, int]:
    """Remove the segments that nothing to be kept lies in, and what those who died at upkeep have left; gives
    the numbers and sizes of the segments.

    Locks: the upkeep lock is held; takes the mailbox lock, for a moment at a time.
    """
    removed: dict[int, int] = {}
    finished = False
    while not finished:
        with mailbox.transaction() as tx:
            index = mailbox.index
            holdings.follow()
            _remove_passing(mailbox)
            uses = holdings.measure()
            orphans = [
                use.number
                for use in uses.values()
                if not use.kept and (use.number >= PACKED or use.number < index.tail_segment)
            ]
            if orphans and mailbox.segments.status(index.tail_segment) is None:
                tx.frames().close_tail()  # as after a rebuild; the header of one that stays tells UIDNEXT
            # what emptied them, expunges and relocations, was on disk before anybody saw it
            since = time.monotonic()
            for number in orphans:
                blocking.call(raw.unlink, mailbox.segments.path(number))
                removed[number] = uses.pop(number).size
                if time.monotonic() - since > _MOST_HELD_S:
                    break
            finished = all(number in removed for number in orphans)
            dead = dead_bytes(uses.values(), index.packed_next)
            if dead != index.dead_bytes:
                tx.add(journals.swept(dead))
    if removed:
        mailbox.segments.forget()
    return removed


def _remove_passing(mailbox: Mailbox) -> None:
    """Remove files that never got their name: both locks are held, so whoever wrote them is dead."""
    for name in os.listdir(mailbox.path):
        if name.endswith((".new", ".upkeep")):
            raw.unlink(mailbox.path / name)
