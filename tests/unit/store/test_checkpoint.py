"""A checkpoint goes on beside the writers: what they do meanwhile is carried over,
whoever dies or follows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.base import blocking
from mstore.base.errors import Busy
from mstore.base.flags import FLAGGED, SEEN
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.checkpoint import read_index, write_index
from mstore.files.lock import Lock
from mstore.store import generation as generations
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.checkpointer import PASSING_INDEX, PASSING_JOURNAL
from mstore.store.copy import copy
from mstore.store.mailbox import Mailbox
from tests.kit.between import Between
from tests.kit.dying import Quick, close_files_under, run_and_die
from tests.kit.mail import make_message, make_messages
from tests.kit.yardstick import allow

ANN = AccountId("00000000000000a1")
BOX = "0123456789abcdef"
State = list[tuple[int, int, int]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
    before = raw.install(Quick())
    yield
    raw.install(before)
    close_files_under(tmp_path)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A mailbox with messages, an expunge, a keyword and two readers' flags, in its second generation."""
    path = tmp_path / "origin" / BOX
    path.parent.mkdir()
    owner = Mailbox.create(path, 7)
    append(owner, make_messages(6))
    owner.checkpoint()
    ann = Mailbox(path, None, ANN)
    with ann.transaction() as tx:
        tx.flags([1, 3], "add", SEEN)
    with owner.transaction() as tx:
        tx.flags([0, 1], "add", SEEN | tx.keyword_bits([b"work"]))
        tx.expunge([4])
    owner.close()
    ann.close()
    return path


def state_of(mailbox: Mailbox) -> State:
    mailbox.refresh()
    rows = mailbox.index.live_rows()
    full = mailbox.columns.full
    assert mailbox.status().messages == len(rows)
    unseen = np.count_nonzero(full.flags[rows] & np.uint64(SEEN) == 0)
    assert mailbox.status().unseen == unseen
    return list(
        zip(full.uid[rows].tolist(), full.flags[rows].tolist(), full.modseq[rows].tolist(), strict=True)
    )


class Others:
    """Another process with the mailbox open: it changes it now and then, and follows."""

    def __init__(self, path: Path) -> None:
        self.owner = Mailbox(path)
        self.ann = Mailbox(path, None, ANN)
        self.late = [Mailbox(path), Mailbox(path, None, ANN)]
        """They look again only at the end."""
        self.done = 0

    def act(self) -> None:
        try:
            with self.ann.transaction(0.0) as tx:
                rows = self.ann.index.live_rows()
                tx.flags(rows[self.done % len(rows) :][:2], ("add", "remove")[self.done // 3 % 2], SEEN)
                message = make_message(100 + self.done)
                message.flags = SEEN
                message.keywords = (b"word%d" % self.done,)
                tx.append([message])
            with self.owner.transaction(0.0) as tx:
                rows = self.owner.index.live_rows()
                tx.flags(rows[:3], ("remove", "add")[self.done % 2], SEEN | FLAGGED)
                if self.done % 3 == 2:
                    tx.expunge(rows[1:2])
            self.done += 1
        except Busy:
            assert not self.owner.refresh(), "nobody changes anything while the new generation takes over"

    def states(self) -> tuple[State, State]:
        return state_of(self.owner), state_of(self.ann)


def assert_all_agree(path: Path, others: Others, *more: Mailbox, recoveries: bool = True) -> None:
    """Who followed, comes late or comes new sees the same; so does a recovery from either generation."""
    states = others.states()
    assert tuple(state_of(table) for table in others.late) == states
    for table in more:
        assert state_of(table) == states[0]
    fresh = Mailbox(path), Mailbox(path, None, ANN)
    assert tuple(state_of(table) for table in fresh) == states
    assert fresh[0].keywords == others.owner.keywords
    assert fresh[0].highest_modseq == others.owner.highest_modseq
    newest = fresh[0].journal.info.generation
    assert check_mailbox(path) == []
    assert not (path / PASSING_INDEX).exists()
    assert not (path / PASSING_JOURNAL).exists()
    for damaged in ([], [newest], [newest - 1]) if recoveries else ():
        copied = path.parent / f"copy{damaged}" / BOX
        shutil.copytree(path, copied)
        for generation in damaged:
            index = copied / f"index.{generation}"
            index.write_bytes(b"\0" * 300 + index.read_bytes()[300:])
        before = raw.install(Quick(b"second boot....."))
        try:
            recovered = Mailbox(copied), Mailbox(copied, None, ANN)
            assert tuple(state_of(table) for table in recovered) == states, damaged
            assert check_mailbox(copied) == []
        finally:
            raw.install(before)
        shutil.rmtree(copied.parent)


def checkpoint_between(path: Path, monkeypatch: pytest.MonkeyPatch, *moments: int) -> tuple[Others, Between]:
    mailbox, others = Mailbox(path), Others(path)
    between = Between(others.act, *moments)
    monkeypatch.setattr(blocking, "_waiting", between)
    mailbox.checkpoint()
    monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
    assert_all_agree(path, others, mailbox)
    append(mailbox, [make_message(50)])
    assert state_of(mailbox) == others.states()[0]
    assert mailbox.journal.info.generation == 3
    return others, between


def test_changes_at_every_moment_are_carried_over(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted = []
    for moment in range(1, 100):
        path = tmp_path / f"moment{moment}" / BOX
        shutil.copytree(origin, path)
        others, between = checkpoint_between(path, monkeypatch, moment)
        acted.append(others.done)
        if moment > between.count:
            break
        close_files_under(path)
    assert sum(acted) >= 2, "there are moments at which writers are free"
    assert 0 in acted[:-1], "and others at which they wait"


def test_changes_at_all_moments_are_carried_over(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others, _ = checkpoint_between(origin, monkeypatch)
    assert others.done >= 2
    carried = Mailbox(origin).journal.info.base
    assert carried > 0
    for turn in range(4):
        close_files_under(origin)
        mailbox, others = Mailbox(origin), Others(origin)
        monkeypatch.setattr(blocking, "_waiting", Between(others.act))
        mailbox.checkpoint()
        monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
        assert_all_agree(origin, others, mailbox)
        assert mailbox.journal.info.generation == 4 + turn


def test_many_changes_are_carried_before_the_lock_is_taken(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox, others = Mailbox(origin), Others(origin)
    other = Mailbox(origin)

    def act() -> None:
        for turn in range(900):
            with other.transaction() as tx:
                tx.flags(other.index.live_rows()[:3], ("add", "remove")[turn % 2], FLAGGED)

    monkeypatch.setattr(blocking, "_waiting", Between(act, 1))
    with monkeypatch.context() as patch:
        patch.setattr("mstore.store.checkpointer._PIECE_BYTES", 4096)
        patch.setattr("mstore.store.generation._PIECE_BYTES", 100)
        mailbox.checkpoint()
    monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
    assert_all_agree(origin, others, mailbox, other)


@pytest.mark.parametrize("torn", [False, True])
def test_dying_at_any_call(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool) -> None:
    for last in range(1000):
        path = tmp_path / f"dead{last}" / BOX
        shutil.copytree(origin, path)
        before = raw.install(Quick())
        others = Others(path)

        def act(others: Others = others) -> None:
            mortal = raw.install(Quick())  # it is another process, and lives on
            try:
                others.act()
            finally:
                raw.install(mortal)

        def work(path: Path = path, act: Callable[[], None] = act) -> None:
            mailbox = Mailbox(path)
            monkeypatch.setattr(blocking, "_waiting", Between(act, 1, 2))
            mailbox.checkpoint()

        system = run_and_die(work, last, torn)
        monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
        raw.install(before)
        expected = others.states()
        fresh = Mailbox(path), Mailbox(path, None, ANN)
        assert tuple(state_of(table) for table in fresh) == expected
        assert tuple(state_of(table) for table in others.late) == expected
        others.act()
        assert others.done >= 1
        append(fresh[0], [make_message(60)])
        Mailbox(path).checkpoint()
        assert_all_agree(path, others, *fresh[:1], recoveries=False)
        close_files_under(path)
        shutil.rmtree(path)
        if not system.is_dead:
            assert others.done == 3
            return
    raise AssertionError("it never lived")


def test_a_recovery_meanwhile_wins(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in range(1, 100):
        path = tmp_path / f"moment{moment}" / BOX
        shutil.copytree(origin, path)
        mailbox, others, other = Mailbox(path), Others(path), Mailbox(path)
        recovered = []

        def act(other: Mailbox = other, recovered: list[int] = recovered) -> None:
            try:
                with other.transaction(0.0) as tx:
                    tx.recover()
                    recovered.append(other.journal.info.generation)
                append(other, [make_message(40)])
            except Busy:
                pass

        between = Between(act, moment)
        monkeypatch.setattr(blocking, "_waiting", between)
        mailbox.checkpoint()
        monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
        assert recovered in ([], [3])
        mailbox.refresh()
        assert mailbox.journal.info.generation == 3
        assert check_mailbox(path) == []
        assert state_of(mailbox) == state_of(Mailbox(path)) == state_of(others.owner)
        append(mailbox, [make_message(41)])
        mailbox.checkpoint()
        assert_all_agree(path, others, mailbox, other)
        close_files_under(path)
        if moment > between.count:
            assert not recovered
            return


def test_one_at_a_time(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox, other = Mailbox(origin), Mailbox(origin)
    refused = []

    def act() -> None:
        other.refresh()
        other.checkpoint_at = 100
        other._checkpoint()
        refused.append(other.checkpoint_at > other.journal.end)

    between = Between(act, 1)
    monkeypatch.setattr(blocking, "_waiting", between)
    mailbox.checkpoint()
    assert refused == [True]
    assert mailbox.journal.info.generation == 3
    other.refresh()
    assert other.journal.info.generation == 3


def test_damage_in_the_index_is_not_carried_on(origin: Path) -> None:
    mailbox = Mailbox(origin)
    expected = state_of(mailbox)
    index = origin / "index.2"
    data = bytearray(index.read_bytes())
    data[-60] ^= 4
    data[700] ^= 4
    index.write_bytes(data)
    mailbox.checkpoint()
    assert state_of(Mailbox(origin)) == expected == state_of(mailbox)
    append(mailbox, [make_message(30)])
    mailbox.checkpoint()
    mailbox.checkpoint()
    assert check_mailbox(origin) == []


def test_who_lags_behind_never_waits_while_it_reads_anew(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads under a plain lock of its process: were others to run meanwhile, they would wait for it for
    ever."""
    late = [Mailbox(origin), Mailbox(origin, None, ANN)]
    mailbox = Mailbox(origin)
    for turn in range(3):
        append(mailbox, [make_message(30 + turn)])
        mailbox.checkpoint()

    def fail() -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(blocking, "_waiting", Between(fail))
    for table in late:
        assert table.refresh()
    assert state_of(late[0]) == state_of(mailbox)


def test_a_listing_of_two_moments_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several reads may have the new journal without its index, before the old one is sealed."""
    mailbox = Mailbox.create(tmp_path / BOX, 7)
    append(mailbox, make_messages(3))
    listed, found = raw.list_directory, list[int]()

    class Looking(Quick):
        def sync_directory(self, path: raw.PathLike) -> None:
            super().sync_directory(path)
            names = listed(path)
            if "journal.2" in names and not found:
                torn = [[name for name in names if name != "index.2"]]
                monkeypatch.setattr(raw, "list_directory", lambda path: torn.pop() if torn else listed(path))
                index, journal = generations.load(mailbox.path)
                journal.close()
                found.extend((index.generation, index.messages))

    before = raw.install(Looking())
    mailbox.checkpoint()
    raw.install(before)
    assert found == [2, 3] and mailbox.index.generation == 2


# -- a million messages

MILLION = 1_000_000


@pytest.fixture
def million(tmp_path: Path) -> Path:
    """A mailbox of a million rows without messages, and a journal as long as it gets."""
    path = tmp_path / BOX
    mailbox = Mailbox.create(path, 7)
    mailbox.close()
    index = read_index(path / "index.1", keep=True)
    columns = index.columns
    columns._make_room(MILLION)
    columns.count = index.messages = index.unseen = MILLION
    columns.full.uid[:MILLION] = np.arange(1, MILLION + 1)
    columns.full.modseq[:MILLION] = 1
    columns.full.size[:MILLION] = 100
    index.size_bytes, index.uid_next = 100 * MILLION, MILLION + 1
    write_index(path / "index.1", index, 1)
    mailbox = Mailbox(path)
    mailbox.checkpoint_at = 1 << 40
    chance = np.random.default_rng(1)
    rows = np.unique(chance.integers(0, MILLION, 60_000))
    for start in range(0, len(rows), 300):
        with mailbox.transaction() as tx:
            tx.flags(rows[start : start + 300], "add", FLAGGED | SEEN)
    with mailbox.transaction() as tx:
        tx.expunge(rows[::100])
    mailbox.close()
    return path


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_a_million_rows_hold_no_writer_up(million: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what this thread has to do: others on the machine may keep it waiting."""
    mailbox, other = Mailbox(million), Mailbox(million, None, ANN)
    held: list[float] = []
    most_held_s, most_pause_s = allow(0.05), allow(0.5)
    begun = 0.0
    acquire, release = Lock.acquire, Lock.release

    def lock(self: Lock, deadline_s: float = 30.0) -> None:
        nonlocal begun
        acquire(self, deadline_s)
        if self is mailbox.lock:
            begun = time.thread_time()

    def unlock(self: Lock, keep_open: bool = False) -> None:
        release(self, keep_open)
        if self is mailbox.lock:
            held.append(time.thread_time() - begun)

    monkeypatch.setattr(Lock, "acquire", lock)
    monkeypatch.setattr(Lock, "release", unlock)
    for name in ("uid", "flags", "modseq", "size", "segment", "offset"):
        getattr(mailbox.columns, name).max()
    sizes = []
    pauses: list[float] = []
    last = time.thread_time()

    def act() -> None:
        nonlocal last
        pauses.append(time.thread_time() - last)
        sizes.append(resident_bytes())
        try:
            with other.transaction(0.0) as tx:
                tx.flags([len(sizes)], "add", SEEN)
        except Busy:
            pass
        last = time.thread_time()

    before = resident_bytes()
    monkeypatch.setattr(blocking, "_waiting", Between(act))
    mailbox.checkpoint()
    monkeypatch.setattr(blocking, "_waiting", blocking.Plain())
    table = (million / "index.2").stat().st_size
    assert table > 80 * MILLION
    assert len(held) == 1
    assert held[0] < most_held_s, f"writers were held for {held[0] * 1000:.0f} ms"
    assert sorted(pauses)[-1] < most_pause_s, "other sessions run meanwhile"
    assert len(pauses) > 100
    extra = max(sizes) - before
    assert extra < table // 2, f"the table is in memory twice: {extra >> 20} of {table >> 20} MiB more"
    assert state_of(mailbox) == state_of(Mailbox(million))
    assert state_of(other) == state_of(Mailbox(million, None, ANN))
    assert other.status().unseen < mailbox.status().messages


def test_one_large_group_is_no_reason_but_many_are(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / BOX, 7)
    append(mailbox, make_messages(500))
    assert mailbox.journal.end > 24 << 10
    assert mailbox.journal.info.generation == 1
    other = Mailbox(mailbox.path)
    assert other.index.messages == 500
    while mailbox.journal.info.generation == 1:
        with mailbox.transaction() as tx:
            tx.flags(np.arange(0, 500, 2), "add", SEEN)
            tx.flags(np.arange(1, 500, 3), "remove", SEEN)
            tx.flags(np.arange(0, 500, 2), "remove", SEEN)
        assert mailbox.journal.end < 100 << 10, "small ones are, as ever"
    while mailbox.journal.info.generation == 2:
        copy(np.arange(500), mailbox, mailbox)
        assert mailbox.journal.end < 600 << 10
    assert mailbox.index.messages > 5000
    other.refresh()
    assert other.index.messages == mailbox.index.messages
    mailbox.close()
    other.close()
    assert check_mailbox(mailbox.path) == []
