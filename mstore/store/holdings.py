"""What a compaction has to keep of a mailbox: its live messages, and the expunged ones that are retained.

Where nothing is retained, the table that sessions use says it all. Else a table of its own is made, as for a
checkpoint: only such a one knows the retained messages. It is brought up to date whenever the writers' lock
is held, so that what is expunged meanwhile is retained as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base.errors import Busy
from mstore.base.flags import TOMBSTONE
from mstore.files.index import Index
from mstore.files.journal import Journal
from mstore.files.retained import Entries
from mstore.files.segment import HEADER_BYTES
from mstore.store import diskuse, generation

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

_TOMB = np.uint64(TOMBSTONE)
Array = npt.NDArray[Any]


class Holdings:
    """The messages of one mailbox that are to be kept, and where they lie."""

    def __init__(self, mailbox: Mailbox, own: tuple[Index, Journal] | None, since_ms: int) -> None:
        self._mailbox = mailbox
        self._own = own
        self._since_ms = since_ms

    @property
    def table(self) -> Index:
        """The table that says it; another one when the mailbox's own was replaced."""
        return self._mailbox.index if self._own is None else self._own[0]

    def follow(self) -> None:
        """Take in what was written until now; the mailbox lock is held.

        Raises: Busy when a recovery has begun a generation meanwhile.
        """
        if self._own is None:
            return
        index, journal = self._own
        now = self._mailbox.journal
        is_same = journal.info.generation == now.info.generation
        if not is_same or generation.follow(index, journal) or journal.end != now.end:
            raise Busy("the mailbox was recovered meanwhile")

    def measure(self) -> dict[int, diskuse.Use]:
        """How each segment is used."""
        return diskuse.measure(self._mailbox.path, self.table, self._retained())

    def gather(self, victims: Array) -> tuple[Array, Array, Array, Array]:
        """UIDs, segments, beginnings and sizes of all frames in some segments, in the order of UIDs."""
        columns, retained = self.table.columns, self._retained()
        rows = np.flatnonzero(np.isin(columns.segment, victims))
        rows = rows[columns.flags[rows] & _TOMB == 0]
        found: tuple[Array, ...] = (
            columns.uid[rows],
            columns.segment[rows],
            columns.offset[rows].astype(np.int64) - HEADER_BYTES,
            columns.size[rows].astype(np.int64) + HEADER_BYTES,
        )
        if retained is not None:
            mine = retained[np.isin(retained["segment"], victims)]
            more: tuple[Array, ...] = (
                mine["uid"],
                mine["segment"],
                mine["offset"].astype(np.int64) - HEADER_BYTES,
                mine["size"].astype(np.int64) + HEADER_BYTES,
            )
            found = tuple(np.concatenate(pair) for pair in zip(found, more, strict=True))
            order = found[0].argsort(kind="stable")
            found = tuple(values[order] for values in found)
        uids, segments, begins, sizes = found
        return uids, segments, begins, sizes

    def still_there(self, uids: Array, segments: Array, begins: Array) -> npt.NDArray[np.bool_]:
        """Which of these messages are to be kept and lie in these places."""
        full, rows = self.table.columns.full, self.table.rows_of_uids(uids)
        same = rows >= 0
        places = np.flatnonzero(same)
        rows = rows[places]
        same[places] = full.flags[rows] & _TOMB == 0
        same[places] &= full.segment[rows] == segments[places]
        same[places] &= full.offset[rows].astype(np.int64) == begins[places] + HEADER_BYTES
        retained = self._retained()
        if retained is not None and len(retained):
            at = np.minimum(retained["uid"].searchsorted(uids), len(retained) - 1)
            entries = retained[at]
            found = (entries["uid"] == uids) & (entries["segment"] == segments)
            same |= found & (entries["offset"].astype(np.int64) == begins + HEADER_BYTES)
        return same

    def _retained(self) -> Entries | None:
        retained = self.table.retained
        return None if self._own is None or retained is None else retained.since(self._since_ms)


@contextmanager
def open_holdings(mailbox: Mailbox, retain_s: int) -> Iterator[Holdings]:
    """What is to be kept where messages are retained for so long; the upkeep lock is held.

    Raises: NotFound, Corrupt.
    """
    if not retain_s:
        yield Holdings(mailbox, None, 0)
        return
    own = generation.load(mailbox.path, patient=True)
    try:
        yield Holdings(mailbox, own, diskuse.retained_since(retain_s))
    finally:
        own[1].close()
