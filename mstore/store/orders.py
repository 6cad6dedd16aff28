"""What a process keeps of the order of messages, so that a list asked for again is not worked out again.

Each open mailbox has an ``Orders``: the ranks of its texts (``mstore.store.ranks``), its threads, and the
texts that its searches look at (``mstore.store.searchtexts``). It lives as long as the mailbox object, for
which rows keep their numbers and what they hold never changes; nothing of it is on disk. All mailboxes of the
process share one limit of memory, and what was used last stays.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Any
from weakref import ref

MOST_BYTES = 32 << 20
"""So much is kept in all: the ranks of 50,000 messages by one key have 200 KB, their threads 600 KB and
what these are made of 2.5 MB, the texts that are searched 8 MB."""

_Key = tuple[int, str]
_numbers = itertools.count()


def most_bytes() -> int:
    """More than this is not kept by one name."""
    return MOST_BYTES // 2


class Orders:
    """The orders of one mailbox that are kept, by name; they are never changed, only replaced."""

    __slots__ = ("__weakref__", "_number", "_values")

    def __init__(self) -> None:
        self._number = next(_numbers)
        self._values: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """What is kept by a name; None when there is nothing (any more)."""
        value = self._values.get(name)
        if value is not None:
            _shelf.note_used((self._number, name))
        return value

    def keep(self, name: str, value: Any, size_bytes: int) -> None:
        """Keep this in place of what was kept by the name, unless it takes more than half of all room."""
        if size_bytes > most_bytes():
            self.forget(name)
            return
        self._values[name] = value
        _shelf.put((self._number, name), self, size_bytes)

    def forget(self, name: str) -> None:
        """Keep nothing by a name."""
        self._values.pop(name, None)


class _Shelf:
    """Sizes of what is kept, in the order of use. What a mailbox kept that is gone counts until its turn."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[_Key, tuple[ref[Orders], int]] = OrderedDict()
        self._bytes = 0

    def note_used(self, key: _Key) -> None:
        self._sizes.move_to_end(key)

    def put(self, key: _Key, owner: Orders, size_bytes: int) -> None:
        _, before = self._sizes.pop(key, (None, 0))
        self._sizes[key] = ref(owner), size_bytes
        self._bytes += size_bytes - before
        while self._bytes > MOST_BYTES:
            (_, name), (of, size) = self._sizes.popitem(last=False)
            self._bytes -= size
            oldest = of()
            if oldest is not None:
                oldest.forget(name)


_shelf = _Shelf()
