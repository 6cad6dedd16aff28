"""Fields of the headers of many messages, cut out of what ``derived`` keeps of them (``mstore.mail.kept``).

All that is done for a single message is one slice for each run of neighbouring fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.files.blob import Window
from mstore.mail.summary import KEPT_FIELDS
from mstore.store import derived

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Picked:
    """The fields of each of many messages as they stand in its header, without the empty line."""

    pieces: list[list[bytes]]
    """The first pieces of all, the second pieces, and so on; whoever has no more has an empty one."""
    lengths: list[int]
    """Bytes of each, all pieces together."""
    absent: list[int]
    """The places, ascending, of those whose fields are not kept: to be picked from their headers."""


def read(mailbox: Mailbox, rows: Array, marks: bytes) -> Picked:
    """The fields of rows whose numbers are marked (``mail.kept.mark_numbers``).

    Blobs that are missing are computed and kept for the next time, their messages told to be absent.
    Raises: StorageFailed, Corrupt, Expunged.
    """
    rows = np.asarray(rows)
    pieces: list[list[bytes]] = []
    lengths = [-1] * len(rows)
    wanted = np.frombuffer(marks, np.bool_)

    def take(window: Window, good: Array, places: list[int]) -> None:
        if not places:
            return
        cut, cut_lengths = pick(*window.bounds(KEPT_FIELDS, good), wanted)
        derived.put_at(lengths, places, cut_lengths.tolist())
        for number, values in enumerate(cut):
            if number == len(pieces):
                pieces.append([b""] * len(rows))
            derived.put_at(pieces[number], places, values)

    lost = derived.take_sound(mailbox, rows, take)
    if len(lost):
        derived.read(mailbox, rows[np.sort(lost)], (KEPT_FIELDS,))
    absent = [place for place, length in enumerate(lengths) if length < 0] if -1 in lengths else []
    return Picked(pieces, lengths, absent)


def pick(data: bytes, starts: Array, ends: Array, wanted: Array) -> tuple[list[list[bytes]], Array]:
    """Fields out of the slots that lie at ``starts:ends`` in ``data``, ascending: pieces, and the length of
    each, -1 for an empty slot.
    """
    octets = np.frombuffer(data, np.uint8)
    filled = ends > starts
    counts = np.where(filled, octets[np.minimum(starts, len(data) - 1)], 0).astype(np.int64)
    total = int(counts.sum())
    # Of all fields of all slots, one behind the other, the place of the first of each slot.
    firsts = np.cumsum(counts) - counts
    numbers = octets[np.repeat(starts + 1 - firsts, counts) + np.arange(total)]
    chosen = np.flatnonzero(wanted[numbers])
    owners = np.repeat(np.arange(len(starts)), counts)[chosen]
    words = np.ndarray((len(data) - 1,), "<u2", data, 0, (1,))
    at = (starts + 1 + counts - 2 * firsts)[owners] + 2 * chosen
    base = starts[owners]
    begins, stops = words[at] + base, words[at + 2] + base
    lengths = np.bincount(owners, stops - begins, len(starts)).astype(np.int64)
    lengths[~filled] = -1
    return _cut(data, owners, begins, stops, len(starts)), lengths


def _cut(data: bytes, owners: Array, begins: Array, stops: Array, count: int) -> list[list[bytes]]:
    """The bytes of fields in columns, those that touch each other in one."""
    if not len(owners):
        return []
    apart = np.flatnonzero(begins[1:] != stops[:-1])
    first, last = np.concatenate([[0], apart + 1]), np.concatenate([apart, [-1]])
    owners, begins, stops = owners[first], begins[first], stops[last]
    runs = np.bincount(owners, minlength=count)
    ranks = np.arange(len(owners)) - (np.cumsum(runs) - runs)[owners]
    columns = []
    for rank in range(int(runs.max())):
        these = np.flatnonzero(ranks == rank)
        column_begins, column_stops = begins[these], stops[these]
        if len(these) < count:
            mine = owners[these]
            column_begins, column_stops = np.zeros(count, np.int64), np.zeros(count, np.int64)
            column_begins[mine], column_stops[mine] = begins[these], stops[these]
        columns.append(
            [
                data[begin:stop]
                for begin, stop in zip(column_begins.tolist(), column_stops.tolist(), strict=True)
            ]
        )
    return columns
