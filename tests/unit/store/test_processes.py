"""Several real processes on one mailbox at once; and the sessions of one process that really is
cooperative."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import StorageFailed
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_content, make_message

FORK = multiprocessing.get_context("fork")


def work(path: Path, number: int, turns: int, results: multiprocessing.SimpleQueue) -> None:
    """Append, flag and expunge; report the UIDs of what was appended, and of what was expunged."""
    rng = random.Random(number)
    mailbox = Mailbox(path)
    view = mailbox.view()
    mine: dict[int, int] = {}
    gone: list[int] = []
    for turn in range(turns):
        count = rng.choice((1, 1, 3))
        numbers = [number * 10_000 + turn * 10 + place for place in range(count)]
        for uid, content in zip(
            append(mailbox, [make_message(n, 50) for n in numbers]), numbers, strict=True
        ):
            mine[uid] = content
        with mailbox.transaction() as tx:
            rows = mailbox.index.live_rows()
            tx.flags(rows[-3:], "add", 1 << number % 5)
        if turn % 4 == 3:
            uid = rng.choice(sorted(set(mine) - set(gone)))
            with mailbox.transaction() as tx:
                assert tx.expunge([mailbox.index.row_of(uid)]).tolist() == [uid]
            gone.append(uid)
        if turn % 10 == 9:
            mailbox.checkpoint()
        mailbox.refresh()
        before = view.uids.tolist()
        changes = view.pending(True)
        for seq in changes.expunged_seqs:
            del before[seq - 1]
        assert view.uids.tolist()[: len(before)] == before
    results.put((mine, gone))


def test_processes_append_flag_and_expunge_at_once(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    results = FORK.SimpleQueue()
    workers = [FORK.Process(target=work, args=(mailbox.path, number, 25, results)) for number in range(4)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    expected: dict[int, int] = {}
    for mine, gone in found:
        assert not set(mine) & set(expected), "no UID is given twice"
        expected.update({uid: content for uid, content in mine.items() if uid not in gone})
    mailbox.refresh()
    fresh = Mailbox(mailbox.path)
    for box in (mailbox, fresh):
        rows = box.index.live_rows()
        assert box.columns.full.uid[rows].tolist() == sorted(expected)
        for row, uid in zip(rows.tolist(), sorted(expected), strict=True):
            assert box.read(row) == make_content(expected[uid], 50)
        box.close()
    assert check_mailbox(mailbox.path) == []


def append_until_killed(path: Path, number: int, results: multiprocessing.SimpleQueue) -> None:
    mailbox = Mailbox(path)
    turn = 0
    while True:
        turn += 1
        content = number * 100_000 + turn
        (uid,) = append(mailbox, [make_message(content, 2000)])
        os.write(results, b"%d %d\n" % (uid, content))


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    acknowledged: dict[int, int] = {}
    for number in range(6):
        reader, writer = os.pipe()
        workers = [
            FORK.Process(target=append_until_killed, args=(mailbox.path, number * 2 + n, writer))
            for n in (0, 1)
        ]
        for worker in workers:
            worker.start()
        begun = b""
        while begun.count(b"\n") < 4:
            begun += os.read(reader, 4096)
        time.sleep(0.05 + number * 0.01)
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            lines = (begun + file.read()).splitlines()
        acknowledged.update(tuple(map(int, line.split())) for line in lines)
        if number % 2:
            append(mailbox, [make_message(1)])
    assert len(acknowledged) > 20
    append(mailbox, [make_message(2)])
    fresh = Mailbox(mailbox.path)
    for uid, content in acknowledged.items():
        assert fresh.read(fresh.index.row_of(uid)) == make_content(content, 2000)
    fresh.close()
    mailbox.close()
    assert check_mailbox(mailbox.path) == []


def fill_up(path: Path, limit: int, results: multiprocessing.SimpleQueue) -> None:
    """Append under a limit on the size of files: a real short write, then a real error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    mailbox = Mailbox(path)
    done = 0
    try:
        while True:
            append(mailbox, [make_message(done, 1500), make_message(done, 700)])
            done += 2
    except StorageFailed as error:
        failed = str(error)
    before = mailbox.status()
    mailbox.refresh()
    assert mailbox.status() == before
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    append(mailbox, [make_message(done, 20_000)])
    results.put((done, failed, mailbox.status().messages))


@pytest.mark.parametrize("limit", [10_000, 11_111, 12_345])
def test_short_writes_lose_nothing(tmp_path: Path, limit: int) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    results = FORK.SimpleQueue()
    worker = FORK.Process(target=fill_up, args=(mailbox.path, limit, results))
    worker.start()
    done, failed, messages = results.get()
    worker.join()
    assert "File too large" in failed
    assert messages == done + 1
    mailbox.refresh()
    sizes = [len(mailbox.read(row)) for row in range(messages)]
    assert sizes[-1] > 19_000 and sizes[0] > 1000
    mailbox.close()
    assert check_mailbox(mailbox.path) == []


COOPERATIVE = """
import sys
from pathlib import Path
import gevent, gevent.event, gevent.lock
from gevent.threadpool import ThreadPool
from mstore.base import blocking
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_message, make_content

class Cooperative:
    def __init__(self):
        self.pool = ThreadPool(4)
    def call(self, function, *args):
        return self.pool.apply(function, args)
    call_briefly = call
    def sleep(self, seconds):
        gevent.sleep(seconds)
    def breathe(self):
        gevent.sleep(0)
    def spawn(self, function, *args):
        gevent.spawn(function, *args)
    def later(self, seconds, function, *args):
        gevent.spawn_later(0.05, function, *args)
    def event(self):
        return gevent.event.Event()
    def mutex(self):
        return gevent.lock.BoundedSemaphore(1)

blocking.install(Cooperative())
mailbox = Mailbox(Path(sys.argv[1]))
mailbox.checkpoint_at = 3000
told, found = [], {}

def session(number):
    view = mailbox.view(recent=number == 0)
    for turn in range(12):
        kind = (number + turn) % 3
        if kind < 2:
            content = number * 100 + turn
            (uid,) = append(mailbox, [make_message(content, 60)])
            found[uid] = content
        else:
            with mailbox.transaction() as tx:
                tx.flags(mailbox.index.live_rows()[-4:], "add", 1)
            if turn % 6 == 5:
                with mailbox.transaction() as tx:
                    for uid in tx.expunge(mailbox.index.live_rows()[:1]).tolist():
                        found.pop(uid)
        before = view.uids.tolist()
        mailbox.refresh()
        changes = view.pending(True)
        for seq in changes.expunged_seqs:
            del before[seq - 1]
        assert view.uids.tolist()[:len(before)] == before
        mailbox.derived(view.rows[-5:], [0])
        if turn % 5 == 4:
            mailbox.rest()

sessions = [gevent.spawn(session, number) for number in range(20)]
gevent.joinall(sessions, raise_error=True, timeout=90)
assert all(session.successful() for session in sessions)
gevent.sleep(0.2)
fresh = Mailbox(mailbox.path)
rows = fresh.index.live_rows()
assert fresh.columns.full.uid[rows].tolist() == sorted(found)
for row, uid in zip(rows.tolist(), sorted(found)):
    assert fresh.read(row) == make_content(found[uid], 60)
assert mailbox.index.generation > 1
mailbox.close()
assert check_mailbox(mailbox.path) == [], check_mailbox(mailbox.path)
print("messages", len(found), "modseq", mailbox.highest_modseq)
"""


def test_sessions_that_yield_while_the_lock_is_held(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    mailbox.close()
    done = subprocess.run(
        [sys.executable, "-c", COOPERATIVE, str(mailbox.path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("messages"), done.stdout
    modseq = int(done.stdout.split()[-1])
    assert modseq < 240, "appends that came together shared a group"


def test_views_of_a_large_mailbox_cost_what_changed(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    append(mailbox, [make_message(1, 10)] * 5000)
    view = mailbox.view()
    for _ in range(3):
        with mailbox.transaction() as tx:
            tx.flags([2500], "add" if not mailbox.columns.flags.item(2500) else "remove", 1)
        changes = view.pending(True)
        assert changes.fetch_seqs.tolist() == [2501]
    with mailbox.transaction() as tx:
        tx.expunge(np.arange(0, 5000, 2))
    assert len(view.pending(True).expunged_seqs) == 2500
    mailbox.close()
