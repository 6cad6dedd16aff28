"""Searches whose results the client keeps: what is added to them, and what drops out (RFC 5267 §4.3).

Each holds the UIDs that the client has been told. At every report those messages are looked at again that
have changed since, and only these: a search for texts costs nothing while nothing arrives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mstore.base.errors import MStoreError
from mstore.base.flags import TOMBSTONE
from mstore.imap.errors import Bad
from mstore.imap.render.esearch import format_update
from mstore.store.search import find
from mstore.store.searchkeys import Among, SearchKey, Seqs, replace_keys

if TYPE_CHECKING:
    from mstore.imap.grammar.fetchitems import FetchItem
    from mstore.imap.selected import Selected
    from mstore.net.stream import Stream
    from mstore.store.change import Changes
    from mstore.store.view import View

Array = np.ndarray[Any, np.dtype[Any]]
MAX_CONTEXTS = 16
"""For one session."""
_TOMBSTONE = np.uint64(TOMBSTONE)


def format_no_update(tag: bytes) -> bytes:
    """Changes of the results of this command are not told, or no more (RFC 5267 §4.3.1)."""
    return b'* NO [NOUPDATE "' + tag + b'"] Changes of these results are not told\r\n'


def freeze(key: SearchKey, view: View) -> SearchKey:
    """The key with message numbers as what they mean now (RFC 5267 §4.3 "evaluated at the time")."""

    def replace(leaf: SearchKey) -> SearchKey:
        if isinstance(leaf, Seqs):
            return Among(view.uids[leaf.numbers.numbers(view.count) - 1])
        return leaf

    return replace_keys(key, replace)


class Context:
    """One search, and the UIDs, ascending, that the client has as its results."""

    __slots__ = ("correlator", "items", "key", "modseq", "uid", "uids")

    def __init__(
        self,
        correlator: bytes,
        uid: bool,
        key: SearchKey,
        uids: Array,
        modseq: int,
        items: tuple[FetchItem, ...] = (),
    ) -> None:
        self.correlator = correlator
        self.uid = uid
        self.key = key
        self.uids = uids
        self.modseq = modseq
        """Up to here changes have been looked at."""
        self.items = items
        """What is to be sent of new messages that are added (RFC 5465 §7)."""

    def format(self, word: bytes, uids: Array, numbers: Array) -> bytes:
        """One update, by UID or by message number."""
        return format_update(self.correlator, self.uid, word, uids if self.uid else numbers)


class Result(NamedTuple):
    """What is to be told of one search."""

    lines: list[bytes]
    items: tuple[FetchItem, ...]
    """What is to be sent of those added that are new."""
    added: Array
    """Their UIDs."""


class Contexts:
    """The searches of one session, by their tags."""

    __slots__ = ("_by_tag",)

    def __init__(self) -> None:
        self._by_tag: dict[bytes, Context] = {}

    def check_is_new(self, tag: bytes) -> None:
        """Raises: Bad for a tag that is in use."""
        if tag in self._by_tag:
            raise Bad("Tag reuse")

    def add(self, tag: bytes, context: Context) -> bool:
        """Follow one more; False when there are too many."""
        if len(self._by_tag) >= MAX_CONTEXTS:
            return False
        self._by_tag[tag] = context
        return True

    def tell_by_uid(self) -> None:
        """Tell no message numbers any more, whichever the search was asked for (RFC 9586 §3)."""
        for context in self._by_tag.values():
            context.uid = True

    def cancel(self, tags: Iterable[bytes]) -> None:
        """Follow these no more."""
        for tag in tags:
            self._by_tag.pop(tag, None)

    def tell_removed(self, stream: Stream, changes: Changes) -> None:
        """What drops out because it is expunged; before that is told, while numbers are what they were."""
        uids = np.array(changes.expunged_uids[::-1], np.uint32)
        numbers = np.array(changes.expunged_seqs[::-1], np.int64)
        for context in self._by_tag.values():
            lost = np.isin(uids, context.uids, assume_unique=True)
            if lost.any():
                stream.write(context.format(b"REMOVEFROM", uids[lost], numbers[lost]))
                context.uids = np.setdiff1d(context.uids, uids, assume_unique=True)

    def find_changed(self, selected: Selected) -> list[Result]:
        """What has changed otherwise, and what is new; to be told behind FETCH and EXISTS."""
        view = selected.view
        results = []
        for tag, context in list(self._by_tag.items()):
            if context.modseq == view.modseq:
                continue
            try:
                result = self._compare(selected, context)
            except MStoreError:
                # Nobody can say what the results are now.
                self._by_tag.pop(tag, None)
                result = Result([format_no_update(tag)], context.items, view.uids[:0])
            if result.lines:
                results.append(result)
        return results

    @staticmethod
    def _compare(selected: Selected, context: Context) -> Result:
        view, mailbox = selected.view, selected.mailbox
        full, rows = mailbox.columns.full, view.rows
        changed = full.modseq[rows] > np.uint64(context.modseq)
        changed &= full.flags[rows] & _TOMBSTONE == 0
        places = np.flatnonzero(changed)
        context.modseq = view.modseq
        uids = view.uids
        result = Result([], context.items, uids[:0])
        if not len(places):
            return result
        now = uids[find(mailbox, view, context.key, among=places)]
        looked_at = uids[places]
        was = looked_at[np.isin(looked_at, context.uids, assume_unique=True)]
        for word, one, other in ((b"REMOVEFROM", was, now), (b"ADDTO", now, was)):
            difference = np.setdiff1d(one, other, assume_unique=True)
            if len(difference):
                result.lines.append(context.format(word, difference, uids.searchsorted(difference) + 1))
            if word == b"ADDTO":
                result = Result(result.lines, context.items, difference)
        if len(was) or len(now):
            kept = np.setdiff1d(context.uids, was, assume_unique=True)
            context.uids = np.union1d(kept, now)
        return result
