"""The derived texts that FROM, TO, CC, BCC and SUBJECT are looked for in, kept for a mailbox.

They are read of each message once, as long as they are kept (``mstore.store.orders``). Those of many messages
stand one behind the other and are searched as one: what is found is few, and looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mstore.mail.summary import SEARCH
from mstore.store.orders import most_bytes

if TYPE_CHECKING:
    from mstore.store.orders import Orders

Array = np.ndarray[Any, np.dtype[Any]]
NAME = "search texts"
WINDOW_ROWS = 2000
WORTH = 8
"""Where so many times as many are kept, those that are asked for are read alone."""
_END = b"\xff"  # occurs in no UTF-8
_BETWEEN = b"\0"


class Mailbox(Protocol):
    """What is read of a mailbox."""

    @property
    def orders(self) -> Orders: ...
    def derived_joined(self, rows: Array, slot: int, end: bytes) -> list[tuple[Array, bytes, Array]]: ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """The texts of some messages, one behind the other."""

    rows: Array
    text: bytes
    starts: Array
    """Where the text of each row begins in ``text``."""

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""
        return self.rows.nbytes + len(self.text) + self.starts.nbytes

    def holding(self, position: int, needle: bytes) -> Array:
        """The rows whose field at this position contains the needle, which is not empty."""
        text, found = self.text, list[int]()
        at = text.find(needle)
        while at >= 0:
            start = text.rfind(_END, 0, at) + 1
            field = text.count(_BETWEEN, start, at)
            if field == position:
                found.append(start)
            # Behind a field that stands before the one that is asked for, it may be found again in that one.
            at = text.find(needle, text.find(_BETWEEN if field < position else _END, at))
        rows: Array = self.rows[self.starts.searchsorted(found)]
        return rows

    def and_then(self, other: Stretch) -> Stretch:
        """This, and another behind it."""
        return Stretch(
            np.concatenate((self.rows, other.rows)),
            self.text + other.text,
            np.concatenate((self.starts, other.starts + np.int32(len(self.text)))),
        )


def rows_holding(
    mailbox: Mailbox, rows: Array, position: int, needle: bytes, live: int, pulse: Callable[[], None]
) -> Array:
    """A mask over ``rows``: whose field at this position of the search texts contains the needle.

    The needle is not empty, and has no zero byte. ``live`` messages are not expunged: where far more are
    kept, those asked for are kept alone. ``pulse`` is called between pieces of work.
    """
    found = [rows[:0]]
    for stretch in _stretches(mailbox, rows, live):
        found.append(stretch.holding(position, needle))
        pulse()
    mask: Array = np.isin(rows, np.concatenate(found))
    return mask


def _stretches(mailbox: Mailbox, rows: Array, live: int) -> Iterator[Stretch]:
    """The texts of ``rows``, and maybe of others; kept at the end, unless they are too many."""
    kept: list[Stretch] = mailbox.orders.get(NAME) or []
    known = np.concatenate([stretch.rows for stretch in kept]) if kept else rows[:0]
    if len(known) > 2 * live:
        kept, known = [], rows[:0]
    if len(rows) * WORTH < len(known):
        yield from _read(mailbox, rows)
        return
    yield from kept
    if np.array_equal(known, rows):
        return
    missing = np.setdiff1d(rows, known) if len(known) else rows
    if not len(missing):
        return
    whole, size_bytes = [*kept], sum(stretch.size_bytes for stretch in kept)
    for stretch in _read(mailbox, missing):
        size_bytes += stretch.size_bytes
        if size_bytes <= most_bytes():
            _add(whole, stretch)
        else:
            whole.clear()
        yield stretch
    mailbox.orders.keep(NAME, whole, size_bytes)


def _read(mailbox: Mailbox, rows: Array) -> Iterator[Stretch]:
    for start in range(0, len(rows), WINDOW_ROWS):
        for some, text, starts in mailbox.derived_joined(rows[start : start + WINDOW_ROWS], SEARCH, _END):
            yield Stretch(some, text, starts.astype(np.int32))


def _add(stretches: list[Stretch], stretch: Stretch) -> None:
    """Put a stretch behind the others; short ones become one, so that they do not become many."""
    if stretches and len(stretches[-1].rows) + len(stretch.rows) <= WINDOW_ROWS:
        stretches[-1] = stretches[-1].and_then(stretch)
    else:
        stretches.append(stretch)
