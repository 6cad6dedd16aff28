"""The order of messages by what they are: dates, sizes, addresses, subjects (RFC 5256 §3, RFC 5957 §4).

Each criterion becomes one column of numbers: those of the index as they are, texts by their ranks, which are
kept (``mstore.store.ranks``). One stable sort by all columns gives the order; messages that are equal stay in
that of the mailbox. What is compared of a text was made when the message arrived (``mstore.mail.sortkeys``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from mstore.base import blocking
from mstore.mail.date import NO_DATE
from mstore.mail.sortkeys import CC, DISPLAY_FROM, DISPLAY_TO, FROM, TO
from mstore.mail.summary import ADDRESSES, BASE_SUBJECT
from mstore.store.ranks import ranks_of

if TYPE_CHECKING:
    from mstore.store.orders import Orders

Array = np.ndarray[Any, np.dtype[Any]]
Key = Literal["arrival", "cc", "date", "from", "size", "subject", "to", "displayfrom", "displayto"]
Pulse = Callable[[], None]
WINDOW_ROWS = 5000
NARROW = 1 << 16
ADDRESS_PLACES = {"from": FROM, "to": TO, "cc": CC, "displayfrom": DISPLAY_FROM, "displayto": DISPLAY_TO}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to sort by, ascending unless reversed."""

    key: Key
    reverse: bool = False


class Mailbox(Protocol):
    """What is read of a mailbox."""

    @property
    def columns(self) -> Any: ...
    @property
    def orders(self) -> Orders: ...
    def derived(self, rows: Array, slots: Sequence[int]) -> list[list[bytes]]: ...


def sort_rows(
    mailbox: Mailbox,
    rows: Array,
    criteria: Sequence[Criterion],
    pulse: Pulse = blocking.breathe,
) -> Array:
    """The places in ``rows``, which ascend, in the order of the criteria, the first of which counts most.

    ``pulse`` is called between windows of work; what it raises ends the sorting.
    """
    sorter = _Sorter(mailbox, rows, pulse)
    columns = [-sorter.column(c.key) if c.reverse else sorter.column(c.key) for c in criteria]
    return np.lexsort([_narrowed(column) for column in reversed(columns)])


def sent_dates(mailbox: Mailbox, rows: Array) -> Array:
    """The sent date of each row, and where it has none the internal date (RFC 5256 §2.2)."""
    full = mailbox.columns.full
    sent = full.sent_date[rows]
    dates: Array = np.where(sent == NO_DATE, full.internal_date[rows], sent)
    return dates


def read_slots(mailbox: Mailbox, rows: Array, slots: Sequence[int], pulse: Pulse) -> list[list[bytes]]:
    """Derived texts of many rows, window by window."""
    found: list[list[bytes]] = [[] for _ in slots]
    for start in range(0, len(rows), WINDOW_ROWS):
        window = mailbox.derived(rows[start : start + WINDOW_ROWS], slots)
        for texts, more in zip(found, window, strict=True):
            texts += more
        pulse()
    return found


def subject_ranks(mailbox: Mailbox, rows: Array, pulse: Pulse) -> Array:
    """The rank of each base subject; 0 is that of an empty one."""
    return ranks_of(
        mailbox, rows, "subject", lambda some: read_slots(mailbox, some, (BASE_SUBJECT,), pulse)[0]
    )


def _narrowed(column: Array) -> Array:
    """The same order in numbers of 16 bits where these suffice: they are sorted in a tenth of the time."""
    if not len(column):
        return column
    low = column.min()
    return (column - low).astype(np.uint16) if int(column.max()) - int(low) < NARROW else column


class _Sorter:
    """The columns of one sort; texts are read once for all criteria that need them."""

    def __init__(self, mailbox: Mailbox, rows: Array, pulse: Pulse) -> None:
        self._mailbox = mailbox
        self._rows = rows
        self._pulse = pulse
        self._addresses: list[bytes] | None = None

    def column(self, key: Key) -> Array:
        full, rows = self._mailbox.columns.full, self._rows
        if key == "arrival":
            arrival: Array = full.internal_date[rows]
            return arrival
        if key == "date":
            return sent_dates(self._mailbox, rows)
        if key == "size":
            size: Array = full.size[rows].astype(np.int64)
            return size
        if key == "subject":
            return subject_ranks(self._mailbox, rows, self._pulse)
        place = ADDRESS_PLACES[key]
        return ranks_of(
            self._mailbox, rows, key, lambda some: [t.split(b"\0")[place] for t in self._read_addresses(some)]
        )

    def _read_addresses(self, rows: Array) -> list[bytes]:
        if rows is not self._rows:
            return read_slots(self._mailbox, rows, (ADDRESSES,), self._pulse)[0]
        if self._addresses is None:
            self._addresses = read_slots(self._mailbox, rows, (ADDRESSES,), self._pulse)[0]
        return self._addresses
