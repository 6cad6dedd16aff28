"""The order of messages by what they are: dates, sizes, addresses, subjects (RFC 5256 §3, RFC 5957 §4).

Each criterion becomes one column of numbers: those of the index as they are, texts by their rank among all
that are sorted. One stable sort by all columns gives the order; messages that are equal stay in that of the
mailbox. What is compared of a text was made when the message arrived (``mstore.mail.sortkeys``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from mstore.base import blocking
from mstore.mail.date import NO_DATE
from mstore.mail.sortkeys import CC, DISPLAY_FROM, DISPLAY_TO, FROM, TO
from mstore.mail.summary import ADDRESSES, BASE_SUBJECT

Array = np.ndarray[Any, np.dtype[Any]]
Key = Literal["arrival", "cc", "date", "from", "size", "subject", "to", "displayfrom", "displayto"]
WINDOW_ROWS = 5000
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
    def derived(self, rows: Array, slots: Sequence[int]) -> list[list[bytes]]: ...


def sort_rows(
    mailbox: Mailbox,
    rows: Array,
    criteria: Sequence[Criterion],
    pulse: Callable[[], None] = blocking.breathe,
) -> Array:
    """The places in ``rows``, which ascend, in the order of the criteria, the first of which counts most.

    ``pulse`` is called between windows of work; what it raises ends the sorting.
    """
    sorter = _Sorter(mailbox, rows, pulse)
    columns = [-sorter.column(c.key) if c.reverse else sorter.column(c.key) for c in criteria]
    return np.lexsort(columns[::-1])


def sent_dates(mailbox: Mailbox, rows: Array) -> Array:
    """The sent date of each row, and where it has none the internal date (RFC 5256 §2.2)."""
    full = mailbox.columns.full
    sent = full.sent_date[rows]
    dates: Array = np.where(sent == NO_DATE, full.internal_date[rows], sent)
    return dates


def read_slots(
    mailbox: Mailbox, rows: Array, slots: Sequence[int], pulse: Callable[[], None]
) -> list[list[bytes]]:
    """Derived texts of many rows, window by window."""
    found: list[list[bytes]] = [[] for _ in slots]
    for start in range(0, len(rows), WINDOW_ROWS):
        window = mailbox.derived(rows[start : start + WINDOW_ROWS], slots)
        for texts, more in zip(found, window, strict=True):
            texts += more
        pulse()
    return found


def rank(texts: list[bytes]) -> Array:
    """For each text how many different ones sort before it."""
    places = {text: place for place, text in enumerate(sorted(set(texts)))}
    return np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))


class _Sorter:
    """The columns of one sort; texts are read once for all criteria that need them."""

    def __init__(self, mailbox: Mailbox, rows: Array, pulse: Callable[[], None]) -> None:
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
            return rank(read_slots(self._mailbox, rows, (BASE_SUBJECT,), self._pulse)[0])
        if self._addresses is None:
            self._addresses = read_slots(self._mailbox, rows, (ADDRESSES,), self._pulse)[0]
        place = ADDRESS_PLACES[key]
        return rank([texts.split(b"\0")[place] for texts in self._addresses])
