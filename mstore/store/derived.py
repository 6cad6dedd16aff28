"""What is costly to compute from messages, read for many rows at once; computed again where it is missing.

A blob that is missing or damaged is made from the message and written back when the lock is free just now;
when it is not, or the disk is full, the answer is right all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.files.blob import Window, format_blob, read_slots
from mstore.files.layout import BLOB
from mstore.files.raw import Buffer
from mstore.mail.summary import Summary, summarize
from mstore.store.reader import pread_soon, read_into
from mstore.store.room import PIECE_BYTES, Room, room

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

BLOB_VERSION = 6
MOST_BLOB_BYTES = 4 << 20
_WINDOW_BYTES = PIECE_BYTES
FEW_ROWS = 64
_FEW_BYTES = 256 << 10
_ONE_BYTES = 4096
_LAST_BYTES = 64 << 10
_SOON_BYTES = 1 << 20
_KEEP_BYTES = 8 << 20

T = TypeVar("T")
Take = Callable[[Window, npt.NDArray[Any], list[int]], None]
"""What is done with a window, the sound blobs in it and their places in the answer."""


def summary_of(buffer: Any) -> Summary:
    """The summary of a message; a large one is looked at while other sessions run."""
    return summarize(buffer) if len(buffer) <= _SOON_BYTES else blocking.call(summarize, buffer)


def read(mailbox: Mailbox, rows: npt.NDArray[Any], slots: Sequence[int]) -> list[list[bytes]]:
    """For each slot asked for the bytes of every row, in the order of the rows."""
    rows = np.asarray(rows)
    few = _read_few(mailbox, rows, slots) if len(rows) <= FEW_ROWS else None
    if few is not None:
        return few
    result: list[list[bytes]] = [[b""] * len(rows) for _ in slots]

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        for values, slot in zip(result, slots, strict=True):
            put_at(values, places, window.slot(slot, good))

    lost = take_sound(mailbox, rows, take)
    if len(lost):
        _compute(mailbox, rows, np.sort(lost), slots, result)
    return result


def read_joined(
    mailbox: Mailbox, rows: npt.NDArray[Any], slot: int, end: bytes
) -> list[tuple[npt.NDArray[Any], bytes, npt.NDArray[np.int64]]]:
    """A slot of every row, many behind one another with ``end`` behind each: which rows, their slots as one,
    and where each begins."""
    rows = np.asarray(rows)
    found: list[tuple[npt.NDArray[Any], bytes, npt.NDArray[np.int64]]] = []

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        if len(good):
            found.append((rows[places], *window.joined(slot, good, end)))

    lost = take_sound(mailbox, rows, take)
    if len(lost):
        made: list[list[bytes]] = [[b""] * len(rows)]
        _compute(mailbox, rows, np.sort(lost), (slot,), made)
        texts = [made[0][place] + end for place in lost.tolist()]
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        found.append((rows[lost], b"".join(texts), np.cumsum(sizes) - sizes))
    return found


def read_sound(mailbox: Mailbox, rows: npt.NDArray[Any], slot: int) -> list[bytes]:
    """A slot of those rows that have a sound blob; nothing is computed."""
    found = [b""] * len(rows)

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        put_at(found, places, window.slot(slot, good))

    take_sound(mailbox, np.asarray(rows), take)
    return found


def copy_blobs(
    mailbox: Mailbox,
    rows: npt.NDArray[Any],
    uids: npt.NDArray[Any],
    put: Callable[[Buffer], int],
) -> npt.NDArray[np.uint64]:
    """Copy the blobs of rows, made out to other UIDs; gives the offset of each, 0 where there is none.

    ``put`` writes many of them at once, and gives the offset of the first, or 0. Their sums are not looked
    at: a copy of a damaged one is as damaged, and is found out when it is read.
    """
    offsets = np.zeros(len(rows), np.uint64)

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        if not places:
            return
        chosen = np.array(places)
        block, starts = window.copies(good, uids[chosen])
        at = put(block)
        if at:
            offsets[chosen] = (starts + at).astype(np.uint64)

    take_sound(mailbox, rows, take, sums=False)
    return offsets


def _read_few(mailbox: Mailbox, rows: npt.NDArray[Any], slots: Sequence[int]) -> list[list[bytes]] | None:
    """The slots of a few rows, when their blobs lie close together, and all are sound and no larger than
    most."""
    full = mailbox.index.columns.full
    offsets = full.derived[rows].tolist()
    base = min(offsets, default=0)
    count = max(offsets, default=0) + _ONE_BYTES - base
    fd = mailbox.derived_file.open() if base and count <= _FEW_BYTES else -1
    if fd < 0:
        return None
    mailbox.derived_file.pins += 1
    try:
        data = pread_soon(fd, count, base)
    finally:
        mailbox.derived_file.pins -= 1
    places = [offset - base for offset in offsets]
    return read_slots(data, places, full.uid[rows].tolist(), BLOB_VERSION, slots)


def take_sound(mailbox: Mailbox, rows: npt.NDArray[Any], take: Take, sums: bool = True) -> npt.NDArray[Any]:
    """Hand what sound blobs there are to ``take``; the places of the others are returned.

    Without ``sums`` those count as sound that are so by their headers.
    """
    full = mailbox.index.columns.full
    offsets = full.derived[rows].astype(np.int64)
    if (offsets[1:] < offsets[:-1]).any():
        order = np.argsort(offsets, kind="stable")
    else:
        order = np.arange(len(rows))
    missing = [order[offsets[order] == 0]]
    order = order[offsets[order] != 0]
    if not len(order):
        none: npt.NDArray[Any] = missing[0]
        return none
    fd = mailbox.derived_file.open()
    if fd < 0:
        return np.concatenate([*missing, order])
    mailbox.derived_file.pins += 1
    try:
        reach = int(offsets[order[-1]] - offsets[order[0]]) + _LAST_BYTES
        with room(reach) as own:
            missing += _read_windows(fd, offsets, full.uid[rows], order, take, own, sums)
    finally:
        mailbox.derived_file.pins -= 1
    return np.concatenate(missing)


def _read_windows(
    fd: int,
    offsets: npt.NDArray[np.int64],
    uids: npt.NDArray[Any],
    order: npt.NDArray[Any],
    take: Take,
    own: Room,
    sums: bool,
) -> list[npt.NDArray[Any]]:
    """Read the blobs in windows of the file; one that reaches beyond its window begins the next, larger
    one."""
    missing: list[npt.NDArray[Any]] = []
    ordered = offsets[order]
    done, want = 0, _WINDOW_BYTES
    while done < len(order):
        base = int(ordered[done]) & ~7
        reach = max(done + 1, int(ordered.searchsorted(base + want - BLOB.size, "right")))
        count = want if want > _WINDOW_BYTES else min(want, int(ordered[reach - 1]) - base + _LAST_BYTES)
        chosen = order[done:reach]
        data = read_into(fd, own.take(count), base)
        window = Window(data, ordered[done:reach] - base, uids[chosen], BLOB_VERSION, sums)
        cut = np.flatnonzero(window.within & ~window.whole)
        stop = int(cut[0]) if len(cut) and len(data) == count else len(chosen)
        if stop == 0 and want <= MOST_BLOB_BYTES:
            want *= 16
            continue
        want, stop = _WINDOW_BYTES, max(stop, 1)
        good = window.whole[:stop]
        missing.append(chosen[:stop][~good])
        take(window, np.flatnonzero(good), chosen[:stop][good].tolist())
        done += stop
        blocking.breathe()
    return missing


def put_at(values: list[T], places: list[int], found: list[T]) -> None:
    """Put each into its place."""
    if places and places[-1] - places[0] + 1 == len(places) and places == sorted(places):
        values[places[0] : places[-1] + 1] = found
        return
    for place, value in zip(places, found, strict=True):
        values[place] = value


def _compute(
    mailbox: Mailbox,
    rows: npt.NDArray[Any],
    places: npt.NDArray[Any],
    slots: Sequence[int],
    result: list[list[bytes]],
) -> None:
    made: list[tuple[int, bytes]] = []
    held = 0
    uids = mailbox.index.columns.full.uid[rows[places]].tolist()
    for place, row, uid in zip(places.tolist(), rows[places].tolist(), uids, strict=True):
        found = summary_of(mailbox.read(row)).slots
        for values, slot in zip(result, slots, strict=True):
            values[place] = found[slot] if slot < len(found) else b""
        blob = format_blob(uid, BLOB_VERSION, found)
        if len(blob) <= MOST_BLOB_BYTES:
            made.append((uid, blob))
            held += len(blob)
        if held > _KEEP_BYTES:
            _write_back(mailbox, made)
            made, held = [], 0
        blocking.breathe()
    _write_back(mailbox, made)


def _write_back(mailbox: Mailbox, made: list[tuple[int, bytes]]) -> None:
    if not made:
        return
    try:
        with mailbox.transaction(deadline_s=0.0) as tx:
            offsets = mailbox.derived_file.append([blob for _, blob in made])
            tx.place_derived(np.array([uid for uid, _ in made], np.uint32), np.array(offsets, np.uint64))
    except (MStoreError, AssertionError):
        return
