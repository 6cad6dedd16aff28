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
NO_SUCH_NUMBER = "No message has that number"
_TOMBSTONE = np.uint64(TOMBSTONE)
_NONE: Array = np.empty(0, np.int32)


class Chosen(NamedTuple):
    """The rows of the messages that are there, ascending; whether others of the set are gone meanwhile."""

    rows: Array
    gone: bool
    seq: int = 0
    """The sequence number, where the client named a single message that is there by a single number."""

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
    single = numbers.single()
    if single:
        return _choose_one(selected, single, uid)
    if uid:
        rows = view.rows_of_uids(numbers)
    else:
        if numbers.highest() > view.count:
            _check_bounds(numbers, view.count)
        rows = view.rows_of_seqs(numbers)
    if view.is_whole or not len(rows):
        return Chosen(rows, False)
    gone = selected.mailbox.columns.full.flags[rows] & _TOMBSTONE != 0
    if gone.any():
        return Chosen(rows[~gone], True)
    return Chosen(rows, False)


def _choose_one(selected: Selected, number: int, uid: bool) -> Chosen:
    view = selected.view
    seq = view.find(number, uid)
    if not seq:
        if uid:
            return Chosen(_NONE, False)
        raise Bad(NO_SUCH_NUMBER)
    row = view.row_of_seq(seq)
    if not view.is_whole and selected.mailbox.columns.full.flags.item(row) & TOMBSTONE:
        return Chosen(_NONE, True)
    return Chosen(view.rows[seq - 1 : seq], False, seq)


def _check_bounds(numbers: NumSet, count: int) -> None:
    """A range that ends in ``*`` is in bounds whatever its other end: clients poll with ``n:*``."""
    if any(STAR not in pair and max(pair) > count for pair in numbers.ranges):
        raise Bad(NO_SUCH_NUMBER)
