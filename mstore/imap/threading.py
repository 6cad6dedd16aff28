"""The threads of a mailbox as they were told the last time: told again, or changed where mail came or went.

Nothing that threads are made of changes while a message exists. Messages that no id and no subject binds
together, however far one goes, never share a thread, nor change each other's: where few have come or gone,
what is bound to them is threaded anew, and put among the other threads by its date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mstore.files.column import rows_in_ranges
from mstore.imap.render.threads import Outline, outline
from mstore.store.links import kept_links, links_of
from mstore.store.sort import Mailbox, Pulse
from mstore.store.thread import thread_links, thread_places, thread_rows

Array = np.ndarray[Any, np.dtype[Any]]
WORTH = 8
"""Where so many times as many stay as they were, the others are threaded by themselves."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was told of some rows; the nodes are places in them."""

    rows: Array
    threads: Outline


def threads_of(mailbox: Mailbox, rows: Array, algorithm: str, pulse: Pulse) -> Outline:
    """The threads of the messages in ``rows``, which ascend, by ``references``, ``refs`` or
    ``orderedsubject``. ``pulse`` is called between pieces of work."""
    name = "threads by " + algorithm
    kept: _Kept | None = mailbox.orders.get(name)
    if kept is not None and np.array_equal(kept.rows, rows):
        return kept.threads
    threads = None
    if kept is not None and algorithm != "orderedsubject":
        threads = _changed(mailbox, kept, rows, algorithm, pulse)
    if threads is None:
        threads = outline(thread_rows(mailbox, rows, algorithm, pulse))
    mailbox.orders.keep(name, _Kept(rows, threads), rows.nbytes + threads.size_bytes)
    return threads


def _changed(mailbox: Mailbox, kept: _Kept, rows: Array, algorithm: str, pulse: Pulse) -> Outline | None:
    """The threads of ``rows`` from those of rows that are mostly the same; None when that is not worth it."""
    before = kept.rows
    new = np.setdiff1d(rows, before, assume_unique=True)
    gone = np.setdiff1d(before, rows, assume_unique=True) if len(before) + len(new) != len(rows) else rows[:0]
    most = len(rows) // WORTH
    if not len(before) or len(new) + len(gone) > most:
        return None
    known = kept_links(mailbox) if len(gone) else None
    links = links_of(mailbox, rows, pulse)
    if len(gone):
        # By what is gone others were bound together.
        if known is None or not np.isin(gone, known.rows).all():
            return None
        links = links.and_then(known.take(np.flatnonzero(np.isin(known.rows, gone))))
    places = links.related(np.flatnonzero(np.isin(links.rows, np.concatenate((new, gone)))), most)
    pulse()
    if places is None:
        return None
    touched = np.isin(before[kept.threads.nodes], links.rows[places])
    stays = ~np.logical_or.reduceat(touched, kept.threads.starts[0])
    places = places[places < len(rows)]
    anew = outline(thread_links(mailbox, links.take(places), algorithm, pulse))
    old = _Pieces.of(kept.threads, _places_in(rows, before)).take(stays)
    return _joined(mailbox, rows, old, _Pieces.of(anew, places), algorithm)


def _places_in(rows: Array, some: Array) -> Array:
    """Where some rows stand in ``rows``, which ascend; anything for those that do not."""
    if np.array_equal(rows[: len(some)], some):
        return np.arange(len(some))
    places: Array = rows.searchsorted(some)
    return places


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Threads one by one: their texts lie where they begin and end, their nodes behind one another."""

    text: str
    begins: Array
    ends: Array
    nodes: Array
    sizes: Array
    """How many nodes each has."""

    @classmethod
    def of(cls, threads: Outline, places: Array) -> _Pieces:
        """The threads of an outline, of which the nodes stand at these places."""
        starts, begins = threads.starts
        ends = np.append(begins[1:], len(threads.text)) if len(begins) else begins
        return cls(
            threads.text, begins, ends, places[threads.nodes], np.diff(starts, append=len(threads.nodes))
        )

    def take(self, chosen: Array) -> _Pieces:
        """Those of a mask."""
        nodes = self.nodes[np.repeat(chosen, self.sizes)]
        return _Pieces(self.text, self.begins[chosen], self.ends[chosen], nodes, self.sizes[chosen])


def _joined(mailbox: Mailbox, rows: Array, some: _Pieces, others: _Pieces, algorithm: str) -> Outline:
    """All of these threads of ``rows``, in order."""
    text, shift = some.text + others.text, len(some.text)
    begins = np.concatenate((some.begins, others.begins + shift))
    ends = np.concatenate((some.ends, others.ends + shift))
    nodes = np.concatenate((some.nodes, others.nodes))
    sizes = np.concatenate((some.sizes, others.sizes))
    starts = np.cumsum(sizes) - sizes
    order = thread_places(mailbox, rows, nodes, starts, algorithm)
    nodes = nodes[rows_in_ranges(starts[order], (starts + sizes)[order])]
    begins, ends = begins[order], ends[order]
    # Most stay behind one another.
    breaks = np.flatnonzero(begins[1:] != ends[:-1])
    firsts = begins[np.concatenate(([0], breaks + 1))].tolist()
    lasts = ends[np.concatenate((breaks, [len(ends) - 1]))].tolist()
    pieces = [text[first:last] for first, last in zip(firsts, lasts, strict=True)]
    return Outline(nodes.astype(np.int32), "".join(pieces))
