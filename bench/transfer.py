"""Whole messages over IMAP, against what the kernel gives to a bare sendfile.

``python -m bench.transfer``: each round first reads a file from a process that sends it by sendfile over a
loopback connection, and then as many bytes by one FETCH of a mailbox of messages of some MB, by the same
reader. All is in the kernel's cache. What counts is the ratio, the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.clients import Imap, WrongAnswer
from bench.corpus import message
from bench.mstore import MStore

SIZE, COUNT = 2_000_000, 50
AIM = 0.6
_PIECE = 1 << 20


@dataclass(slots=True)
class Round:
    """What one round gave, in MB/s."""

    bare: float
    fetched: float

    @property
    def ratio(self) -> float:
        return self.fetched / self.bare


def bare(path: Path, total: int) -> float:
    """MB/s of a file of so many bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = multiprocessing.get_context("fork").Process(target=_send, args=(listener, path, total))
        sender.start()
        with socket.create_connection(listener.getsockname()) as client:
            began = time.perf_counter()
            _read(client, total)
            took = time.perf_counter() - began
        sender.join()
    return total / took / 1e6


def fetch(client: Imap, total: int) -> float:
    """MB/s of one FETCH of all messages, of which there must be at least so many bytes."""
    buffer = bytearray(_PIECE)
    tail, read = b"", 0
    began = time.perf_counter()
    tag = client.start(b"FETCH 1:* (BODY.PEEK[])")
    while not tail.endswith(b"\r\n") or tag + b" " not in tail:
        size = client.socket.recv_into(buffer)
        if not size:
            raise WrongAnswer("the server closed the connection")
        read += size
        tail = (tail + buffer[max(0, size - 200) : size])[-200:]
    took = time.perf_counter() - began
    if tag + b" OK" not in tail or read < total:
        raise WrongAnswer(f"{read} bytes, {tail!r}")
    return read / took / 1e6


def _send(listener: socket.socket, path: Path, total: int) -> None:
    connection, _ = listener.accept()
    with connection, open(path, "rb") as file:
        at = 0
        while at < total:
            at += os.sendfile(connection.fileno(), file.fileno(), at, total - at)


def _read(client: socket.socket, total: int) -> None:
    buffer = bytearray(_PIECE)
    while total > 0:
        size = client.recv_into(buffer)
        if not size:
            raise WrongAnswer("the sender closed the connection")
        total -= size


def measure(work: Path, rounds: int) -> list[Round]:
    """All rounds."""
    server = MStore(work, ["u00"])
    server.prepare()
    server.start()
    found = []
    try:
        client = server.imap("u00")
        client.append_all([message(number, SIZE) for number in range(COUNT)], False)
        client.select()
        total = sum(len(message(number, SIZE)) for number in range(COUNT))
        with open(work / "file", "wb") as file:
            file.writelines(message(number, SIZE) for number in range(COUNT))
        bare(work / "file", total)
        fetch(client, total)
        for number in range(rounds):
            found.append(Round(bare(work / "file", total), fetch(client, total)))
            print(f"round {number + 1}: {format_round(found[-1])}", file=sys.stderr, flush=True)
        client.logout()
    finally:
        server.stop()
    return found


def format_round(found: Round) -> str:
    """A line for people."""
    return f"sendfile {found.bare:,.0f} MB/s, FETCH {found.fetched:,.0f} MB/s, ratio {found.ratio:.2f}"


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a directory for the mailbox")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="m-store-transfer-", dir=options.work))
    work.chmod(0o755)
    try:
        rounds = measure(work, options.rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    middle = Round(*(statistics.median(column) for column in zip(*map(_values, rounds), strict=True)))
    ratio = statistics.median(found.ratio for found in rounds)
    print(f"medians: {format_round(middle)}; of the ratios {ratio:.2f} (aim {AIM})")
    if options.json:
        figures = {"ratio": ratio, "rounds": [asdict(found) for found in rounds]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _values(found: Round) -> tuple[float, float]:
    return found.bare, found.fetched


if __name__ == "__main__":
    sys.exit(main())
