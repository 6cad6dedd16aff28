"""Ranks: numbers that compare as texts do, kept for a mailbox and extended as messages arrive.

A column of ranks has one number for each row, -1 where it is not known; equal texts have equal ranks, the
empty text has 0. The texts themselves are not kept: that of a new message is compared with those of some
messages whose ranks are known, found by halving. Where many are new, all are ranked again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mstore.base.errors import Corrupt, Expunged, NotFound, StorageFailed
from mstore.base.flags import TOMBSTONE

if TYPE_CHECKING:
    from mstore.store.orders import Orders

Array = np.ndarray[Any, np.dtype[Any]]
Read = Callable[[Array], list[bytes]]
"""The texts of some rows."""

WORTH_ROWS = 256
"""Finding the rank of one new text costs as much as ranking so many rows again."""
_TOMB = np.uint64(TOMBSTONE)


class Mailbox(Protocol):
    """What is read of a mailbox."""

    @property
    def columns(self) -> Any: ...
    @property
    def orders(self) -> Orders: ...


def ranks_of(mailbox: Mailbox, rows: Array, name: str, read: Read) -> Array:
    """The ranks of ``rows``, which ascend, by the text that ``read`` gives; kept by this name.

    Raises: what ``read`` does.
    """
    column: Array | None = mailbox.orders.get(name)
    if column is not None:
        found = _look_up(column, rows)
        new = rows[found < 0]
        if not len(new):
            return found
        if len(new) * WORTH_ROWS <= len(rows):
            texts = read(new)
            known = _readable(mailbox, column, rows)
            try:
                column = _extended(column, known, new, texts, read)
            except (Expunged, NotFound, Corrupt, StorageFailed):
                pass  # it may be a message beside those asked for
            else:
                mailbox.orders.keep(name, column, column.nbytes)
                return column[rows]
    return keep_ranks(mailbox, rows, name, read(rows))


def keep_ranks(mailbox: Mailbox, rows: Array, name: str, texts: list[bytes]) -> Array:
    """The ranks of ``rows``, which ascend, by their texts; kept unless those of more messages are."""
    found = rank(texts)
    before: Array | None = mailbox.orders.get(name)
    if len(rows) and (before is None or 2 * len(rows) >= len(_readable(mailbox, before, rows))):
        column = np.full(int(rows[-1]) + 1, -1, np.int32)
        column[rows] = found
        mailbox.orders.keep(name, column, column.nbytes)
    return found


def rank(texts: list[bytes]) -> Array:
    """For each text how many different ones sort before it, the empty one always among them."""
    places = {text: place for place, text in enumerate(sorted({b"", *texts}))}
    return np.fromiter(map(places.__getitem__, texts), np.int32, len(texts))


def _look_up(column: Array, rows: Array) -> Array:
    if not len(rows) or rows[-1] < len(column):
        found: Array = column[rows]
        return found
    found = np.full(len(rows), -1, np.int32)
    within = int(rows.searchsorted(len(column)))
    found[:within] = column[rows[:within]]
    return found


def _readable(mailbox: Mailbox, column: Array, rows: Array) -> Array:
    """The rows in a column whose messages can be read: those that are not expunged, or in ``rows``."""
    known = np.flatnonzero(column >= 0)
    there = mailbox.columns.full.flags[known] & _TOMB == 0
    if not there.all():
        there |= np.isin(known, rows, assume_unique=True)
    readable: Array = known[there]
    return readable


def _extended(column: Array, known: Array, new: Array, texts: list[bytes], read: Read) -> Array:
    """A column of ranks for the ``known`` rows of this one and the new ones."""
    ranks = column[known]
    row_of = np.full(int(ranks.max(initial=0)) + 1, -1, np.int64)
    row_of[ranks] = known
    row_of[0] = -1
    used = np.flatnonzero(row_of >= 0)
    of_rank = _Texts(row_of[used].tolist(), read)
    wanted = sorted(set(texts) - {b""})
    places = list[tuple[int, bool]]()
    place = 0
    for text in wanted:
        place = bisect_left(of_rank, text, place)
        places.append((place, place < len(of_rank) and of_rank[place] == text))
    # Counted from 1, since 0 is the empty text. Each text that was not there moves on those from its place.
    begun = np.array([place for place, is_there in places if not is_there], np.int64)
    told = {b"": 0}
    moved = 0
    for text, (place, is_there) in zip(wanted, places, strict=True):
        told[text] = place + moved + 1
        moved += not is_there
    extended = np.full(max(len(column), int(new[-1]) + 1), -1, np.int32)
    rank_of = np.zeros(len(row_of), np.int32)
    counted = np.arange(len(used))
    rank_of[used] = counted + begun.searchsorted(counted, "right") + 1
    extended[known] = rank_of[ranks]
    extended[new] = [told[text] for text in texts]
    return extended


class _Texts:
    """One text of each rank, read when it is asked for."""

    def __init__(self, rows: list[int], read: Read) -> None:
        self._rows = rows
        self._read = read
        self._known: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> bytes:
        text = self._known.get(place)
        if text is None:
            text = self._known[place] = self._read(np.array([self._rows[place]]))[0]
        return text
