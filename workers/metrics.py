"""The metrics page: what the daemons' scoreboards say, summed over workers, as Prometheus wants it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mstore.base.boardfile import BOUNDS_S, HEARTBEAT, HISTOGRAM_CELLS, BoardFile, read_board
from mstore.base.measure import LOCK_WAIT, SYNC
from workers.scoreboard import CERTIFICATE_END, DELIVERY, FIELDS, KINDS, PID, POOL_WAIT, STORE, WORKER
from workers.scoreboard import HISTOGRAMS as ALL

SITE = "lmtpd"
"""The daemon whose worker finds out how much mail there is: the one that always runs."""
SESSION_DAEMONS = ("imapd", "pop3d", "lmtpd")
IMAP = ("append", "copy", "fetch", "login", "other", "search", "select", "store")
POP3 = ("login", "other", "retr")
DURATIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    # daemon: (command, histogram) of its commands
    "imapd": tuple((kind, f"command.{kind}") for kind in IMAP),
    "pop3d": tuple((kind, f"command.{kind}") for kind in POP3),
}
OUTCOMES = {
    "delivered": "deliveries", "duplicate": "duplicates", "over-quota": "deliveries_over_quota",
    "failed": "deliveries_failed",
}  # fmt: skip
COUNTERS = {
    "connections": "Connections accepted.",
    "commands": "Commands carried out, of all kinds.",
    "commands_slowed": "Commands that had to wait because their session sent too many a second.",
    "recipients_refused": "Recipients that LMTP has turned away before the message came.",
    "received_bytes": "Bytes received from clients.",
    "sent_bytes": "Bytes sent to clients.",
    "errors": "Errors, each of which is in the log.",
    "worker_restarts": "Workers that ended and were replaced.",
}
_FIELDS = {"received_bytes": "bytes_in", "sent_bytes": "bytes_out"}
GAUGES = {
    "sessions": "Connections that are open.",
    "sessions_idle": "Open connections that wait for their clients.",
    "pool_busy_threads": "Threads that are at work for sessions: hashing, syncs.",
    "pool_queued_tasks": "Tasks that wait for such a thread.",
    "memory_pss_bytes": "Memory of the daemon's processes, what they share counted once.",
    "memory_rss_bytes": "Memory of the daemon's processes, what they share counted for each.",
}
_GAUGE_FIELDS = {
    "pool_busy_threads": "pool_busy", "pool_queued_tasks": "pool_queued",
    "memory_pss_bytes": "memory_pss", "memory_rss_bytes": "memory_rss",
}  # fmt: skip
HISTOGRAMS = {
    LOCK_WAIT: ("lock_wait", "How long was waited for locks of mailboxes and accounts that were not free."),
    SYNC: ("sync_duration", "How long the disk took to sync (fdatasync, fsync)."),
    POOL_WAIT: ("pool_wait", "How long tasks waited for a thread of the pool."),
}
SIZES = {
    "store_bytes": "Bytes of all messages in a mailstore, as quotas count them.",
    "store_messages": "Messages in all its mailboxes.",
    "store_mailboxes": "Mailboxes of all its accounts.",
    "store_accounts": "Accounts that have a directory there.",
    "store_accounts_counted": "Those of them whose bytes and messages are all known.",
}


class Process(NamedTuple):
    """One process of a daemon, and its memory."""

    name: str
    pid: int
    pss_bytes: int
    rss_bytes: int


@dataclass(frozen=True)
class Board:
    """What a daemon's scoreboard says."""

    version: str
    started_s: float
    is_alive: bool
    sums: Mapping[str, int]
    histograms: Mapping[str, list[int]]
    """The counts of the buckets, then the sum in nanoseconds."""
    processes: tuple[Process, ...] = ()
    mailstores: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What is known of each, by its name."""


def read_scoreboard(path: Path) -> Board:
    """A daemon's fields and histograms, summed over its slots; those that it does not have yet are zero.

    Raises: OSError; ValueError, LookupError, TypeError where it is none.
    """
    board = read_board(path)
    header, totals = board.header, board.totals
    starts = range(len(header["fields"]), len(totals), HISTOGRAM_CELLS)
    histograms = zip(header["histograms"], starts, strict=True)
    return Board(
        str(header["version"]),
        float(header["started"]),
        board.is_alive,
        {**dict.fromkeys(FIELDS, 0), **board.sums},
        {
            **dict.fromkeys(ALL, [0] * HISTOGRAM_CELLS),
            **{name: totals[at : at + HISTOGRAM_CELLS] for name, at in histograms},
        },
        tuple(_find_processes(board)),
        dict(_find_mailstores(board)),
    )


def _find_processes(board: BoardFile) -> Iterator[Process]:
    for slot in board.slots:
        fields = board.fields_of(slot)
        if fields.get(PID):
            number = fields[WORKER]
            name = f"worker {number}" if number else "master"
            yield Process(name, fields[PID], fields["memory_pss"], fields["memory_rss"])


def _find_mailstores(board: BoardFile) -> Iterator[tuple[str, dict[str, int]]]:
    for name, slot in board.mailstores.items():
        fields = board.fields_of(slot)
        if fields[HEARTBEAT]:
            yield name, fields


def accumulate(cells: list[int]) -> tuple[list[tuple[str, float]], float]:
    """The buckets of a histogram as Prometheus has them, each with all below it, and the sum in seconds."""
    buckets, count = [], 0
    for bound, more in zip((*BOUNDS_S, math.inf), cells, strict=False):
        count += more
        buckets.append(("+Inf" if bound == math.inf else f"{bound}", float(count)))
    return buckets, cells[-1] / 1e9


class Scoreboards(Collector):
    """Reads the scoreboards anew for every page."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """``paths``: the scoreboard's file by the name of the daemon."""
        self._paths = paths

    def collect(self) -> Iterator[Metric]:
        """All metrics; of a daemon that never ran there is only that it is down."""
        boards: dict[str, Board] = {}
        up = GaugeMetricFamily("mstore_up", "Whether the daemon runs.", labels=["daemon"])
        for daemon, path in self._paths.items():
            try:
                boards[daemon] = read_scoreboard(path)
            except (OSError, ValueError, LookupError, TypeError):
                up.add_metric([daemon], 0)
            else:
                up.add_metric([daemon], boards[daemon].is_alive)
        yield up
        yield from describe_daemons(boards)
        yield from describe_processes(boards)
        yield from describe_sessions(boards)
        yield from describe_durations(boards)
        yield from describe_site(boards.get(SITE))


def describe_daemons(boards: Mapping[str, Board]) -> Iterator[Metric]:
    """What every daemon has."""
    info = InfoMetricFamily("mstore_build", "The version that the daemon runs.", labels=["daemon"])
    start = GaugeMetricFamily(
        "mstore_start_time_seconds", "When the daemon started, since the epoch.", labels=["daemon"]
    )
    end = GaugeMetricFamily(
        "mstore_certificate_expiry_timestamp_seconds",
        "When the first of the daemon's TLS certificates expires, since the epoch.",
        labels=["daemon"],
    )
    for daemon, board in boards.items():
        info.add_metric([daemon], {"version": board.version})
        start.add_metric([daemon], board.started_s)
        if board.is_alive and board.sums[CERTIFICATE_END]:
            end.add_metric([daemon], board.sums[CERTIFICATE_END])
    yield from (info, start, end)
    for name, text in GAUGES.items():
        gauge = GaugeMetricFamily(f"mstore_{name}", text, labels=["daemon"])
        for daemon, board in boards.items():
            gauge.add_metric([daemon], board.sums[_GAUGE_FIELDS.get(name, name)] if board.is_alive else 0)
        yield gauge
    for name, text in COUNTERS.items():
        counter = CounterMetricFamily(f"mstore_{name}", text, labels=["daemon"])
        for daemon, board in boards.items():
            counter.add_metric([daemon], board.sums[_FIELDS.get(name, name)])
        yield counter


def describe_sessions(boards: Mapping[str, Board]) -> Iterator[Metric]:
    """Who has come, and what came of it."""
    states = GaugeMetricFamily(
        "mstore_sessions_by_state", "Open connections by what they have reached.", labels=["daemon", "state"]
    )
    refused = CounterMetricFamily(
        "mstore_connections_refused", "Connections turned away, by the option that limits them.",
        labels=["daemon", "limit"],
    )  # fmt: skip
    logins = CounterMetricFamily(
        "mstore_logins", "Logins by mechanism; of authproxyd, questions that it has answered.",
        labels=["daemon", "mechanism", "outcome"],
    )  # fmt: skip
    deliveries = CounterMetricFamily(
        "mstore_deliveries", "Messages for one recipient each, by what came of them.",
        labels=["daemon", "outcome"],
    )  # fmt: skip
    for daemon, board in boards.items():
        sums = board.sums
        if daemon in SESSION_DAEMONS:
            for state, number in _count_states(board).items():
                states.add_metric([daemon, state], number)
            for limit in KINDS["connections_refused"]:
                refused.add_metric([daemon, limit], sums[f"connections_refused:{limit}"])
        for outcome, name in (("ok", "logins"), ("failed", "login_failures")):
            for mechanism in KINDS[name] if daemon in (*SESSION_DAEMONS, "authproxyd") else ():
                logins.add_metric([daemon, mechanism, outcome], sums[f"{name}:{mechanism}"])
        if daemon == "lmtpd":
            for outcome, name in OUTCOMES.items():
                deliveries.add_metric([daemon, outcome], sums[name])
    yield from (states, refused, logins, deliveries)


def _count_states(board: Board) -> dict[str, int]:
    if not board.is_alive:
        return dict.fromkeys(("unauthenticated", "authenticated", "selected"), 0)
    every, known, selected = (
        board.sums[name] for name in ("sessions", "sessions_authenticated", "sessions_selected")
    )
    # A page may be read while a worker writes these three.
    return {
        "unauthenticated": max(0, every - known),
        "authenticated": max(0, known - selected),
        "selected": selected,
    }


def describe_durations(boards: Mapping[str, Board]) -> Iterator[Metric]:
    """How long things took."""
    commands = HistogramMetricFamily(
        "mstore_command_duration_seconds", "How long commands took, from when they had all come in.",
        labels=["daemon", "command"],
    )  # fmt: skip
    for daemon, kinds in DURATIONS.items():
        for kind, name in kinds:
            if daemon in boards:
                commands.add_metric([daemon, kind], *accumulate(boards[daemon].histograms[name]))
    yield commands
    deliveries = HistogramMetricFamily(
        "mstore_delivery_duration_seconds", "How long the delivery to one recipient took.", labels=["daemon"]
    )
    if "lmtpd" in boards:
        deliveries.add_metric(["lmtpd"], *accumulate(boards["lmtpd"].histograms[DELIVERY]))
    yield deliveries
    for name, (metric, text) in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"mstore_{metric}_seconds", text, labels=["daemon"])
        for daemon, board in boards.items():
            if name == POOL_WAIT or daemon in SESSION_DAEMONS:
                family.add_metric([daemon], *accumulate(board.histograms[name]))
        yield family


def describe_processes(boards: Mapping[str, Board]) -> Iterator[Metric]:
    """The memory of each process."""
    labels = ["daemon", "process", "pid"]
    pss = GaugeMetricFamily(
        "mstore_process_memory_pss_bytes",
        "Memory of a process: its own, and its share of what it has in common with others.",
        labels=labels,
    )
    rss = GaugeMetricFamily(
        "mstore_process_memory_rss_bytes", "Memory of a process, with all that it shares.", labels=labels
    )
    for daemon, board in boards.items():
        for process in board.processes if board.is_alive else ():
            values = [daemon, process.name, str(process.pid)]
            pss.add_metric(values, process.pss_bytes)
            rss.add_metric(values, process.rss_bytes)
    yield from (pss, rss)


def describe_site(board: Board | None) -> Iterator[Metric]:
    """How much mail there is in each mailstore; nothing until it has been found out."""
    for name in STORE:
        family = GaugeMetricFamily(f"mstore_{name}", SIZES[name], labels=["mailstore"])
        for mailstore, fields in board.mailstores.items() if board is not None else ():
            family.add_metric([mailstore], fields[name])
        yield family


class Disks(Collector):
    """The file systems that M-Store writes to."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """``paths``: what is there, by its path; one that is not there now is left out."""
        self._paths = paths

    def collect(self) -> Iterator[Metric]:
        """Their sizes and what is free, for users without rights."""
        labels = ["of", "path"]
        size = GaugeMetricFamily("mstore_disk_size_bytes", "Size of the file system.", labels=labels)
        free = GaugeMetricFamily("mstore_disk_free_bytes", "What is free of it.", labels=labels)
        inodes = GaugeMetricFamily("mstore_disk_free_inodes", "How many files may be made.", labels=labels)
        for name, path in self._paths.items():
            try:
                found = os.statvfs(path)
            except OSError:
                continue
            size.add_metric([name, str(path)], found.f_blocks * found.f_frsize)
            free.add_metric([name, str(path)], found.f_bavail * found.f_frsize)
            inodes.add_metric([name, str(path)], found.f_favail)
        yield from (size, free, inodes)


def make_registry(paths: Mapping[str, Path], disks: Mapping[str, Path]) -> CollectorRegistry:
    """A registry with nothing but the scoreboards and the disks in it."""
    registry = CollectorRegistry()
    registry.register(Scoreboards(paths))
    registry.register(Disks(disks))
    return registry
