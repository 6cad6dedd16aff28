"""What messages are threaded by, as numbers: their subjects, ids and references; kept for a mailbox.

It is read of each message once; what arrives is added. A subject is a hash of its octets, so that two that
are alike have one number; for what happens to two others with one number see ``mstore.mail.sortkeys``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mstore.base.flags import TOMBSTONE
from mstore.files.column import rows_in_ranges
from mstore.mail.summary import BASE_SUBJECT, REFERENCES
from mstore.store.sort import Mailbox, Pulse, read_slots

Array = np.ndarray[Any, np.dtype[Any]]
NAME = "links"
WORTH = 4
"""Where so many times as many are known, those that are new are read alone."""
_TOMB = np.uint64(TOMBSTONE)


@dataclass(frozen=True, slots=True)
class Links:
    """Of some rows, which ascend; the numbers of row n end at ``ends[n]``."""

    rows: Array
    subjects: Array
    """0 where there is none."""
    numbers: Array
    """Of each row: whether it is a reply, its own id (0: none), its references."""
    ends: Array

    @property
    def starts(self) -> Array:
        """Where the numbers of each row begin."""
        starts = np.zeros_like(self.ends)
        starts[1:] = self.ends[:-1]
        return starts

    @property
    def size_bytes(self) -> int:
        """The memory that they take."""
        return self.rows.nbytes + self.subjects.nbytes + self.numbers.nbytes + self.ends.nbytes

    def take(self, places: Array) -> Links:
        """Those at some places, which ascend."""
        starts, ends = self.starts[places], self.ends[places]
        numbers = self.numbers[rows_in_ranges(starts, ends)]
        return Links(self.rows[places], self.subjects[places], numbers, np.cumsum(ends - starts))

    def related(self, places: Array, most: int) -> Array | None:
        """Those at some places, and all that are bound to them by ids or subjects, however far: their places,
        ascending. None when they are more than so many.

        What threads are made of these does not depend on the others, nor the other way round.
        """
        ids = self.numbers.copy()
        ids[self.starts] = 0
        found = np.zeros(len(self.rows), bool)
        added = places
        while len(added):
            found[added] = True
            if np.count_nonzero(found) > most:
                return None
            starts, ends = self.starts[added], self.ends[added]
            named = _holding(ids, ids[rows_in_ranges(starts, ends)])
            alike = _holding(self.subjects, self.subjects[added])
            hit = np.union1d(self.ends.searchsorted(named, "right"), alike)
            added = hit[~found[hit]]
        return np.flatnonzero(found)

    def and_then(self, others: Links) -> Links:
        """These, and behind them those of later rows."""
        return Links(
            np.concatenate((self.rows, others.rows)),
            np.concatenate((self.subjects, others.subjects)),
            np.concatenate((self.numbers, others.numbers)),
            np.concatenate((self.ends, others.ends + len(self.numbers))),
        )


def _holding(numbers: Array, wanted: Array) -> Array:
    """The places at which one of the wanted numbers stands that are not 0; they are few."""
    wanted = np.unique(wanted[wanted != 0])
    marked = np.zeros(1 << 16, bool)
    marked[wanted.view("<u2")[::4]] = True  # most others differ in the lowest bits
    places = np.flatnonzero(marked[numbers.view("<u2")[::4]])
    return places[np.isin(numbers[places], wanted)]


def kept_links(mailbox: Mailbox) -> Links | None:
    """The links that are kept of a mailbox."""
    kept: Links | None = mailbox.orders.get(NAME)
    return kept


def links_of(mailbox: Mailbox, rows: Array, pulse: Pulse) -> Links:
    """The links of ``rows``, which ascend. ``pulse`` is called between windows of work."""
    kept = kept_links(mailbox)
    if kept is None:
        return _keep(mailbox, _read(mailbox, rows, pulse))
    if np.array_equal(kept.rows, rows):
        return kept
    new = rows[rows > kept.rows[-1]]
    if len(new) * WORTH <= len(rows):
        flags = mailbox.columns.full.flags[kept.rows]
        wanted = np.isin(kept.rows, rows, assume_unique=True)
        if np.count_nonzero(wanted) + len(new) == len(rows):
            found = kept if wanted.all() else kept.take(np.flatnonzero(wanted))
            if not len(new):
                return found
            added = _read(mailbox, new, pulse)
            live = wanted | (flags & _TOMB == 0)
            _keep(mailbox, (kept if live.all() else kept.take(np.flatnonzero(live))).and_then(added))
            return found.and_then(added)
    found = _read(mailbox, rows, pulse)
    return _keep(mailbox, found) if 2 * len(rows) >= len(kept.rows) else found


def _keep(mailbox: Mailbox, links: Links) -> Links:
    if len(links.rows):
        mailbox.orders.keep(NAME, links, links.size_bytes)
    return links


def _read(mailbox: Mailbox, rows: Array, pulse: Pulse) -> Links:
    subjects, texts = read_slots(mailbox, rows, (BASE_SUBJECT, REFERENCES), pulse)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) // 8)
    numbers = np.frombuffer(b"".join(texts), "<u8")
    return Links(rows, np.fromiter(map(hash, subjects), np.int64, len(subjects)), numbers, ends)
