"""RETURN (…): which results of a search a client wants (RFC 4466 §2.6, RFC 4731, 5182, 5267 and 9394).

What it asks for decides what the answer tells, and also what ``$`` stands for afterwards: ``pick`` gives the
places of those messages among all that were found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import FetchItem, parse_fetch_list

Array = np.ndarray[Any, np.dtype[Any]]
WORDS = frozenset((b"MIN", b"MAX", b"ALL", b"COUNT", b"SAVE", b"CONTEXT", b"UPDATE", b"PARTIAL"))
TELLING = frozenset((b"MIN", b"MAX", b"ALL", b"COUNT", b"PARTIAL"))


@dataclass(frozen=True, slots=True)
class PartialRange:
    """Some of the results, counted from 1; from the last one back where ``from_end`` (RFC 9394 §3.1)."""

    first: int
    last: int
    from_end: bool = False

    def cut(self, count: int) -> slice:
        """The places among so many results."""
        low, high = min(self.first, self.last), max(self.first, self.last)
        if self.from_end:
            return slice(max(count - high, 0), max(count - low + 1, 0))
        return slice(low - 1, high)

    def format(self) -> bytes:
        """The range as it is told, the lower number first: 4:2 is the same as 2:4 (RFC 9394 §3.1)."""
        low, high = min(self.first, self.last), max(self.first, self.last)
        return (b"-%d:-%d" if self.from_end else b"%d:%d") % (low, high)


def parse_partial_range(cursor: Cursor) -> PartialRange:
    """``1:500``, or ``-1:-100`` (RFC 9394 §4 "partial-range")."""
    from_end = cursor.take(b"-")
    first = cursor.nz_number()
    cursor.expect(b":-" if from_end else b":")
    return PartialRange(first, cursor.nz_number(), from_end)


@dataclass(frozen=True, slots=True)
class ReturnOptions:
    """The words of one RETURN, and the range of PARTIAL."""

    words: frozenset[bytes]
    partial: PartialRange | None = None
    items: tuple[FetchItem, ...] = ()
    """What UPDATE wants to be sent of new messages (RFC 5465 §7)."""

    @property
    def saves(self) -> bool:
        """Whether ``$`` is set (RFC 5182)."""
        return b"SAVE" in self.words

    @property
    def updates(self) -> bool:
        """Whether changes of the results are to be told (RFC 5267 §4.3)."""
        return b"UPDATE" in self.words

    @property
    def tells(self) -> bool:
        """Whether there is an answer at all: SAVE alone asks for none (RFC 5182 §2.2)."""
        return not TELLING.isdisjoint(self.words)

    def pick(self, count: int) -> Array:
        """The places, of so many results, of those that SAVE saves (RFC 5182 §2.4, RFC 9394 §3.2)."""
        words = self.words
        some = words & {b"MIN", b"MAX", b"PARTIAL"}
        if not some or b"ALL" in words or b"COUNT" in words:
            return np.arange(count)
        chosen = np.zeros(count, bool)
        if self.partial is not None:
            chosen[self.partial.cut(count)] = True
        if count and b"MIN" in words:
            chosen[0] = True
        if count and b"MAX" in words:
            chosen[-1] = True
        return np.flatnonzero(chosen)


ALL = ReturnOptions(frozenset((b"ALL",)))


def parse_return(cursor: Cursor) -> ReturnOptions | None:
    """Read ``RETURN (…)`` and the space behind it; None when something else comes next.

    Without a word that asks for an answer ALL is meant (RFC 4731 §3.1).
    Raises: Bad for a word that is not known or stands there twice, or PARTIAL beside ALL.
    """
    if not cursor.take(b"RETURN "):
        return None
    words: set[bytes] = set()
    partial = None
    items: tuple[FetchItem, ...] = ()
    cursor.expect(b"(")
    while not cursor.take(b")"):
        if words:
            cursor.space()
        word = cursor.word()
        if word not in WORDS or word in words:
            raise Bad("Unknown result option, or the same one twice")
        words.add(word)
        if word == b"UPDATE" and (cursor.take(b" (") or cursor.take(b"(")):
            items = parse_fetch_list(cursor)
        if word == b"PARTIAL":
            cursor.space()
            partial = parse_partial_range(cursor)
    if partial is not None and b"ALL" in words:
        raise Bad("PARTIAL and ALL exclude each other")
    if words.isdisjoint(TELLING) and b"SAVE" not in words:
        words.add(b"ALL")
    cursor.space()
    return ReturnOptions(frozenset(words), partial, items)
