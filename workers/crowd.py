"""How many connections a daemon has from each address and of each user, in memory that its workers share.

A counter for each group of addresses, by a keyed hash that nobody outside can foresee; each worker has a row
of such counters that it alone writes, and reads the others'. Connections whose user has not logged in are
counted apart: they are what a flood consists of. A user is counted in two tables by different hashes, and the
lower count holds: two users who share one counter seldom share the other. One more row is for the connections
of daemons that leave after an upgrade (``leaving.py``), which count by the same key.
"""

from __future__ import annotations

import mmap
import secrets
import struct
from array import array
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from mstore.base.boardfile import read_board
from mstore.base.networks import remember_origins
from mstore.base.options import Settings

BUCKETS = 16_384
_ALL, _STRANGERS = 0, 1
_USERS = (2, 3)
_TABLES = 4
_NO_BUCKET = BUCKETS
"""Counts those of trusted addresses, and has no limit."""
_PLACES = BUCKETS + 2
_TOTAL = BUCKETS + 1
_CELL_BYTES = 4
KEY_BYTES = 16
_PAIR = struct.Struct("<II")
_TOO_MANY = "too many connections"
LIMITS = {
    "unauthenticated-per-address": f"{_TOO_MANY} from your address, not logged in",
    "connections-per-address": f"{_TOO_MANY} from your address",
    "unauthenticated-limit": f"{_TOO_MANY} not logged in",
    "connections-limit": _TOO_MANY,
}
"""What is told to one too many, by the option that says how many there may be."""


def limit_of(reason: str) -> str:
    """The option by which somebody was told this; empty when by none."""
    return next((name for name, text in LIMITS.items() if text == reason), "")


def new_key() -> bytes:
    """A key that nobody knows."""
    return secrets.token_bytes(KEY_BYTES)


def find_key(board: Path) -> bytes:
    """The key by which the daemon counts whose scoreboard this is; a new one where none can be read."""
    try:
        key = bytes.fromhex(read_board(board).header["crowd_key"])
    except (OSError, ValueError, LookupError, TypeError):
        key = b""
    return key if len(key) == KEY_BYTES else new_key()


class Crowd:
    """The counters of a daemon, made before its workers are forked."""

    def __init__(self, rows: int, key: bytes = b"") -> None:
        """Rows for so many workers; the key is that of those who are to count alike, or a new one."""
        self._rows = rows + 1
        self._key = key or new_key()
        self._memory = mmap.mmap(-1, _TABLES * _PLACES * self._rows * _CELL_BYTES)
        self._cells = memoryview(self._memory).cast("I")

    def door(self, row: int, settings: Settings) -> Door:
        """The door of the worker that has this row, which begins empty."""
        self.clear(row)
        return Door(self._cells, self._rows, row, self._key, settings)

    def clear(self, row: int) -> None:
        """Count no connections of a worker that is gone."""
        self._fill(row, array("I", bytes(_TABLES * _PLACES * _CELL_BYTES)))

    def dump(self) -> bytes:
        """What all workers have, for another daemon's ``add_elders``."""
        import numpy as np  # It is there in daemons that have workers; others import this module as well.

        cells = np.frombuffer(self._memory, np.uint32).reshape(-1, self._rows)[:, :-1]
        sums = cells.sum(axis=1, dtype=np.uint32)
        places = sums.nonzero()[0].astype(np.uint32)
        pairs = np.stack([places, sums[places]], axis=1).astype("<u4")
        return self._key + pairs.tobytes()

    def add_elders(self, dumps: Iterable[bytes]) -> None:
        """Count along what other daemons have now, those that count by the same key."""
        counts = array("I", bytes(_TABLES * _PLACES * _CELL_BYTES))
        for dump in dumps:
            if dump[:KEY_BYTES] == self._key and (len(dump) - KEY_BYTES) % _PAIR.size == 0:
                for place, count in _PAIR.iter_unpack(dump[KEY_BYTES:]):
                    if place < len(counts):
                        counts[place] += count
        self._fill(self._rows - 1, counts)

    def _fill(self, row: int, counts: array[int]) -> None:
        self._cells[row :: self._rows] = memoryview(counts)


class Door:
    """Lets connections of one worker in, as long as there are not too many."""

    def __init__(self, cells: memoryview, rows: int, row: int, key: bytes, settings: Settings) -> None:
        self._cells = cells
        self._rows = rows
        self._row = row
        self._key = key
        self._origin_of = remember_origins(tuple(settings.trusted_networks))
        self._user_limit = settings.imapd_connections_per_user
        self._limits = (
            (_STRANGERS, False, settings.unauthenticated_per_address, "unauthenticated-per-address"),
            (_ALL, False, settings.connections_per_address, "connections-per-address"),
            (_STRANGERS, True, settings.unauthenticated_limit, "unauthenticated-limit"),
            (_ALL, True, settings.connections_limit, "connections-limit"),
        )
        self._buckets: dict[int, int] = {}
        self.strangers: set[int] = set()
        """The connections whose users have not logged in yet, by number."""

    def enter(self, number: int, peer: str) -> str | None:
        """Count a connection; where there are too many already, don't, and say of which kind."""
        bucket = self._bucket(peer)
        for table, of_all, limit, option in self._limits:
            counts = limit and (of_all or bucket != _NO_BUCKET)
            if counts and self._sum(table, _TOTAL if of_all else bucket) >= limit:
                return LIMITS[option]
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

    def admit(self, user: str) -> bool:
        """Count a session of a user who has logged in, unless there are as many already as may be."""
        limit = self._user_limit
        buckets = self._user_buckets(user)
        if limit and min(map(self._sum, _USERS, buckets)) >= limit:
            return False
        for table, bucket in zip(_USERS, buckets, strict=True):
            self._count(table, bucket, 1)
        return True

    def dismiss(self, user: str) -> None:
        """A session that was admitted has ended."""
        for table, bucket in zip(_USERS, self._user_buckets(user), strict=True):
            self._count(table, bucket, -1)

    def _user_buckets(self, user: str) -> tuple[int, int]:
        digest = blake2b(user.encode("utf-8"), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest[:4], "little") % BUCKETS, int.from_bytes(digest[4:], "little") % BUCKETS

    def _bucket(self, peer: str) -> int:
        origin = self._origin_of(peer)
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
