"""Durable appends from many clients into as many mailboxes, against what the disk gives to bare threads.

``python -m bench.durable``: each round first lets 16 threads append 8 KB and call fdatasync, each to a file
of its own, and then 16 clients APPEND (or deliver by LMTP) 8 KB, each to a mailbox of its own; all on one
file system, in one run. What counts is the ratio, the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.clients import Imap, Lmtp, expect
from bench.corpus import message
from bench.mstore import MStore

SIZE = 8192
AIM = 0.5


@dataclass(slots=True)
class Round:
    """What one round gave."""

    bare_per_s: float
    bare_cpu_ms: float
    appends_per_s: float
    server_cpu_ms: float
    client_cpu_ms: float

    @property
    def ratio(self) -> float:
        return self.appends_per_s / self.bare_per_s


def bare(path: Path, threads: int, seconds: float) -> tuple[float, float]:
    """Appends of 8 KB per second, each synced, by so many threads; and the CPU time of each, in ms."""
    path.mkdir()
    counts = [0] * threads
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        fd = os.open(path / str(number), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        data, at = os.urandom(SIZE), 0
        while time.monotonic() < end:
            os.pwrite(fd, data, at)
            os.fdatasync(fd)
            at += SIZE
            counts[number] += 1
        os.close(fd)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    cpu, began = time.process_time(), time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took, spent = time.monotonic() - began, time.process_time() - cpu
    shutil.rmtree(path)
    return sum(counts) / took, spent * 1e3 / sum(counts)


class ImapHand:
    """Appends one message after the other over IMAP."""

    def __init__(self, server: MStore, user: str, text: bytes) -> None:
        self.client: Imap | Lmtp = server.imap(user)
        self._request = b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(text), text)
        self._left = b""

    def send(self) -> None:
        self.client.send(self._request)

    def receive(self) -> bool:
        """Whether what was sent is acknowledged."""
        *lines, self._left = (self._left + self.client.receive()).split(b"\n")
        for line in lines:
            if line.startswith(b"a "):
                expect(line, b"a OK")
                return True
        return False


class LmtpHand:
    """Delivers one message after the other over LMTP, the whole transaction pipelined."""

    def __init__(self, server: MStore, user: str, text: bytes) -> None:
        self.client: Imap | Lmtp = server.lmtp()
        self._envelope = b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % user.encode()
        self._text = text + b".\r\n"
        self._left, self._sent = b"", False

    def send(self) -> None:
        self.client.send(self._envelope)
        self._sent = False

    def receive(self) -> bool:
        """Whether what was sent is acknowledged."""
        *lines, self._left = (self._left + self.client.receive()).split(b"\n")
        for line in lines:
            if line.startswith(b"354"):
                self.client.send(self._text)
                self._sent = True
                continue
            expect(line, b"250")
            if self._sent:
                return True
        return False


DOORS: dict[str, Callable[[MStore, str, bytes], ImapHand | LmtpHand]] = {"imap": ImapHand, "lmtp": LmtpHand}


def appends(server: MStore, door: str, seconds: float) -> tuple[float, float, float]:
    """Acknowledged appends per second, and the CPU time of each, the server's and the clients', in ms."""
    hands = [DOORS[door](server, user, message(n, SIZE)) for n, user in enumerate(server.crowd)]
    count = waiting = 0
    with selectors.DefaultSelector() as selector:
        for hand in hands:
            selector.register(hand.client, selectors.EVENT_READ, hand)
        own, cpu, began = time.process_time(), server.cpu_s(), time.monotonic()
        for hand in hands:
            hand.send()
            waiting += 1
        while waiting:
            for key, _ in selector.select():
                if not key.data.receive():
                    continue
                count += 1
                if time.monotonic() - began < seconds:
                    key.data.send()
                else:
                    waiting -= 1
        took = time.monotonic() - began
        spent, ours = server.cpu_s() - cpu, time.process_time() - own
    for hand in hands:
        hand.client.close()
    return count / took, spent * 1e3 / count, ours * 1e3 / count


def measure(work: Path, options: argparse.Namespace) -> list[Round]:
    """All rounds."""
    server = MStore(work, [f"u{number:02d}" for number in range(options.clients)])
    server.prepare()
    server.start()
    rounds = []
    try:
        appends(server, options.door, 0.5)
        for number in range(options.rounds):
            rate, cpu = bare(work / "bare", options.clients, options.seconds)
            rounds.append(Round(rate, cpu, *appends(server, options.door, options.seconds)))
            print(f"round {number + 1}: {format_round(rounds[-1])}", file=sys.stderr, flush=True)
    finally:
        server.stop()
    return rounds


def format_round(found: Round) -> str:
    """A line for people."""
    return (
        f"bare {found.bare_per_s:,.0f}/s ({found.bare_cpu_ms:.3f} ms CPU), durable appends "
        f"{found.appends_per_s:,.0f}/s ({found.server_cpu_ms:.3f} ms CPU, "
        f"the client {found.client_cpu_ms:.3f}), "
        f"ratio {found.ratio:.2f}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.durable", description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each part of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--door", choices=DOORS, default="imap")
    parser.add_argument("--work", type=Path, help="a directory on the file system that is measured")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="m-store-durable-", dir=options.work))
    work.chmod(0o755)
    try:
        rounds = measure(work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    ratio = statistics.median(found.ratio for found in rounds)
    middle = Round(*(statistics.median(column) for column in zip(*map(_values, rounds), strict=True)))
    print(f"{options.door}, {options.clients} clients, medians: {format_round(middle)}")
    print(f"ratio {ratio:.2f} (aim {AIM})")
    if options.json:
        figures: dict[str, Any] = {"door": options.door, "clients": options.clients, "ratio": ratio}
        figures["rounds"] = [asdict(found) for found in rounds]
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _values(found: Round) -> list[float]:
    return list(asdict(found).values())


if __name__ == "__main__":
    sys.exit(main())
