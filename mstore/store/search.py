"""Searching a mailbox: columns first, the derived texts next, header and message bytes last.

``find`` gives the positions in a view of the messages that match a tree of ``mstore.store.searchkeys``.
Each key is evaluated only for the messages that the cheaper keys beside it have left undecided. Keys on
columns are vector operations over all of them at once; From, To, Cc, Bcc and Subject are looked up in the
derived texts; other fields need the header, BODY and TEXT the message. What a key costs decides the order,
never the answer.

Other sessions may run between the windows of a long search, and the mailbox may change meanwhile: the answer
then holds for each message as it was when it was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mstore.base import blocking
from mstore.base.flags import FIRST_KEYWORD_BIT, TOMBSTONE
from mstore.mail.date import NO_DATE
from mstore.mail.summary import PARTS
from mstore.store import searchtext
from mstore.store.searchkeys import (
    All,
    Among,
    And,
    Column,
    Flag,
    Header,
    InternalDate,
    Keyword,
    Not,
    Or,
    Recent,
    SearchKey,
    SentDay,
    Seqs,
    Size,
    Text,
    Uids,
)
from mstore.store.searchtexts import rows_holding

if TYPE_CHECKING:
    from mstore.store.orders import Orders

Array = np.ndarray[Any, np.dtype[Any]]
DAY_S = 86_400
MESSAGE_WINDOW_ROWS = 100
SMALL_BYTES = 128 << 10
"""Messages up to this size are read many at once."""
FLAG_ROWS = 32_768
"""So many flags stay in the processor's cache, and cost no fresh memory."""
DERIVED_FIELDS = {b"from": 0, b"to": 1, b"cc": 2, b"bcc": 3, b"subject": 4}


class Mailbox(Protocol):
    """What a search reads of a mailbox."""

    @property
    def columns(self) -> Any: ...
    @property
    def keywords(self) -> Sequence[bytes]: ...
    @property
    def orders(self) -> Orders: ...
    def derived(self, rows: Array, slots: Sequence[int]) -> list[list[bytes]]: ...
    def derived_joined(self, rows: Array, slot: int, end: bytes) -> list[tuple[Array, bytes, Array]]: ...
    def read_many(self, rows: Array, header_only: bool) -> Iterable[list[bytes]]: ...
    def read(self, row: int, offset: int = 0, length: int | None = None) -> bytes: ...


class View(Protocol):
    """What a search reads of a session's view."""

    @property
    def rows(self) -> Array: ...
    @property
    def uids(self) -> Array: ...
    def recent_mask(self, rows: Array) -> Array: ...


def find(
    mailbox: Mailbox,
    view: View,
    key: SearchKey,
    pulse: Callable[[], None] = blocking.breathe,
    among: Array | None = None,
) -> Array:
    """Positions in the view (sequence number less one), ascending, of the messages that match.

    ``pulse`` is called between windows of work; what it raises ends the search. With ``among`` only these
    positions, which ascend, are looked at.
    """
    return _Search(mailbox, view, pulse).run(key, among)


def cost(key: SearchKey) -> int:
    """How dear a key is: 0 columns, 1 derived texts, 2 headers, 3 messages."""
    if isinstance(key, Not):
        return cost(key.key)
    if isinstance(key, And | Or):
        return max(map(cost, key.keys), default=0)
    if isinstance(key, Text):
        return 3
    if isinstance(key, Header):
        return 1 if key.text and key.name in DERIVED_FIELDS else 2
    return 0


_Range = tuple[str, int | None, int | None]
"""A column, and the range that its numbers are to be in."""


class _Plain(NamedTuple):
    """Which bits of the flags are asked for, how they are to be, and what of other columns besides."""

    mask: int
    value: int
    ranges: tuple[_Range, ...] = ()


def _range_of(key: InternalDate | Size | Column) -> _Range:
    if isinstance(key, InternalDate):
        return "internal_date", key.low_s, key.high_s
    return "size" if isinstance(key, Size) else key.name, key.low, key.high


class _Search:
    """One search: the columns of the view, and each kind of key evaluated for some positions of it."""

    def __init__(self, mailbox: Mailbox, view: View, pulse: Callable[[], None]) -> None:
        self._mailbox = mailbox
        self._view = view
        self._pulse = pulse
        self._rows = view.rows
        # Rows ascend: where the last is as far as there are rows before it, none is left out.
        self._plain = len(self._rows) > 0 and self._rows.item(-1) == len(self._rows) - 1
        self._keywords = {name.lower(): bit for bit, name in enumerate(mailbox.keywords, FIRST_KEYWORD_BIT)}

    def run(self, key: SearchKey, among: Array | None) -> Array:
        asked = self._as_plain(key) if among is None else None
        if asked is not None:
            return self._by_columns(asked)
        everything = np.arange(len(self._rows)) if among is None else among
        there = self._flags(everything, TOMBSTONE) == 0
        if not there.all():
            everything = everything[there]
        found = np.flatnonzero(self._match(key, everything))
        at: Array = found if len(everything) == len(self._rows) else everything[found]
        return at

    def _as_plain(self, key: SearchKey) -> _Plain | None:
        """What a key asks of columns, when that is bits of the flags and ranges; None when it is more."""
        if isinstance(key, Flag):
            return _Plain(key.mask, key.mask)
        if isinstance(key, Keyword) and key.name.lower() in self._keywords:
            bit = 1 << self._keywords[key.name.lower()]
            return _Plain(bit, bit)
        if isinstance(key, InternalDate | Size | Column):
            return _Plain(0, 0, (_range_of(key),))
        if isinstance(key, Not):
            found = self._as_plain(key.key)
            if found is None or found.ranges or found.mask.bit_count() != 1:
                return None
            return _Plain(found.mask, found.mask ^ found.value)
        if isinstance(key, And) and key.keys:
            mask = value = 0
            ranges: tuple[_Range, ...] = ()
            for part in map(self._as_plain, key.keys):
                if part is None or (part.value ^ value) & mask & part.mask:
                    return None
                mask, value, ranges = mask | part.mask, value | part.value, ranges + part.ranges
            return _Plain(mask, value, ranges)
        return None

    def _by_columns(self, asked: _Plain) -> Array:
        """The messages whose columns are so: what is asked most often, in one pass."""
        full, rows, found = self._mailbox.columns.full, self._rows, []
        wanted, both = np.uint64(asked.value), np.uint64(asked.mask | TOMBSTONE)
        columns = [(getattr(full, name), low, high) for name, low, high in asked.ranges]
        for start in range(0, len(rows), FLAG_ROWS):
            stop = min(start + FLAG_ROWS, len(rows))
            part = slice(start, stop) if self._plain else rows[start:stop]
            mask = np.equal(np.bitwise_and(full.flags[part], both), wanted)
            for column, low, high in columns:
                mask &= _within(column[part], low, high)
            hits = np.flatnonzero(mask)
            found.append(hits + start if start else hits)
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _column(self, name: str, at: Array) -> Array:
        column: Array = getattr(self._mailbox.columns.full, name)
        if len(at) != len(self._rows):
            return column[self._rows[at]]
        return column[: len(at)] if self._plain else column[self._rows]

    def _flags(self, at: Array, mask: int) -> Array:
        """The bits of the mask that each message has."""
        return np.bitwise_and(self._column("flags", at), np.uint64(mask))

    def _match(self, key: SearchKey, at: Array) -> Array:
        """A mask over the positions ``at``: which of them match."""
        if not len(at):
            return np.zeros(0, bool)
        if isinstance(key, Not):
            return ~self._match(key.key, at)
        if isinstance(key, And):
            return self._fold(key.keys, at, until=False)
        if isinstance(key, Or):
            return self._fold(key.keys, at, until=True)
        if isinstance(key, Header):
            position = DERIVED_FIELDS.get(key.name)
            if position is None or not key.text:
                return self._in_headers(key, at)
            return self._in_derived(position, key.text, at)
        if isinstance(key, Text):
            return self._in_messages([key], at, until=True)
        return self._in_columns(key, at)

    def _fold(self, keys: Sequence[SearchKey], at: Array, until: bool) -> Array:
        """A conjunction (``until`` false) or disjunction (true): cheap keys first, each for the undecided."""
        found = np.full(len(at), not until)
        open_ = np.arange(len(at))
        ordered = sorted(keys, key=cost)
        texts = [key for key in ordered if isinstance(key, Text)]
        others: list[SearchKey | None] = [key for key in ordered if not isinstance(key, Text)]
        for key in [*others, None] if texts else others:
            undecided = at if len(open_) == len(at) else at[open_]
            mask = self._in_messages(texts, undecided, until) if key is None else self._match(key, undecided)
            decided = mask if until else ~mask
            found[open_[decided]] = until
            open_ = open_[~decided]
            if not len(open_):
                break
        return found

    def _in_columns(self, key: SearchKey, at: Array) -> Array:
        if isinstance(key, Flag):
            return np.equal(self._flags(at, key.mask), np.uint64(key.mask))
        if isinstance(key, InternalDate | Size | Column):
            name, low, high = _range_of(key)
            return _within(self._column(name, at), low, high)
        if isinstance(key, SentDay):
            return self._sent(key, at)
        if isinstance(key, Recent):
            return self._view.recent_mask(self._rows[at])
        if isinstance(key, Keyword):
            bit = self._keywords.get(key.name.lower())
            if bit is None:
                return np.zeros(len(at), bool)
            return np.not_equal(self._flags(at, 1 << bit), 0)
        if isinstance(key, Seqs | Uids):
            chosen = np.zeros(len(self._rows), bool)
            if isinstance(key, Uids):
                chosen[key.numbers.positions(self._view.uids)] = True
            else:
                chosen[key.numbers.numbers(len(self._rows)) - 1] = True
            return chosen[at]
        if isinstance(key, Among):
            return np.isin(self._view.uids[at], key.uids, assume_unique=True)
        assert isinstance(key, All)
        return np.ones(len(at), bool)

    def _sent(self, key: SentDay, at: Array) -> Array:
        """By the day that the Date field names in its own zone (RFC 3501 §6.4.4 "disregarding time")."""
        sent = self._column("sent_date", at)
        written = sent + self._column("sent_zone", at)
        found = _within(written, _midnight(key.low), _midnight(key.high))
        found &= sent != NO_DATE
        return found

    def _in_derived(self, position: int, text: str, at: Array) -> Array:
        """Whether one of the five derived texts contains the text."""
        needle = text.encode("utf-8", "surrogatepass")
        if b"\0" in needle:
            return np.zeros(len(at), bool)
        rows = self._rows[at]
        return rows_holding(self._mailbox, rows, position, needle, len(self._rows), self._pulse)

    def _in_headers(self, key: Header, at: Array) -> Array:
        matches = searchtext.header_matcher(key.name, key.text)
        found: list[bool] = []
        for headers in self._headers(at):
            found += map(matches, headers)
        return np.array(found, bool)

    def _headers(self, at: Array) -> Iterable[list[bytes]]:
        for headers in self._mailbox.read_many(self._rows[at], header_only=True):
            yield headers
            self._pulse()

    def _in_messages(self, keys: Sequence[Text], at: Array, until: bool) -> Array:
        """Whether any (``until`` true) or all of the texts are in each message, each message read once."""
        mailbox = self._mailbox
        combine = any if until else all
        needles = [(searchtext.Needle(key.text), key.with_header) for key in keys]
        sizes = self._column("size", at)
        small = sizes <= SMALL_BYTES
        rows = self._rows[at]
        found: list[bool] = []
        for start in range(0, len(at), MESSAGE_WINDOW_ROWS):
            window = slice(start, start + MESSAGE_WINDOW_ROWS)
            structures = mailbox.derived(rows[window], (PARTS,))[0]
            contents = chain.from_iterable(mailbox.read_many(rows[window][small[window]], header_only=False))
            each = zip(rows[window].tolist(), sizes[window].tolist(), structures, strict=True)
            for row, size, parts in each:
                whole = next(contents) if size <= SMALL_BYTES else None
                message = searchtext.Message(size, parts, partial(mailbox.read, row), whole)
                found.append(combine(message.contains(*needle) for needle in needles))
                self._pulse()
        return np.array(found, bool)


def _midnight(day: int | None) -> int | None:
    return None if day is None else day * DAY_S


def _within(values: Array, low: int | None, high: int | None) -> Array:
    if low is None:
        return np.ones(len(values), bool) if high is None else values < high
    found: Array = values >= low
    if high is not None:
        found &= values < high
    return found
