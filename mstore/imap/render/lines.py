"""FETCH responses of what stands in columns: sequence number, UID, MODSEQ, FLAGS, dates, sizes, ids.

``Lines`` is made once per command from the items asked; it then turns any number of rows into response lines
or into the beginnings of lines, window by window, many of them without a Python statement per message. The
order of items in a response is the server's to choose (RFC 3501 §7.4.2): columns come first, whatever the
client's order.
``format_lines`` is the same for the few items of STORE and of changes made by others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from mstore.base.flags import FIRST_KEYWORD_BIT, SYSTEM_FLAGS, USER_BITS
from mstore.imap.render.columns import (
    DATE_TIME_TEMPLATE,
    decimal_groups,
    format_date_time,
    format_date_times,
    format_decimals,
)

Array = np.ndarray[Any, np.dtype[Any]]
WINDOW_ROWS = 4096
FEW_ROWS = 64
"""So many are told one by one for less than by vectors."""
WIDEST_FLAGS = 256
RECENT_BIT = 5
SMALL_KEYS = 64
COLUMN_ITEMS: Mapping[bytes, bytes] = MappingProxyType(
    {
        b"UID": b"UID %d",
        b"MODSEQ": b"MODSEQ (%d)",
        b"FLAGS": b"FLAGS (%b)",
        b"INTERNALDATE": b'INTERNALDATE "%b"',
        b"SAVEDATE": b'SAVEDATE "%b"',
        b"RFC822.SIZE": b"RFC822.SIZE %d",
        b"EMAILID": b"EMAILID (%b)",
        b"THREADID": b"THREADID %b",
    }
)
"""The items in the order in which they are told, and the form of each for a single row."""
NO_THREAD = b"NIL"
"""Messages are not grouped here (RFC 8474 §5.2)."""


def format_email_id(number: int) -> bytes:
    """An EMAILID (RFC 8474 §5.1)."""
    return b"M%016x" % number


class Arrays(Protocol):
    """The arrays that lines are made of."""

    @property
    def uid(self) -> Array: ...
    @property
    def modseq(self) -> Array: ...
    @property
    def flags(self) -> Array: ...
    @property
    def internal_date(self) -> Array: ...
    @property
    def save_date(self) -> Array: ...
    @property
    def size(self) -> Array: ...
    @property
    def email_id(self) -> Array: ...


class Columns(Protocol):
    """The columns of a mailbox; ``full`` changes when they grow, so it is never kept."""

    @property
    def full(self) -> Arrays: ...


class Mailbox(Protocol):
    """What lines are made of."""

    @property
    def columns(self) -> Columns: ...
    @property
    def keywords(self) -> Sequence[bytes]: ...


class View(Protocol):
    """Which messages are \\Recent for the session: none with a UID below ``recent_from``, others by mask."""

    @property
    def recent_from(self) -> int: ...
    def is_recent(self, uid: int) -> bool: ...
    def recent_mask(self, rows: Array) -> Array: ...


class FlagTexts(dict[int, bytes]):
    """Flag words as the inside of a flag list; bit 5 stands for \\Recent. Each word is spelled out once."""

    def __init__(self, keywords: Sequence[bytes]) -> None:
        super().__init__()
        # Those of now: one that is defined while an answer is being sent has not been announced.
        self._keywords = tuple(keywords)

    def __missing__(self, word: int) -> bytes:
        names = [name for bit, name in enumerate(SYSTEM_FLAGS) if word >> bit & 1]
        if word >> RECENT_BIT & 1:
            names.append(b"\\Recent")
        rest = word >> FIRST_KEYWORD_BIT
        names += [name for bit, name in enumerate(self._keywords) if rest >> bit & 1]
        text = self[word] = b" ".join(names)
        return text


@lru_cache(maxsize=256)
def _form(items: tuple[bytes, ...], uid_only: bool) -> tuple[tuple[bytes, ...], bytes]:
    """The items in their order, and the beginning of a single row's line, where their values go."""
    ordered = tuple(name for name in COLUMN_ITEMS if name in items)
    head = b"* %d UIDFETCH (" if uid_only else b"* %d FETCH ("
    return ordered, head + b" ".join([COLUMN_ITEMS[name] for name in ordered])


class Lines:
    """The items of one command that come from columns, ready to be written for any rows.

    With ``uid_only`` they are UIDFETCH responses, told by UID (RFC 9586 §3.3).
    """

    def __init__(self, items: Sequence[bytes], mailbox: Mailbox, view: View, uid_only: bool = False) -> None:
        self._items, self._form = _form(tuple(items), uid_only)
        self._mailbox = mailbox
        self._view = view
        self._uid_only = uid_only
        self._texts = FlagTexts(mailbox.keywords if b"FLAGS" in self._items else ())

    @property
    def empty(self) -> bool:
        """Whether no item comes from a column, so that a line begins with its parenthesis alone."""
        return not self._items

    def with_items(self, *items: bytes) -> Lines:
        """The same lines, telling these items as well."""
        if set(items).issubset(self._items):
            return self
        return Lines((*self._items, *items), self._mailbox, self._view, self._uid_only)

    def whole(self, seqs: Array, rows: Array) -> Iterator[bytes]:
        """Complete response lines, in pieces of some thousand rows."""
        for start in range(0, len(rows), WINDOW_ROWS):
            window = slice(start, start + WINDOW_ROWS)
            if len(rows) - start <= FEW_ROWS:
                yield b"".join([b + b")\r\n" for b in self._few(seqs[window], rows[window])])
            else:
                yield self._vector(seqs[window], rows[window], b")\r\n")

    def beginnings(self, seqs: Array, rows: Array) -> list[bytes]:
        """For each row the beginning of its line, up to where further items go, before the space."""
        if len(rows) <= FEW_ROWS:
            return self._few(seqs, rows)
        return self._vector(seqs, rows, b"\n").split(b"\n")[:-1]

    def _few(self, seqs: Array, rows: Array) -> list[bytes]:
        """The beginnings, one by one: cheaper than a vector of few."""
        arrays = self._mailbox.columns.full
        uids = arrays.uid[rows]
        columns: list[Iterable[Any]] = [(uids if self._uid_only else seqs).tolist()]
        for name in self._items:
            if name == b"UID":
                columns.append(uids.tolist())
            elif name == b"FLAGS":
                keys = self._flag_keys(arrays.flags[rows], uids, rows)
                columns.append(map(self._texts.__getitem__, keys.tolist()))
            elif name == b"MODSEQ":
                columns.append(arrays.modseq[rows].tolist())
            elif name in (b"INTERNALDATE", b"SAVEDATE"):
                dates = arrays.internal_date if name == b"INTERNALDATE" else arrays.save_date
                columns.append(map(format_date_time, dates[rows].tolist()))
            elif name == b"EMAILID":
                columns.append(map(format_email_id, arrays.email_id[rows].tolist()))
            elif name == b"THREADID":
                columns.append(repeat(NO_THREAD, len(rows)))
            else:
                columns.append(arrays.size[rows].tolist())
        form = self._form
        return [form % values for values in zip(*columns, strict=True)]

    def one(self, seq: int, row: int) -> bytes:
        """The beginning of the line of a single row; cheaper than columns of one."""
        arrays = self._mailbox.columns.full
        uid = arrays.uid.item(row)
        values: list[Any] = [uid if self._uid_only else seq]
        for name in self._items:
            if name == b"UID":
                values.append(uid)
            elif name == b"FLAGS":
                word = arrays.flags.item(row) & USER_BITS
                if self._view.is_recent(uid):
                    word |= 1 << RECENT_BIT
                values.append(self._texts[word])
            elif name == b"MODSEQ":
                values.append(arrays.modseq.item(row))
            elif name == b"INTERNALDATE":
                values.append(format_date_time(arrays.internal_date.item(row)))
            elif name == b"SAVEDATE":
                values.append(format_date_time(arrays.save_date.item(row)))
            elif name == b"EMAILID":
                values.append(format_email_id(arrays.email_id.item(row)))
            elif name == b"THREADID":
                values.append(NO_THREAD)
            else:
                values.append(arrays.size.item(row))
        return self._form % tuple(values)

    def _vector(self, seqs: Array, rows: Array, ending: bytes) -> bytes:
        arrays = self._mailbox.columns.full
        uids = arrays.uid[rows]
        layout = _Layout()
        layout.text(b"* ")
        layout.number(uids if self._uid_only else seqs)
        layout.text(b" UIDFETCH (" if self._uid_only else b" FETCH (")
        for position, name in enumerate(self._items):
            layout.text(b" " + name + b" " if position else name + b" ")
            if name == b"UID":
                layout.number(uids)
            elif name == b"FLAGS":
                texts = self._flag_texts(arrays.flags[rows], uids, rows)
                if texts.dtype.itemsize > WIDEST_FLAGS and len(rows) > 1:
                    half = len(rows) // 2
                    first = self._vector(seqs[:half], rows[:half], ending)
                    return first + self._vector(seqs[half:], rows[half:], ending)
                layout.text(b"(")
                layout.field(texts)
                layout.text(b")")
            elif name == b"MODSEQ":
                layout.text(b"(")
                layout.number(arrays.modseq[rows].astype(np.int64))
                layout.text(b")")
            elif name in (b"INTERNALDATE", b"SAVEDATE"):
                dates = arrays.internal_date if name == b"INTERNALDATE" else arrays.save_date
                layout.text(b'"')
                layout.field(format_date_times(dates[rows]), DATE_TIME_TEMPLATE)
                layout.text(b'"')
            elif name == b"EMAILID":
                digits = arrays.email_id[rows].astype(">u8").tobytes().hex().encode()
                layout.text(b"(M")
                layout.field(np.frombuffer(digits, "S16"))
                layout.text(b")")
            elif name == b"THREADID":
                layout.text(b"NIL")
            else:
                layout.number(arrays.size[rows])
        layout.text(ending)
        return layout.join(len(rows))

    def _flag_keys(self, words: Array, uids: Array, rows: Array) -> Array:
        """What stands for the flag list of each row in ``FlagTexts``."""
        keys: Array = words & np.uint64(USER_BITS)
        if uids.item(-1) >= self._view.recent_from:
            keys |= self._view.recent_mask(rows).astype(np.uint64) << np.uint64(RECENT_BIT)
        return keys

    def _flag_texts(self, words: Array, uids: Array, rows: Array) -> Array:
        """The flag list of each row, as an array of padded texts."""
        keys, texts = self._flag_keys(words, uids, rows), self._texts
        if int(np.bitwise_or.reduce(keys)) < SMALL_KEYS:
            small = keys.astype(np.intp)
            there = np.bincount(small, minlength=SMALL_KEYS).tolist()
            table = np.array([texts[key] if count else b"" for key, count in enumerate(there)], dtype="S")
        else:
            different, small = np.unique(keys, return_inverse=True)
            table = np.array([texts[key] for key in different.tolist()], dtype="S")
        told: Array = table.take(small)
        return told


class _Layout:
    """One line as constants and padded fields at fixed places; written for all rows at once."""

    __slots__ = ("_fields", "_template")

    def __init__(self) -> None:
        self._template = bytearray()
        self._fields: list[tuple[int, Array]] = []

    def text(self, text: bytes) -> None:
        self._template += text

    def field(self, values: Array, filler: bytes = b"") -> None:
        self._fields.append((len(self._template), values))
        self._template += filler or bytes(values.dtype.itemsize)

    def number(self, values: Array) -> None:
        for part in format_decimals(values, decimal_groups(int(values.max()))):
            self.field(part)

    def join(self, count: int) -> bytes:
        width = len(self._template)
        lines = bytearray(bytes(self._template) * count)
        names = [f"f{position}" for position in range(len(self._fields))]
        places = np.dtype(
            {
                "names": names,
                "formats": [values.dtype for _, values in self._fields],
                "offsets": [offset for offset, _ in self._fields],
                "itemsize": width,
            }
        )
        table = np.frombuffer(lines, dtype=places)
        for name, (_, values) in zip(names, self._fields, strict=True):
            table[name] = values
        del table
        return bytes(lines.translate(None, b"\0"))


def format_lines(
    mailbox: Mailbox, view: View, seqs: Array, rows: Array, *items: bytes, uid_only: bool = False
) -> Iterator[bytes]:
    """Untagged FETCH or UIDFETCH responses with these items of rows."""
    return Lines(items, mailbox, view, uid_only).whole(seqs, rows)
