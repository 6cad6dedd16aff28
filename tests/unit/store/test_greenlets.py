"""Sessions as greenlets of one worker, with a second worker's objects on the same directory: nothing hangs,
nothing is lost, whoever is ended amidst whatever."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import numpy as np
import pytest

from mstore.base import blocking
from mstore.base.errors import Busy, Expunged, Invalid, LimitReached, StorageFailed
from mstore.base.log import Log
from mstore.files import raw
from mstore.files.segment import PACKED
from mstore.store import compact, compactderived, diskuse, frames
from mstore.store import mailbox as mailboxes
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.copy import copy, move
from mstore.store.mailbox import Mailbox
from mstore.store.transaction import Transaction
from tests.kit.dying import Quick, close_files_under
from workers.cooperative import Cooperative, FairMutex


@pytest.fixture(autouse=True)
def cooperative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain = blocking._waiting
    read, write = os.pipe()
    waiting, later, spawn_later = Cooperative(Log(write), threads=2), list[Any](), gevent.spawn_later

    def note_later(*arguments: Any) -> Any:
        later.append(spawn_later(*arguments))
        return later[-1]

    monkeypatch.setattr(gevent, "spawn_later", note_later)
    blocking.install(waiting)
    before = raw.install(Quick())
    yield
    gevent.killall(later)  # Else what is to be synced a second later would be so amidst another test.
    assert waiting.finish(60)
    raw.install(before)
    blocking.install(plain)
    close_files_under(tmp_path)
    os.close(write)
    assert os.read(read, 4096) == b"", "something failed in the background"
    os.close(read)


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    return Mailbox.create(tmp_path / "00000000000000aa", 1)


def new(text: str) -> NewMessage:
    return NewMessage(f"Subject: {text}\r\n\r\n{text}\r\n".encode(), 1_700_000_000)


def contents(mailbox: Mailbox) -> list[bytes]:
    mailbox.refresh()
    return [mailbox.read(row) for row in mailbox.view().rows.tolist()]


def wait_for(greenlets: list[Any], limit_s: float = 60.0) -> None:
    done = gevent.joinall(greenlets, timeout=limit_s)
    assert len(done) == len(greenlets), "sessions hang"


class Slow(Quick):
    """A disk that is waited for until the test lets go."""

    def __init__(self) -> None:
        super().__init__()
        self.goes = gevent.event.Event()
        self.waiting = 0

    def wait(self) -> None:
        self.waiting += 1
        self.goes.wait()

    def stop_at(self, session: Any, syncs: int) -> None:
        """Let a session go on to its sync of that number, or to its end."""
        begun = self.waiting
        for step in range(1, syncs + 1):
            while self.waiting < begun + step and not session.ready():
                gevent.sleep(0.001)
            if step < syncs:
                goes, self.goes = self.goes, gevent.event.Event()
                goes.set()


class SlowCalls(Cooperative):
    """As a worker waits, but syncs wait for the test, in the loop."""

    def __init__(self, slow: Slow) -> None:
        super().__init__(Log(2), threads=1)
        self.slow = slow

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if getattr(function, "__name__", "").startswith("sync"):
            self.slow.wait()
        return function(*args)

    call_briefly = call


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    waiting, calls = blocking._waiting, SlowCalls(slow)
    blocking.install(calls)
    before = raw.install(slow)
    yield slow
    slow.goes.set()
    assert calls.finish(60)
    raw.install(before)
    blocking.install(waiting)


def test_everything_at_once(mailbox: Mailbox, tmp_path: Path) -> None:
    other = Mailbox(mailbox.path)
    chance = random.Random(1)
    sent: list[str] = []
    expunged: set[int] = set()
    acknowledged: dict[int, str] = {}
    stop = gevent.event.Event()

    def sender(number: int) -> None:
        for turn in range(6):
            texts = [f"{number}-{turn}-{part}" for part in range(chance.choice((1, 1, 2)))]
            target = chance.choice((mailbox, other))
            uids = append(target, [new(text) for text in texts])
            assert uids == sorted(uids)
            acknowledged.update(zip(uids, texts, strict=True))
            sent.extend(texts)
            gevent.sleep(0)

    def flagger(target: Mailbox) -> None:
        while not stop.is_set():
            with target.transaction() as tx:
                rows = target.index.live_rows()
                if len(rows):
                    tx.flags(rows[:: chance.randint(1, 5)], chance.choice(("add", "remove")), 1 | 4)
            gevent.sleep(0.001)

    def expunger(target: Mailbox) -> None:
        while not stop.is_set():
            with target.transaction() as tx:
                rows = target.index.live_rows()
                if len(rows) > 20:
                    expunged.update(tx.expunge(rows[chance.randrange(len(rows)) :][:1]).tolist())
            gevent.sleep(0.002)

    def keeper(target: Mailbox) -> None:
        while not stop.is_set():
            target.checkpoint()
            target.rest()
            gevent.sleep(0.005)

    def watcher(target: Mailbox) -> None:
        view = target.view()
        uids = view.uids.tolist()
        for turn in itertools.count():
            target.refresh()
            changes = view.pending(expunges=turn % 3 == 0)
            for seq, uid in zip(changes.expunged_seqs, changes.expunged_uids, strict=True):
                assert uids.pop(seq - 1) == uid
            uids += view.uids[len(uids) :].tolist()
            assert view.uids.tolist() == uids
            for row in view.rows[:3].tolist():
                assert target.read(row).startswith(b"Subject: ")
            if stop.is_set() and turn % 3 == 0:
                return
            gevent.sleep(0)

    senders = [gevent.spawn(sender, number) for number in range(8)]
    rest = [gevent.spawn(work, target) for target in (mailbox, other) for work in (flagger, expunger, keeper)]
    rest += [gevent.spawn(watcher, target) for target in (mailbox, other, mailbox)]
    wait_for(senders)
    stop.set()
    wait_for(rest)
    for greenlet in senders + rest:
        greenlet.get()
    expected = [text for uid, text in sorted(acknowledged.items()) if uid not in expunged]
    for target in (mailbox, other, Mailbox(mailbox.path)):
        target.refresh()
        view = target.view()
        assert [c.split(b"\r\n")[0][9:].decode() for c in contents(target)] == expected
        assert view.count == target.status().messages
    assert len(acknowledged) == len(sent)
    assert check_mailbox(mailbox.path) == []


def lead_and_follow(mailbox: Mailbox, slow: Slow, followers: int) -> tuple[Any, list[Any]]:
    """One session that appends and waits for the disk, and others that come meanwhile."""
    mailbox.lock.acquire()
    leader = gevent.spawn(append, mailbox, [new("leader")])
    gevent.sleep(0.01)
    rest = [gevent.spawn(append, mailbox, [new(f"follower {n}")]) for n in range(followers)]
    gevent.sleep(0.01)
    return leader, rest


@pytest.mark.parametrize("at", ["lock", "sync"])
@pytest.mark.parametrize("how", [gevent.GreenletExit, gevent.Timeout])
def test_a_leader_that_is_ended(mailbox: Mailbox, slow: Slow, at: str, how: type[BaseException]) -> None:
    append_first = gevent.spawn(append, mailbox, [new("first")])
    gevent.sleep(0.01)
    slow.goes.set()
    wait_for([append_first])
    slow.goes.clear()
    leader, followers = lead_and_follow(mailbox, slow, 3)
    if at == "sync":
        mailbox.lock.release()
        waited = slow.waiting
        while slow.waiting == waited:
            gevent.sleep(0.001)
    leader.kill(how, block=False)
    gevent.sleep(0.02)
    if at == "lock":
        mailbox.lock.release()
    slow.goes.set()
    wait_for([leader, *followers])
    if how is gevent.Timeout:
        assert isinstance(leader.exception, gevent.Timeout)
    else:
        assert isinstance(leader.value, gevent.GreenletExit)
    uids = [uid for follower in followers for uid in follower.get()]
    assert len(set(uids)) == 3
    found = contents(mailbox)
    assert len(found) == 4
    assert not any(b"leader" in content for content in found)
    assert contents(Mailbox(mailbox.path)) == found
    assert check_mailbox(mailbox.path) == []


@pytest.mark.parametrize("chosen", [[0], [1], [0, 1], [0, 1, 2]])
@pytest.mark.parametrize("when", ["waiting", "promoted"])
def test_followers_that_are_ended(mailbox: Mailbox, slow: Slow, chosen: list[int], when: str) -> None:
    slow.goes.set()
    append(mailbox, [new("first")])
    slow.goes.clear()
    waited = slow.waiting
    leader = gevent.spawn(append, mailbox, [new("leader")])
    while slow.waiting == waited:
        gevent.sleep(0.001)
    followers = [gevent.spawn(append, mailbox, [new(f"follower {n}")]) for n in range(3)]
    gevent.sleep(0.01)
    if when == "promoted":
        slow.goes.set()
        while not leader.ready():
            gevent.idle()
    for number in chosen:
        followers[number].kill(block=False)
    slow.goes.set()
    wait_for([leader, *followers])
    last = gevent.spawn(append, mailbox, [new("last")])
    wait_for([last])
    found = contents(mailbox)
    survivors = [n for n in range(3) if n not in chosen]
    for number in survivors:
        assert followers[number].get()
        assert sum(b"follower %d" % number in content for content in found) == 1
    assert b"last" in found[-1]
    assert len(found) >= 3 + len(survivors)
    assert check_mailbox(mailbox.path) == []


def test_all_who_wait_for_a_lock_in_vain_are_told_together(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(mailbox, [new("first")])
    other = Mailbox(mailbox.path)
    monkeypatch.setattr(Mailbox, "transaction", lambda self: Transaction(self, 1.0))
    with other.lock.hold():
        sessions = [gevent.spawn(append, mailbox, [new(f"{n}")]) for n in range(60)]
        wait_for(sessions, 40.0)
    assert all(isinstance(session.exception, Busy) for session in sessions)
    assert append(mailbox, [new("after")]) == [2]


def test_one_who_fails_does_not_fail_the_others(mailbox: Mailbox, slow: Slow) -> None:
    slow.goes.set()
    append(mailbox, [new("first")])
    good = [new("good a"), new("good b")]
    bad = NewMessage(b"Subject: bad\r\n\r\n", 1, 0, (b"\\Bad",))
    mailbox.lock.acquire()
    sessions = [gevent.spawn(append, mailbox, [one]) for one in (good[0], bad, good[1])]
    gevent.sleep(0.01)
    mailbox.lock.release()
    wait_for(sessions, 5)
    assert isinstance(sessions[1].exception, Invalid | LimitReached)
    assert {*sessions[0].get(), *sessions[2].get()} == {2, 3}
    assert len(contents(mailbox)) == 3


def test_a_move_that_is_ended_while_it_waits_for_the_disk(mailbox: Mailbox, slow: Slow) -> None:
    """The group that removes the old messages and adds the new ones is taken back with its frames."""
    slow.goes.set()
    for n in range(4):
        append(mailbox, [new(f"{n}")])
    before = contents(mailbox)
    for syncs in range(1, 5):
        slow.goes.clear()
        mover = gevent.spawn(move, mailbox.index.live_rows()[1:3].copy(), mailbox, mailbox)
        slow.stop_at(mover, syncs)
        mover.kill(block=False)
        gevent.sleep(0.01)
        slow.goes.set()
        wait_for([mover])
        found = contents(mailbox)
        assert sorted(found) == sorted(before)
        with Mailbox(mailbox.path).transaction() as tx:
            tx.flags(np.array([0]), "add", 1)
        assert sorted(contents(mailbox)) == sorted(before)
        assert check_mailbox(mailbox.path) == []


def test_a_checkpoint_that_is_ended(mailbox: Mailbox, slow: Slow) -> None:
    """Whoever opens the mailbox afterwards finds the generation in which the others go on."""
    slow.goes.set()
    append(mailbox, [new("one"), new("two")])
    for syncs in range(1, 8):
        slow.goes.clear()
        keeper = gevent.spawn(mailbox.checkpoint)
        slow.stop_at(keeper, syncs)
        keeper.kill(block=False)
        gevent.sleep(0.01)
        slow.goes.set()
        wait_for([keeper])
        fresh = Mailbox(mailbox.path)
        append(mailbox, [new("more")])
        assert contents(fresh) == contents(mailbox) == contents(Mailbox(mailbox.path))
        with fresh.transaction() as tx:
            tx.flags(fresh.index.live_rows()[:1], "add" if syncs % 2 else "remove", 2)
        mailbox.refresh()
        assert (mailbox.columns.flags == fresh.columns.flags).all()
    assert check_mailbox(mailbox.path) == []


def test_a_mutex_wakes_nobody_who_has_gone() -> None:
    mutex = FairMutex()
    mutex.acquire()
    woken: list[float] = []

    def waits_no_longer() -> None:
        try:
            mutex.acquire()
        except gevent.Timeout:
            pass
        started = gevent.get_hub().loop.now()
        other = FairMutex()
        other.acquire()
        assert other.acquire(True, 0.05) is False
        gevent.get_hub().loop.update_now()
        woken.append(gevent.get_hub().loop.now() - started)

    waiter = gevent.spawn(waits_no_longer)
    gevent.sleep(0)
    waiter.kill(gevent.Timeout, block=False)
    mutex.release()
    wait_for([waiter])
    waiter.get()
    assert woken[0] >= 0.04
    assert not mutex.locked()


def test_a_full_disk_under_a_leader(mailbox: Mailbox) -> None:
    class Full(Quick):
        def pwritev(self, fd: int, buffers: Any, offset: int) -> int:
            if any(b"large" in bytes(part) for part in buffers):
                raise OSError(28, "No space left on device")
            return super().pwritev(fd, buffers, offset)

    append(mailbox, [new("first")])
    before = raw.install(Full())
    try:
        mailbox.lock.acquire()
        sessions = [gevent.spawn(append, mailbox, [new(text)]) for text in ("a", "large", "b")]
        gevent.sleep(0.01)
        mailbox.lock.release()
        wait_for(sessions, 5)
    finally:
        raw.install(before)
    assert isinstance(sessions[1].exception, StorageFailed)
    assert len(contents(mailbox)) == 3
    assert len({*sessions[0].get(), *sessions[2].get()}) == 2
    assert append(mailbox, [new("after")]) == [4]
    assert check_mailbox(mailbox.path) == []


def test_compaction_beside_sessions(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs by itself in the background, while sessions of two workers read, write and copy."""
    for module, name, value in (
        (diskuse, "LEAST_DEAD_BYTES", 3000),
        (compact, "LEAST_DEAD_BYTES", 3000),
        (mailboxes, "LEAST_DEAD_BYTES", 3000),
        (compact, "ROLL_BYTES", 4000),
        (frames, "ROLL_BYTES", 4000),
        (compactderived, "LEAST_BYTES", 4000),
    ):
        monkeypatch.setattr(module, name, value)
    other = Mailbox(mailbox.path)
    target = Mailbox.create(mailbox.path.parent / "00000000000000bb", 2)
    texts: dict[int, bytes] = {}
    numbers = itertools.count()

    def write(box: Mailbox) -> None:
        for _ in range(60):
            message = new(f"{next(numbers)} " * 30)
            (uid,) = append(box, [message])
            texts[uid] = message.buffer()
            rows = box.index.live_rows()
            if len(rows) > 8:
                with box.transaction() as tx:
                    tx.expunge(rows[:2])
            gevent.sleep(0)

    def read(box: Mailbox) -> None:
        for _ in range(60):
            box.refresh()
            rows = box.index.live_rows()
            uids = box.columns.uid[rows].tolist()
            try:
                found = [text for part in box.read_many(rows) for text in part]
                assert all(text == texts.get(uid, text) for uid, text in zip(uids, found, strict=True))
                box.derived(rows, [0])
                copy(rows[:3], box, target)
            except Expunged:
                pass
            gevent.sleep(0.001)

    wait_for([gevent.spawn(work, box) for work in (write, read) for box in (mailbox, other)])
    with gevent.Timeout(60, AssertionError("it is compacted by itself")):
        while mailbox.index.packed_next == PACKED:
            # What others kept from being done is begun again when more is dead. One message in each segment
            # stays, so that nothing can be given back without copying.
            kept, passing = new(f"{next(numbers)}"), new(f"{next(numbers)} " * 200)
            uid, dead = append(mailbox, [kept, passing])
            texts[uid] = kept.buffer()
            with mailbox.transaction() as tx:
                tx.expunge([mailbox.index.row_of(dead)])
            gevent.sleep(0.05)
            mailbox.refresh()
    with gevent.Timeout(60, AssertionError("derived data are, too")):
        while (mailbox.path / "derived").stat().st_size >= 60_000:
            gevent.sleep(0.05)
    assert blocking._waiting.finish(60)
    mailbox.refresh()
    uids = mailbox.columns.uid[mailbox.index.live_rows()].tolist()
    assert contents(mailbox) == contents(other) == [texts[uid] for uid in uids]
    for box in (mailbox, other, target):
        box.close()
    assert check_mailbox(mailbox.path) == check_mailbox(target.path) == []
