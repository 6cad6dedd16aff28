"""A compaction beside a writer and a reader: how long it delays them, and the disk it uses over time.

``python -m bench.compaction``: a mailbox is filled, most of it is expunged here and there, and it is
compacted while one process appends and changes flags and another reads, as fast as they can. What a writer
waits for the lock is measured by itself: the rest of a change is its own sync.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpus import message
from mstore.base import blocking
from mstore.base.errors import Expunged
from mstore.files.lock import DEADLINE_S, RANK_MAILBOX, Lock
from mstore.files.segment import ROLL_BYTES
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox

SIZE = 8192
AIM_MS = 50
SAMPLE_S = 0.05
PAUSE_S = 0.002


class Unkept(blocking.Plain):
    """Does no upkeep of its own: the compaction that is measured is the only one."""

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        return None


class WaitedLock(Lock):
    """A lock that knows how long each taking of it took."""

    def __init__(self, path: Path) -> None:
        super().__init__(path / "lock", RANK_MAILBOX, path.name)
        self.waits: list[tuple[float, float]] = []

    def acquire(self, deadline_s: float = DEADLINE_S) -> None:
        began = time.perf_counter()
        super().acquire(deadline_s)
        self.waits.append((time.time(), time.perf_counter() - began))


def build(path: Path, count: int, share: float) -> Mailbox:
    """A mailbox of 8 KB messages of which a share was expunged, in no order."""
    mailbox = Mailbox.create(path, 7)
    mailbox.retain()
    texts = [message(number, SIZE) for number in range(100)]
    for start in range(0, count, 500):
        append(mailbox, [NewMessage(texts[n % 100], 1_700_000_000 + n) for n in range(start, start + 500)])
    rows = mailbox.view().rows
    chance = np.random.default_rng(1)
    with mailbox.transaction() as tx:
        tx.expunge(rows[chance.random(len(rows)) < share])
    mailbox.checkpoint()
    return mailbox


def write(path: Path) -> None:
    """Append and change flags until standard input ends; what each waited, as JSON."""
    mailbox = Mailbox(path)
    mailbox.retain()
    mailbox.lock = lock = WaitedLock(path)
    stop = _watch_input()
    text, whole = message(5, SIZE), list[tuple[float, float]]()
    number = 0
    while not stop.is_set():
        began = time.perf_counter()
        if number % 2:
            append(mailbox, [NewMessage(text, 1_700_000_000)])
        else:
            with mailbox.transaction() as tx:
                tx.flags([len(mailbox.columns.full.uid) // 2], "add" if number % 4 else "remove", 4)
        whole.append((time.time(), time.perf_counter() - began))
        number += 1
        time.sleep(PAUSE_S)
    mailbox.release()
    print(json.dumps({"waits": lock.waits, "changes": whole}))


def read(path: Path) -> None:
    """Read messages here and there until standard input ends; what each took, as JSON."""
    mailbox = Mailbox(path)
    mailbox.retain()
    stop, chance = _watch_input(), random.Random(1)
    taken = list[tuple[float, float]]()
    while not stop.is_set():
        rows = mailbox.view().rows
        began = time.perf_counter()
        try:
            assert len(mailbox.read(int(chance.choice(rows)))) > SIZE // 2
        except Expunged:
            continue
        taken.append((time.time(), time.perf_counter() - began))
        time.sleep(PAUSE_S)
    mailbox.release()
    print(json.dumps({"reads": taken}))


def _watch_input() -> threading.Event:
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    return stop


def disk_use(path: Path) -> int:
    """The bytes of all segments."""
    total = 0
    for entry in os.scandir(path):
        if entry.name.startswith(("messages.", "packed.")):
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue
    return total


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fill, expunge, compact beside the others; all figures."""
    mailbox = build(path, options.messages, options.expunged)
    before, live = disk_use(path), mailbox.index.size_bytes
    others = {kind: _start(kind, path) for kind in ("write", "read")}
    time.sleep(options.quiet)
    uses: list[tuple[float, int]] = []
    began = time.time()
    cpu = time.process_time()
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            uses.append((time.time() - began, disk_use(path)))

    sampler = threading.Thread(target=sample)
    sampler.start()
    given = mailbox.compact()
    end, cpu = time.time(), time.process_time() - cpu
    time.sleep(SAMPLE_S * 4)
    ended.set()
    sampler.join()
    found: dict[str, Any] = {}
    for process in others.values():
        found |= json.loads(process.communicate("")[0])
    mailbox.refresh()
    live_after, after = mailbox.index.size_bytes, disk_use(path)
    mailbox.release()
    during = {kind: [s for at, s in found[kind] if began <= at <= end] for kind in found}
    quiet = {kind: [s for at, s in found[kind] if at < began] for kind in found}
    return {
        "seconds": end - began,
        "cpu_s": cpu,
        "given_bytes": given,
        "live_bytes": live,
        "disk_before": before,
        "disk_most": max([before, *(use for _, use in uses)]),
        "disk_after": after,
        "disk_allowed": 2 * live_after + ROLL_BYTES,
        "uses": uses,
        "during": {kind: _summary(values) for kind, values in during.items()},
        "without": {kind: _summary(values) for kind, values in quiet.items()},
    }


def _start(kind: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.compaction", f"--{kind}", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _summary(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0, "median_ms": 0.0, "most_ms": 0.0}
    return {
        "count": len(values),
        "median_ms": statistics.median(values) * 1e3,
        "most_ms": max(values) * 1e3,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and report; the status is 1 when the writer waited too long or too much disk is used."""
    parser = argparse.ArgumentParser(prog="python -m bench.compaction", description=__doc__)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--expunged", type=float, default=0.6, help="the share that is expunged before")
    parser.add_argument("--quiet", type=float, default=3.0, help="seconds of work without a compaction")
    parser.add_argument("--work", type=Path, help="where the mailbox is put for the time of the measurement")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    blocking.install(Unkept())
    if options.write or options.read:
        write(options.write) if options.write else read(options.read)
        return 0
    work = Path(tempfile.mkdtemp(prefix="m-store-compaction-", dir=options.work))
    try:
        found = measure(work / f"{1:016x}", options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    waited_ms: float = found["during"]["waits"]["most_ms"]
    return int(waited_ms > AIM_MS or found["disk_after"] > found["disk_allowed"])


def report(found: dict[str, Any]) -> None:
    """The figures for people."""
    mb = {name: found[name] / (1 << 20) for name in found if name.startswith(("disk_", "live_", "given_"))}
    print(
        f"compacted in {found['seconds']:.1f} s ({found['cpu_s']:.2f} s CPU), "
        f"{mb['given_bytes']:.0f} MB given back"
    )
    print(
        f"disk: {mb['disk_before']:.0f} MB for {mb['live_bytes']:.0f} MB live, at most "
        f"{mb['disk_most']:.0f}, then {mb['disk_after']:.0f} (allowed {mb['disk_allowed']:.0f})"
    )
    names = {
        "waits": "writer: wait for the lock",
        "changes": "writer: whole change",
        "reads": "reader: message",
    }
    for kind, name in names.items():
        without, during = found["without"][kind], found["during"][kind]
        aim = f"  aim {AIM_MS}" if kind == "waits" else ""
        print(f"{name:24} without: {_show(without)}   during: {_show(during)}{aim}")


def _show(found: dict[str, float]) -> str:
    return f"{found['median_ms']:6.2f} ms (most {found['most_ms']:7.2f}, of {found['count']:.0f})"


if __name__ == "__main__":
    sys.exit(main())
