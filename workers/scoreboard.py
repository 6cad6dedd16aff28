"""Shared memory between a daemon and its workers: a slot of 8-byte cells for each, written by one process.

Counters and histograms survive the death of a worker: the next one in the slot goes on counting, so sums over
the slots are those of the daemon's life. Gauges and the heartbeat are reset when a slot is taken. Behind
these each mailstore has a slot, in the daemon whose worker finds out how much mail there is. The last one is
the daemon's own.

With a path the memory is a file that other processes map to read: a header, a line of JSON that names the
daemon, its version, its start, the fields, the histograms and the mailstores, and then the slots.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mstore import __version__
from mstore.base.boardfile import BOUNDS_S, HEARTBEAT, HISTOGRAM_CELLS
from mstore.base.measure import LOCK_WAIT, SYNC
from mstore.base.saslnames import BY_DEFAULT
from workers.crowd import LIMITS
from workers.parent import Refused

STORE = ("store_bytes", "store_messages", "store_mailboxes", "store_accounts", "store_accounts_counted")
"""What the survey (``survey.py``) finds; in the slots of mailstores, whose heartbeat says that it has."""
CERTIFICATE_END = "certificate_end"
PID, WORKER = "pid", "worker"
"""Whose memory it is: the process, and the number of the worker, 0 for the daemon itself."""
GAUGES = (
    HEARTBEAT,
    "sessions",
    "sessions_idle",
    "sessions_authenticated",
    "sessions_selected",
    "pool_busy",
    "pool_queued",
    "memory_pss",
    "memory_rss",
    "pid",
    "worker",
    CERTIFICATE_END,
    *STORE,
)
COUNTERS = (
    "connections",
    "connections_refused",
    "logins",
    "login_failures",
    "commands",
    "commands_slowed",
    "deliveries",
    "duplicates",
    "deliveries_over_quota",
    "deliveries_failed",
    "recipients_refused",
    "bytes_in",
    "bytes_out",
    "errors",
)
SPARE = 8
"""So many mailstores may come by reloads; more of them wait for the daemon to be started anew."""
PAGE_BYTES = 4096
OTHER = "other"
MECHANISMS = (*BY_DEFAULT, "pass", "command", OTHER)
"""How one may log in: a mechanism, POP3's USER and PASS, authproxyd's one command, a plugin's."""
PER_USER = "imapd-connections-per-user"
KINDS = {
    "logins": MECHANISMS,
    "login_failures": MECHANISMS,
    "connections_refused": (*LIMITS, PER_USER, OTHER),
}
"""Counters that are kept by kind besides, and which kinds there are."""
RESTARTS = "worker_restarts"

COMMANDS = ("append", "copy", "fetch", "login", "other", "retr", "search", "select", "store")
POOL_WAIT = "pool_wait"
DELIVERY = "delivery"
HISTOGRAMS = (*(f"command.{kind}" for kind in COMMANDS), DELIVERY, LOCK_WAIT, SYNC, POOL_WAIT)

CRASHES = "worker_crashes"
"""Those deaths of workers that nobody has asked for."""
CRASHING = "workers_crashing"
"""How many workers are in a crash loop now."""
FIELDS = (
    *GAUGES, *COUNTERS, *(f"{name}:{kind}" for name, kinds in KINDS.items() for kind in kinds),
    RESTARTS, CRASHES, CRASHING,
)  # fmt: skip
"""The last three are in the daemon's own slot alone."""
_OFFSETS = {name: place for place, name in enumerate(FIELDS)}
_STARTS = {name: len(FIELDS) + place * HISTOGRAM_CELLS for place, name in enumerate(HISTOGRAMS)}
_SUM = HISTOGRAM_CELLS - 1
_CELLS = len(FIELDS) + len(HISTOGRAMS) * HISTOGRAM_CELLS


class Slot:
    """What one worker writes; sessions add to its counters."""

    __slots__ = ("_base", "_cells")

    def __init__(self, cells: memoryview, base: int) -> None:
        self._cells = cells
        self._base = base

    @property
    def number(self) -> int:
        """Which slot of the scoreboard this is."""
        return self._base // _CELLS

    def add(self, name: str, amount: int = 1) -> None:
        """Count; an unknown name is a KeyError."""
        self._cells[self._base + _OFFSETS[name]] += amount

    def add_of(self, name: str, kind: str) -> None:
        """Count one of a kind; a kind that is not known is counted as ``other``."""
        self.add(name)
        self.add(f"{name}:{kind}" if kind in KINDS[name] else f"{name}:{OTHER}")

    def observe(self, name: str, seconds: float) -> None:
        """Add a duration to a histogram; an unknown name is a KeyError."""
        cells, start = self._cells, self._base + _STARTS[name]
        cells[start + bisect_left(BOUNDS_S, seconds)] += 1
        cells[start + _SUM] += int(seconds * 1e9)

    def set(self, name: str, value: int) -> None:
        """Set a gauge."""
        self._cells[self._base + _OFFSETS[name]] = value

    def get(self, name: str) -> int:
        """The value now."""
        value: int = self._cells[self._base + _OFFSETS[name]]
        return value

    def histogram(self, name: str) -> list[int]:
        """The counts of the buckets, then the sum in nanoseconds."""
        start = self._base + _STARTS[name]
        return self._cells[start : start + HISTOGRAM_CELLS].tolist()

    def beat(self) -> None:
        """Say that the worker is alive."""
        self.set(HEARTBEAT, int(time.monotonic() * 1000))

    def clear(self) -> None:
        """Reset the gauges of a worker that is gone; the counters stay."""
        for name in GAUGES:
            self.set(name, 0)

    def take(self) -> None:
        """Begin anew, keeping the counters."""
        self.clear()
        self.beat()

    @property
    def heartbeat_s(self) -> float:
        """When the worker was last known to be alive, on the steady clock of all processes."""
        return self.get(HEARTBEAT) / 1000


class Scoreboard:
    """All slots of a daemon."""

    def __init__(
        self,
        slots: int,
        path: Path | None = None,
        daemon: str = "",
        started: float = 0.0,
        mailstores: Sequence[str] = (),
        crowd_key: bytes = b"",
    ) -> None:
        """``started``: seconds since the epoch. The file is new each time; who reads an old one keeps it.
        ``crowd_key`` is what a successor has to count connections by (``crowd.py``).

        Raises: Refused when the file cannot be made.
        """
        spare = [""] * (SPARE if mailstores else 0)
        self._described: dict[str, Any] = {
            "header_bytes": 0,
            "daemon": daemon,
            "version": __version__,
            "started": started,
            "fields": FIELDS,
            "histograms": HISTOGRAMS,
            "mailstores": [*mailstores, *spare],
            "crowd_key": crowd_key.hex(),
        }
        # Room for names that come later, and for the number itself.
        room = len(json.dumps(self._described)) + (PAGE_BYTES if mailstores else 0)
        head = self._described["header_bytes"] = (room // PAGE_BYTES + 1) * PAGE_BYTES
        every = slots + len(mailstores) + len(spare) + 1
        size = head + every * _CELLS * 8
        try:
            self._memory = mmap.mmap(-1, size) if path is None else _map_file(path, size)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        self._write_header()
        self._cells = memoryview(self._memory)[head:].cast("Q")
        *found, self.own = [Slot(self._cells, place * _CELLS) for place in range(every)]
        self.slots = found[:slots]
        self._spare = found[slots + len(mailstores) :]
        self.mailstores = dict(zip(mailstores, found[slots:], strict=False))

    def name_mailstores(self, names: Sequence[str]) -> None:
        """There are these mailstores from now on. One that is new has a slot as long as there are some left,
        and room for its name.

        Who reads the file meanwhile may find none; a slot is not given to another, for a worker that has not
        heard of it may still write there.
        """
        named = self._described["mailstores"]
        for gone in self.mailstores.keys() - set(names):
            self.mailstores.pop(gone).clear()
            named[named.index(gone)] = ""
        for name in names:
            if name in self.mailstores or not self._spare:
                continue
            place = len(named) - len(self._spare)
            named[place] = name
            if len(self._header_line()) > self._described["header_bytes"]:
                named[place] = ""
                continue
            self.mailstores[name] = self._spare.pop(0)
        self._write_header()

    def _header_line(self) -> bytes:
        return json.dumps(self._described).encode() + b"\n"

    def _write_header(self) -> None:
        line = self._header_line()
        self._memory[: len(line)] = line

    def total(self, name: str) -> int:
        """The sum of a field over the slots of all workers."""
        return sum(slot.get(name) for slot in self.slots)


def put_in_place(path: Path, name: Path) -> None:
    """Give a scoreboard's file the name under which others look for it.

    Raises: OSError
    """
    os.replace(path, name)


def _map_file(path: Path, size: int) -> mmap.mmap:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)  # A full disk is known now, not by SIGBUS later.
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
