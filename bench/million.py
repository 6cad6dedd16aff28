"""A mailbox of a million messages: opening, searching, changing, appending, checkpoint, memory.

``python -m bench.million``: makes the mailbox once (messages of 300 bytes, copied by the store itself), then
looks at it in two ways: in a fresh process that uses the store alone, and through imapd with one worker, CPU
time by cgroup. Each figure is the median of several tries.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.clients import Imap
from bench.corpus import message
from bench.meter import memory
from bench.mstore import MStore
from bench.scaling.mailbox import small
from mstore.accounts.accounts import Accounts
from mstore.files.lock import DEADLINE_S, RANK_MAILBOX, Lock
from mstore.store.append import NewMessage, append
from mstore.store.copy import copy
from mstore.store.mailbox import Mailbox
from mstore.store.store import Store

USER = "u00"
UNSEEN = 1000
FIRST = 1000
TRIES = 9
SESSIONS = 10


@dataclass(slots=True)
class Figure:
    """One line of the report; all tries, of which the median counts."""

    what: str
    unit: str
    aim: float | None
    values: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        return statistics.median(self.values)


def build(path: Path, count: int) -> None:
    """Fill a mailbox with so many messages, all but the last thousand of them seen."""
    mailbox = Mailbox(path)
    mailbox.retain()
    append(mailbox, [NewMessage(small(n), 1_700_000_000 + n) for n in range(min(FIRST, count))])
    while (have := mailbox.index.messages) < count:
        copy(mailbox.view().rows[: min(have, count - have, 100_000)], mailbox, mailbox)
    with mailbox.transaction() as tx:
        tx.flags(mailbox.view().rows[:-UNSEEN], "add", 1)
    mailbox.checkpoint()
    mailbox.release()


class TimedLock(Lock):
    """A lock that knows how long it was held at most."""

    def __init__(self, path: Path) -> None:
        super().__init__(path / "lock", RANK_MAILBOX, path.name)
        self.longest_s = 0.0
        self.began = 0.0

    def acquire(self, deadline_s: float = DEADLINE_S) -> None:
        super().acquire(deadline_s)
        self.began = time.perf_counter()

    def release(self, keep_open: bool = False) -> None:
        self.longest_s = max(self.longest_s, time.perf_counter() - self.began)
        super().release(keep_open)


def probe(path: Path) -> dict[str, float]:
    """What the store alone takes, in this process, which has done nothing else before."""
    figures = {}

    def spend(what: str, work: Callable[[], object]) -> object:
        began = time.process_time()
        result = work()
        figures[what] = (time.process_time() - began) * 1e3
        return result

    mailbox = spend("open", lambda: Mailbox(path))
    assert isinstance(mailbox, Mailbox)
    mailbox.retain()
    view = mailbox.view()

    def change() -> None:
        with mailbox.transaction() as tx:
            tx.flags(view.rows[len(view.rows) // 2 :][:1], "add" if flip[0] else "remove", 4)

    flip = [True]
    change()  # opens what is to be opened
    flip[0] = False
    spend("flag change", change)
    new = NewMessage(message(1, 8192), 1_700_000_000)
    append(mailbox, [new])
    spend("append", lambda: append(mailbox, [NewMessage(message(2, 8192), 1_700_000_000)]))
    mailbox.lock = lock = TimedLock(path)
    spend("checkpoint", mailbox.checkpoint)
    figures["lock held"] = lock.longest_s * 1e3
    mailbox.release()
    return figures


def by_store(path: Path, tries: int) -> list[Figure]:
    """The store alone, each try in a process of its own."""
    figures = {
        "open": Figure("store: open from the checkpoint", "ms CPU", 20),
        "flag change": Figure("store: one flag change, synced", "ms CPU", 5),
        "append": Figure("store: one append of 8 KB", "ms CPU", 5),
        "checkpoint": Figure("store: a checkpoint", "ms CPU", None),
        "lock held": Figure("store: writers wait for a checkpoint at most", "ms", 50),
    }
    for _ in range(tries):
        command = [sys.executable, "-m", "bench.million", "--probe", str(path)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for what, value in found.items():
            figures[what].values.append(value)
    return list(figures.values())


def by_imap(server: MStore, count: int, tries: int) -> list[Figure]:
    """Through imapd, with one worker."""
    other = server.imap("u01")
    other.select()  # what is imported late is imported now
    other.command(b"SEARCH UNSEEN")
    select = Figure("IMAP: SELECT, the first time", "ms CPU", 20)
    client = server.imap(USER)
    spent = _Spent(server)
    assert client.select() >= count
    select.values.append(spent.ms())
    figures = [select]
    search_unseen = Figure("IMAP: SEARCH UNSEEN", "ms CPU", 5)
    figures.append(search_unseen)
    for _ in range(tries):
        spent = _Spent(server)
        answer = client.command(b"SEARCH UNSEEN")
        search_unseen.values.append(spent.ms())
        assert answer.count(b" ") >= UNSEEN
    figures.append(_each(server, client, "IMAP: STORE of one flag", tries, lambda n: (
        b"STORE %d %sFLAGS (\\Flagged)" % (count // 2, b"-" if n % 2 else b"+")
    )))  # fmt: skip
    text = message(3, 8192)
    figures.append(_each(server, client, "IMAP: APPEND of 8 KB", tries, lambda n: (
        b"APPEND INBOX {%d+}\r\n%s" % (len(text), text)
    )))  # fmt: skip
    sessions = [server.imap(USER) for _ in range(SESSIONS)]
    for session in sessions:
        session.select()
        session.command(b"SEARCH UNSEEN")
    assert server.group is not None
    worker = max(server.group.pids(), key=lambda pid: memory([pid]).pss_bytes)
    held = Figure(f"memory (PSS) of the worker with {SESSIONS + 1} sessions", "MB", 150)
    held.values.append(memory([worker]).pss_bytes / (1 << 20))
    figures.append(held)
    for session in (*sessions, client, other):
        session.close()
    return figures


class _Spent:
    """The CPU time of the server since this was made."""

    def __init__(self, server: MStore) -> None:
        self._server = server
        self._began = server.cpu_s()

    def ms(self) -> float:
        return (self._server.cpu_s() - self._began) * 1e3


def _each(server: MStore, client: Imap, what: str, tries: int, command: Callable[[int], bytes]) -> Figure:
    figure = Figure(what, "ms CPU", 5)
    for number in range(tries + 1):
        spent = _Spent(server)
        client.command(command(number))
        if number:
            figure.values.append(spent.ms())
    return figure


def measure(work: Path, options: argparse.Namespace) -> list[Figure]:
    """All figures."""
    server = MStore(work, [USER, "u01"], ("imapd-workers 1", "pop3d-workers 1", "lmtpd-workers 1"))
    server.prepare()
    record = Accounts(work / "ms" / "db").find(USER)
    assert record is not None
    store = Store({"default": server.mail_path()})
    account = store.account(record)
    path = account.path / account.entry("INBOX").id
    print(f"making {options.messages:,} messages", file=sys.stderr, flush=True)
    began = time.monotonic()
    build(path, options.messages)
    print(f"made in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    store.close()
    figures = by_store(path, options.tries)
    if os.geteuid() == 0:
        owner = server.mail_path().stat()
        for directory, _, files in os.walk(server.mail_path()):
            for name in (directory, *(os.path.join(directory, file) for file in files)):
                os.chown(name, owner.st_uid, owner.st_gid)
    server.start()
    try:
        figures += by_imap(server, options.messages, options.tries)
    finally:
        server.stop()
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--tries", type=int, default=TRIES)
    parser.add_argument("--work", type=Path, help="where the mail is put for the time of the measurement")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.probe:
        print(json.dumps(probe(options.probe)))
        return 0
    work = Path(tempfile.mkdtemp(prefix="m-store-million-", dir=options.work))
    work.chmod(0o755)
    try:
        figures = measure(work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{options.messages:,} messages, {options.tries} tries: median (least to most)")
    for found in figures:
        aim = f"  aim {found.aim:g}" if found.aim else ""
        least, most = min(found.values), max(found.values)
        print(f"{found.what:50} {found.value:9.2f} {found.unit:7} ({least:.2f} to {most:.2f}){aim}")
    if options.json:
        data = [
            {"what": f.what, "unit": f.unit, "aim": f.aim, "median": f.value, "values": f.values}
            for f in figures
        ]
        options.json.write_text(json.dumps({"messages": options.messages, "figures": data}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
