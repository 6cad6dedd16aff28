"""What is costly to compute from messages, read for many rows at once; computed again where it is missing.

A blob that is missing or damaged is made from the message and written back when the lock is free just now;
when it is not, or the disk is full, the answer is right all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.files.blob import Window, format_blob
from mstore.files.layout import BLOB
from mstore.mail.summary import summarize
from mstore.store.reader import pread_soon

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

BLOB_VERSION = 1
MOST_BLOB_BYTES = 4 << 20
_WINDOW_BYTES = 1 << 20
_KEEP_BYTES = 8 << 20


def read(mailbox: Mailbox, rows: npt.NDArray[Any], slots: Sequence[int]) -> list[list[bytes]]:
    """For each slot asked for the bytes of every row, in the order of the rows."""
    rows = np.asarray(rows)
    result: list[list[bytes]] = [[b""] * len(rows) for _ in slots]
    full = mailbox.index.columns.full
    offsets = full.derived[rows].astype(np.int64)
    order = np.argsort(offsets, kind="stable") if (offsets[1:] < offsets[:-1]).any() else np.arange(len(rows))
    missing = [order[offsets[order] == 0]]
    order = order[offsets[order] != 0]
    fd = mailbox.derived_file.open() if len(order) else -1
    if fd < 0:
        missing.append(order)
        order = order[:0]
    mailbox.derived_file.pins += 1
    try:
        missing += _read_windows(fd, offsets, full.uid[rows], order, slots, result)
    finally:
        mailbox.derived_file.pins -= 1
    lost = np.concatenate(missing)
    if len(lost):
        _compute(mailbox, rows, np.sort(lost), slots, result)
    return result


def _read_windows(
    fd: int,
    offsets: npt.NDArray[np.int64],
    uids: npt.NDArray[Any],
    order: npt.NDArray[Any],
    slots: Sequence[int],
    result: list[list[bytes]],
) -> list[npt.NDArray[Any]]:
    """Fill in what sound blobs give; the places of the others are returned."""
    missing: list[npt.NDArray[Any]] = []
    done, want = 0, _WINDOW_BYTES
    while done < len(order):
        base = int(offsets[order[done]]) & ~7
        reach = int(np.searchsorted(offsets[order], base + want - BLOB.size, "right"))
        last = int(offsets[order[reach - 1]]) if reach > done else base
        count = min(want, last - base + 64 * 1024) if want == _WINDOW_BYTES else want
        chosen = order[done : max(reach, done + 1)]
        data = bytes(pread_soon(fd, count, base))
        window = Window(data[: len(data) & ~7], offsets[chosen] - base, uids[chosen], BLOB_VERSION)
        cut = np.flatnonzero(window.within & ~window.whole)
        stop = int(cut[0]) if len(cut) and len(data) == count else len(chosen)
        if stop == 0 and want < MOST_BLOB_BYTES + _WINDOW_BYTES:
            want *= 4
            continue
        want = _WINDOW_BYTES
        stop = max(stop, 1)
        good = np.flatnonzero(window.whole[:stop])
        missing.append(chosen[:stop][~window.whole[:stop]])
        places = chosen[good].tolist()
        for values, slot in zip(result, slots, strict=True):
            found = window.slot(slot, good)
            if len(places) == len(values):
                values[:] = (
                    found
                    if places[0] == 0 and places[-1] == len(values) - 1 and places == sorted(places)
                    else _placed(values, places, found)
                )
            else:
                _placed(values, places, found)
        done += stop
        blocking.breathe()
    return missing


def _placed(values: list[bytes], places: list[int], found: list[bytes]) -> list[bytes]:
    for place, value in zip(places, found, strict=True):
        values[place] = value
    return values


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
        found = summarize(mailbox.read(row)).slots
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
