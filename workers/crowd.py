"""How many connections a daemon has from each address, in memory that its workers share.

A counter for each group of addresses, by a keyed hash that nobody outside can foresee; each worker has a row
of such counters that it alone writes, and reads the others'. Connections whose user has not logged in are
counted apart: they are what a flood consists of.
"""

from __future__ import annotations

import mmap
import secrets
from array import array
from hashlib import blake2b

from mstore.base.networks import origin_of
from mstore.base.options import Settings

BUCKETS = 16_384
_ALL, _STRANGERS = 0, 1
_NO_BUCKET = BUCKETS
"""Counts those of trusted addresses, and has no limit."""
_PLACES = BUCKETS + 2
_TOTAL = BUCKETS + 1
_CELL_BYTES = 4


class Crowd:
    """The counters of a daemon, made before its workers are forked."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._key = secrets.token_bytes(16)
        self._memory = mmap.mmap(-1, 2 * _PLACES * rows * _CELL_BYTES)
        self._cells = memoryview(self._memory).cast("I")

    def door(self, row: int, settings: Settings) -> Door:
        """The door of the worker that has this row, which begins empty."""
        self.clear(row)
        return Door(self._cells, self._rows, row, self._key, settings)

    def clear(self, row: int) -> None:
        """Count no connections of a worker that is gone."""
        self._cells[row :: self._rows] = memoryview(array("I", bytes(2 * _PLACES * _CELL_BYTES)))


class Door:
    """Lets connections of one worker in, as long as there are not too many."""

    def __init__(self, cells: memoryview, rows: int, row: int, key: bytes, settings: Settings) -> None:
        self._cells = cells
        self._rows = rows
        self._row = row
        self._key = key
        self._trusted = settings.trusted_networks
        self._limits = (
            (_STRANGERS, False, settings.unauthenticated_per_address, "from your address, not logged in"),
            (_ALL, False, settings.connections_per_address, "from your address"),
            (_STRANGERS, True, settings.unauthenticated_limit, "not logged in"),
            (_ALL, True, settings.connections_limit, ""),
        )
        self._buckets: dict[int, int] = {}
        self.strangers: set[int] = set()
        """The connections whose users have not logged in yet, by number."""

    def enter(self, number: int, peer: str) -> str | None:
        """Count a connection; where there are too many already, don't, and say of which kind."""
        bucket = self._bucket(peer)
        for table, of_all, limit, words in self._limits:
            counts = limit and (of_all or bucket != _NO_BUCKET)
            if counts and self._sum(table, _TOTAL if of_all else bucket) >= limit:
                return f"too many connections {words}".rstrip()
        self._buckets[number] = bucket
        self.strangers.add(number)
        self._count(_ALL, bucket, 1)
        self._count(_STRANGERS, bucket, 1)
        return None

    def recognise(self, number: int) -> None:
        """The user of a connection has logged in."""
        if number in self.strangers:
            self.strangers.discard(number)
            self._count(_STRANGERS, self._buckets[number], -1)

    def leave(self, number: int) -> None:
        """A connection has ended, one that was let in or not."""
        self.recognise(number)
        bucket = self._buckets.pop(number, None)
        if bucket is not None:
            self._count(_ALL, bucket, -1)

    def _bucket(self, peer: str) -> int:
        origin = origin_of(peer, self._trusted)
        if origin is None:
            return _NO_BUCKET
        digest = blake2b(origin.encode("ascii"), key=self._key, digest_size=4).digest()
        return int.from_bytes(digest, "little") % BUCKETS

    def _place(self, table: int, bucket: int) -> int:
        return (table * _PLACES + bucket) * self._rows

    def _sum(self, table: int, bucket: int) -> int:
        place = self._place(table, bucket)
        return sum(self._cells[place : place + self._rows])

    def _count(self, table: int, bucket: int, change: int) -> None:
        for each in (bucket, _TOTAL):
            self._cells[self._place(table, each) + self._row] += change
