"""Writing ``derived`` anew when more than half of it is dead: a copy beside it, which then takes its name.

Nothing here is synced, and nothing depends on it: a blob is verified when it is read, so a place that is out
of date only means that the blob is computed again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base import blocking
from mstore.base.flags import TOMBSTONE
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.blob import FILE_HEADER, blob_size
from mstore.files.index import Index
from mstore.files.layout import BLOB, DERIVED
from mstore.store import derived

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

LEAST_BYTES = 1 << 20
_SAMPLE = 128
_WINDOW_ROWS = 1000
_MOST_LATE_ROWS = 2000
_RECORD_ROWS = 32768
_TOMB = np.uint64(TOMBSTONE)


def rewrite(mailbox: Mailbox) -> int:
    """Write ``derived`` anew if that is worth its while; gives the bytes it is shorter.

    Locks: the upkeep lock is held; takes the mailbox lock for moments. Durable: nothing.
    """
    if not is_wasteful(mailbox):
        return 0
    size = os.stat(mailbox.derived_file.path).st_size
    passing = mailbox.path / "derived.new"
    index = mailbox.index
    rows = _with_blobs(index)
    uids, before = index.columns.uid[rows], index.columns.derived[rows]
    fd = raw.open_file(passing, raw.REPLACE)
    try:
        raw.pwrite(fd, FILE_HEADER, 0)
        after, end = _copy(mailbox, fd, uids, DERIVED.size)
        with mailbox.transaction() as tx:
            # what was computed meanwhile lies in the old file; little of it is taken along at once
            rows = _with_blobs(mailbox.index)
            late = rows[~np.isin(mailbox.index.columns.uid[rows], uids)][:_MOST_LATE_ROWS]
            late_uids = mailbox.index.columns.uid[late]
            places, end = _copy(mailbox, fd, late_uids, end)
            raw.rename(passing, mailbox.derived_file.path)
            mailbox.derived_file.renew()
            if len(late):
                tx.add(journals.derived_at(late_uids, places))
    except BaseException:
        raw.unlink(passing)
        raise
    finally:
        raw.close(fd)
    for start in range(0, len(uids), _RECORD_ROWS):
        part = slice(start, start + _RECORD_ROWS)
        _place(mailbox, uids[part], before[part], after[part])
        blocking.breathe()
    return max(0, size - end)


def is_wasteful(mailbox: Mailbox) -> bool:
    """Whether more than half of the file is dead, by a sample of the blobs that rows refer to."""
    try:
        size = os.stat(mailbox.derived_file.path).st_size
    except FileNotFoundError:
        return False
    if size <= LEAST_BYTES:
        return False
    columns, rows = mailbox.index.columns, _with_blobs(mailbox.index)
    if not len(rows):
        return True
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    places = zip(columns.uid[sample].tolist(), columns.derived[sample].tolist(), strict=True)
    held = blocking.call(_sum_sizes, mailbox, list(places))
    return held / len(sample) * len(rows) < size / 2


def _sum_sizes(mailbox: Mailbox, places: list[tuple[int, int]]) -> int:
    try:
        fd = raw.open_file(mailbox.derived_file.path, raw.READ)
    except FileNotFoundError:
        return 0
    try:
        return sum(
            blob_size(raw.pread(fd, BLOB.size, offset), uid, derived.BLOB_VERSION) for uid, offset in places
        )
    finally:
        raw.close(fd)


def _with_blobs(index: Index) -> npt.NDArray[np.int64]:
    columns = index.columns
    return np.flatnonzero((columns.derived != 0) & (columns.flags & _TOMB == 0))


def _copy(
    mailbox: Mailbox, fd: int, uids: npt.NDArray[Any], end: int
) -> tuple[npt.NDArray[np.uint64], int]:
    """Write the blobs of messages from ``end`` on; gives where each is, 0 for none, and the new end."""
    after = np.zeros(len(uids), np.uint64)

    def put(block: raw.Buffer) -> int:
        nonlocal end
        at, end = end, end + len(block)
        raw.pwrite(fd, block, at)
        return at

    for start in range(0, len(uids), _WINDOW_ROWS):
        window = uids[start : start + _WINDOW_ROWS]
        rows = mailbox.index.rows_of_uids(window)
        known = np.flatnonzero(rows >= 0)
        after[start + known] = derived.copy_blobs(mailbox, rows[known], window[known], put)
        blocking.breathe()
    return after, end


def _place(
    mailbox: Mailbox,
    uids: npt.NDArray[np.uint32],
    before: npt.NDArray[np.uint64],
    after: npt.NDArray[np.uint64],
) -> None:
    """Say where the blobs are now, but for messages whose blob was computed again meanwhile."""
    with mailbox.transaction() as tx:
        rows = mailbox.index.rows_of_uids(uids)
        known = np.flatnonzero(rows >= 0)
        known = known[mailbox.index.columns.full.derived[rows[known]] == before[known]]
        if len(known):
            tx.place_derived(uids[known], after[known])
