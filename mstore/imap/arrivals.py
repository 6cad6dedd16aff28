"""What is sent of new messages unasked (RFC 5465 §5.2, §7): FETCH responses behind their EXISTS.

Nothing is sent of what the client has added itself, nor of what is gone already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mstore.base.flags import TOMBSTONE
from mstore.imap.grammar.fetchitems import FetchItem
from mstore.imap.reading import set_seen
from mstore.imap.render.messages import Messages, Program

if TYPE_CHECKING:
    from mstore.imap.contexts import Result
    from mstore.imap.selected import Selected

Array = np.ndarray[Any, np.dtype[Any]]
Items = tuple[FetchItem, ...]
Send = Callable[[bytes | memoryview], None]


@lru_cache(maxsize=64)
def _compile(items: Items, rev2: bool) -> Program:
    return Program(items, rev2)


class Arrivals:
    """The new messages of one report."""

    def __init__(self, selected: Selected, known: int, own: frozenset[int]) -> None:
        """All behind the first ``known`` messages, but for those that are the client's ``own``."""
        self._selected = selected
        rows, uids = selected.view.rows[known:], selected.view.uids[known:]
        there = selected.mailbox.columns.full.flags[rows] & np.uint64(TOMBSTONE) == 0
        if own:
            there &= ~np.isin(uids, np.fromiter(own, np.int64, len(own)))
        self._seqs = np.flatnonzero(there) + known + 1
        self._rows, self._uids = rows[there], uids[there]

    def tell_for(self, results: Iterable[Result], items: Items, send: Send) -> None:
        """Send the messages that searches have found and want items of; with the ``items`` of NOTIFY."""
        wishes: dict[int, Items] = {}
        for result in results:
            if result.items:
                for uid in result.added[np.isin(result.added, self._uids)].tolist():
                    wishes[uid] = (*wishes.get(uid, ()), *result.items)
        groups: dict[Items, list[int]] = {}
        for uid, wish in wishes.items():
            groups.setdefault(tuple(dict.fromkeys((*wish, *items))), []).append(uid)
        for wish, uids in groups.items():
            self._send(np.isin(self._uids, np.array(uids)), wish, send)

    def tell_rest(self, items: Items, send: Send) -> None:
        """Send those that have not been sent."""
        self._send(np.ones(len(self._uids), np.bool_), items, send)

    def _send(self, chosen: Array, items: Items, send: Send) -> None:
        if not chosen.any():
            return
        selected = self._selected
        program = _compile(items, selected.rev2)
        seqs, rows = self._seqs[chosen], self._rows[chosen]
        self._seqs, self._rows, self._uids = self._seqs[~chosen], self._rows[~chosen], self._uids[~chosen]
        messages = Messages(program, selected.mailbox, selected.view, False, selected.uid_only)
        if selected.aware:
            messages.tell(*selected.news_items(True)[:-1])
        if program.reads and set_seen(selected, rows):
            messages.tell(*selected.news_items(True))
        messages.send(seqs, rows, send)
