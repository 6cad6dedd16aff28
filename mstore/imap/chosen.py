"""Which messages of the selected mailbox a command means, and what to say of those that are gone.

Sequence numbers and UIDs are those the client knows. A message that another session has expunged keeps its
number until this client is told (RFC 3501 §7.4.1), but nothing more is done with it (RFC 2180 §4).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mstore.base.flags import TOMBSTONE
from mstore.base.numset import LAST_RESULT, STAR, NumSet
from mstore.imap.errors import Bad, No
from mstore.imap.selected import Selected

Array = np.ndarray[Any, np.dtype[Any]]
_TOMBSTONE = np.uint64(TOMBSTONE)


class Chosen(NamedTuple):
    """The rows of the messages that are there, ascending; whether others of the set are gone meanwhile."""

    rows: Array
    gone: bool

    def check_none_gone(self, uid: bool) -> None:
        """Answer NO where sequence numbers named messages that are gone; gone UIDs are ignored.

        RFC 2180 §4, RFC 3501 §6.4.8.
        Raises: No with EXPUNGEISSUED (RFC 5530 §3).
        """
        if self.gone and not uid:
            raise No("Some of the messages have been deleted", b"EXPUNGEISSUED")


def choose(selected: Selected, numbers: NumSet, uid: bool) -> Chosen:
    """The messages of a set of UIDs, or of sequence numbers; or those that a search has saved.

    Of the latter none is ever gone: what is removed drops out of them (RFC 5182 §2.1).
    Raises: Bad for a sequence number beyond the last message (RFC 3501 §9 "seq-number").
    """
    view = selected.view
    if numbers is LAST_RESULT:
        rows = view.rows[np.isin(view.uids, selected.saved, assume_unique=True)]
        flags = selected.mailbox.columns.full.flags
        return Chosen(rows[flags[rows] & _TOMBSTONE == 0], False)
    if uid:
        rows = view.rows_of_uids(numbers)
    else:
        if numbers.highest() > view.count:
            _check_bounds(numbers, view.count)
        rows = view.rows_of_seqs(numbers)
    if not len(rows):
        return Chosen(rows, False)
    flags = selected.mailbox.columns.full.flags
    if len(rows) == 1:
        return Chosen(rows[:0], True) if flags.item(rows.item()) & TOMBSTONE else Chosen(rows, False)
    gone = flags[rows] & _TOMBSTONE != 0
    if gone.any():
        return Chosen(rows[~gone], True)
    return Chosen(rows, False)


def _check_bounds(numbers: NumSet, count: int) -> None:
    """A range that ends in ``*`` is in bounds whatever its other end: clients poll with ``n:*``."""
    if any(STAR not in pair and max(pair) > count for pair in numbers.ranges):
        raise Bad("No message has that number")
