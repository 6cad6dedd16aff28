"""What a client that comes back has missed: the UIDs that are gone since a MODSEQ (RFC 7162 §3.2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstore.base.numset import NumSet
from mstore.files.column import Array, rows_in_ranges
from mstore.files.expunges import merge

if TYPE_CHECKING:
    from mstore.store.view import View


def vanished(view: View, since: int, known: NumSet | None = None, above: int = 0) -> Array:
    """First and last UID, row by row, ascending, of what is gone and was expunged after a MODSEQ.

    Of the ``known`` UIDs (None: all), and of those ``above`` one. What the session has been told of, or is
    yet to be told of, is not among them. Where the expunges since then are not remembered, every UID that
    is not there is.
    """
    index = view.mailbox.index
    last = index.uid_next - 1
    pairs = index.expunges.since(since)
    if pairs is None:
        pairs = np.array([[1, last]], np.int64)
    pairs = intersect(pairs, np.array([[above + 1, last]], np.int64))
    if known is not None:
        largest = int(view.uids[-1]) if view.count else 0
        pairs = intersect(pairs, merge(np.array(known.resolve(largest), np.int64).reshape(-1, 2)))
    if not len(pairs):
        return pairs
    there = index.snapshot.uids(index.snapshot.count)
    # Of all that is there only little is looked at: as a rule none of what was expunged.
    present = np.concatenate((_within(pairs, there), _within(pairs, view.uids)))
    if not len(present):
        return pairs
    present.sort(kind="stable")
    return intersect(pairs, _gaps(present, last))


def _within(pairs: Array, uids: Array) -> Array:
    """Those of ascending UIDs that lie in ranges."""
    firsts = uids.searchsorted(pairs[:, 0].astype(uids.dtype))
    ends = uids.searchsorted(pairs[:, 1].astype(uids.dtype), "right")
    found: Array = uids[rows_in_ranges(firsts, ends)].astype(np.int64)
    return found


def _gaps(uids: Array, last: int) -> Array:
    """The ranges of UIDs from 1 to ``last`` that are not among these, which ascend and may come twice."""
    firsts, lasts = np.concatenate(([1], uids + 1)), np.concatenate((uids - 1, [last]))
    gaps: Array = np.stack((firsts, lasts), axis=1)[firsts <= lasts]
    return gaps


def intersect(one: Array, other: Array) -> Array:
    """What two lists of closed ranges, each ascending and apart, have in common; as such a list."""
    begins = other[:, 1].searchsorted(one[:, 0])
    ends = other[:, 0].searchsorted(one[:, 1], "right")
    mine = np.repeat(np.arange(len(one)), np.maximum(ends - begins, 0))
    theirs = rows_in_ranges(begins, ends)
    firsts = np.maximum(one[mine, 0], other[theirs, 0])
    lasts = np.minimum(one[mine, 1], other[theirs, 1])
    common: Array = np.stack((firsts, lasts), axis=1)[firsts <= lasts]
    return common
