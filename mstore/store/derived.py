"""What is costly to compute from messages, read for many rows at once; computed again where it is missing.

A blob that is missing or damaged is made from the message and written back when the lock is free just now;
when it is not, or the disk is full, the answer is right all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.files.blob import Window, blob_size, format_blob, read_slots
from mstore.files.layout import BLOB
from mstore.mail.summary import Summary, summarize
from mstore.store.reader import pread_soon

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

BLOB_VERSION = 4
MOST_BLOB_BYTES = 4 << 20
_WINDOW_BYTES = 1 << 20
_ONE_BYTES = 4096
_LAST_BYTES = 64 << 10
_SOON_BYTES = 1 << 20
_KEEP_BYTES = 8 << 20


Take = Callable[[Window, npt.NDArray[Any], list[int]], None]
"""What is done with a window, the sound blobs in it and their places in the answer."""


def summary_of(buffer: Any) -> Summary:
    """The summary of a message; a large one is looked at while other sessions run."""
    return summarize(buffer) if len(buffer) <= _SOON_BYTES else blocking.call(summarize, buffer)


def read(mailbox: Mailbox, rows: npt.NDArray[Any], slots: Sequence[int]) -> list[list[bytes]]:
    """For each slot asked for the bytes of every row, in the order of the rows."""
    rows = np.asarray(rows)
    if len(rows) == 1:
        alone = _read_one(mailbox, rows.item(), slots)
        if alone is not None:
            return [[value] for value in alone]
    result: list[list[bytes]] = [[b""] * len(rows) for _ in slots]

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        for values, slot in zip(result, slots, strict=True):
            _place(values, places, window.slot(slot, good))

    lost = _read_sound(mailbox, rows, take)
    if len(lost):
        _compute(mailbox, rows, np.sort(lost), slots, result)
    return result


def read_sound(mailbox: Mailbox, rows: npt.NDArray[Any], slot: int) -> list[bytes]:
    """A slot of those rows that have a sound blob; nothing is computed."""
    found = [b""] * len(rows)

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        _place(found, places, window.slot(slot, good))

    _read_sound(mailbox, np.asarray(rows), take)
    return found


def copy_blobs(mailbox: Mailbox, rows: npt.NDArray[Any], uids: npt.NDArray[Any]) -> list[bytes]:
    """The blobs of rows, made out to other UIDs; empty where there is none that is sound."""
    found = [b""] * len(rows)

    def take(window: Window, good: npt.NDArray[Any], places: list[int]) -> None:
        _place(found, places, window.blobs(good, uids[places]))

    _read_sound(mailbox, rows, take)
    return found


def _read_one(mailbox: Mailbox, row: int, slots: Sequence[int]) -> list[bytes] | None:
    """The slots of one row, when its blob is sound and no larger than most."""
    full = mailbox.index.columns.full
    offset = full.derived.item(row)
    fd = mailbox.derived_file.open() if offset else -1
    if fd < 0:
        return None
    mailbox.derived_file.pins += 1
    try:
        data = pread_soon(fd, _ONE_BYTES, offset)
    finally:
        mailbox.derived_file.pins -= 1
    size = blob_size(data, full.uid.item(row), BLOB_VERSION)
    return read_slots(bytes(data[:size]), slots) if 0 < size <= len(data) else None


def _read_sound(mailbox: Mailbox, rows: npt.NDArray[Any], take: Take) -> npt.NDArray[Any]:
    """Hand what sound blobs there are to ``take``; the places of the others are returned."""
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
        missing += _read_windows(fd, offsets, full.uid[rows], order, take)
    finally:
        mailbox.derived_file.pins -= 1
    return np.concatenate(missing)


def _read_windows(
    fd: int,
    offsets: npt.NDArray[np.int64],
    uids: npt.NDArray[Any],
    order: npt.NDArray[Any],
    take: Take,
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
        data = bytes(pread_soon(fd, count, base))
        window = Window(data, ordered[done:reach] - base, uids[chosen], BLOB_VERSION)
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


def _place(values: list[bytes], places: list[int], found: list[bytes]) -> None:
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
