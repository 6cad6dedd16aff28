"""A writer that is killed at any system call leaves either what was before or what was to be; never anything
else, for nobody, and the next writer works. No power is cut here: what was written stays written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mstore.files import raw
from mstore.store import compact, compactderived, frames
from mstore.store import copy as copying
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.dying import Quick, close_files_under, run_and_die

HERE, THERE = "00000000000000aa", "00000000000000bb"
State = dict[int, tuple[bytes, frozenset[bytes]]]
"""UID: content, and the names of flags and keywords."""
_FLAGS = {1: b"seen", 2: b"answered", 4: b"flagged", 8: b"deleted", 16: b"draft"}


def message(text: str, size: int = 100, flags: int = 0, *keywords: bytes) -> NewMessage:
    content = f"From: a@example.org\r\nSubject: {text}\r\n\r\n{text * size}"[: size + 60].encode()
    return NewMessage(content, 1_700_000_000, flags, keywords)


def state_of(mailbox: Mailbox) -> State:
    view = mailbox.view()
    state: State = {}
    for row in view.rows.tolist():
        bits = mailbox.columns.flags.item(row)
        names = {name for bit, name in _FLAGS.items() if bits & bit}
        names |= {name for place, name in enumerate(mailbox.keywords) if bits >> 8 + place & 1}
        assert not bits & 0xE0
        assert bits >> 8 + len(mailbox.keywords) == 0
        state[mailbox.columns.uid.item(row)] = mailbox.read(row), frozenset(names)
    return state


class Workload(NamedTuple):
    name: str
    run: Callable[[Mailbox, Mailbox], Any]
    """Does one thing to the mailboxes ``here`` and ``there``."""
    in_steps: bool = False
    """It is atomic in each mailbox, but not in both together."""
    is_many: bool = False
    """It is several changes, each of them atomic."""


def rows(*numbers: int) -> Any:
    return np.array(numbers, np.int32)


def change_flags(here: Mailbox, *names: bytes) -> None:
    with here.transaction() as tx:
        tx.flags(rows(0, 2, 3), "add", tx.keyword_bits(names))


def expunge(here: Mailbox) -> None:
    with here.transaction() as tx:
        tx.expunge(rows(1, 2))


def compact_much(here: Mailbox) -> None:
    """Several segments, an expunge that is new, and ``derived`` as well."""
    append(here, [message(f"large {n}", 900) for n in range(5)])
    expunge(here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact, "ROLL_BYTES", 2500)
        patch.setattr(compactderived, "LEAST_BYTES", 500)
        here.compact(thorough=True)


WORKLOADS = [
    Workload("append one", lambda here, there: append(here, [message("new")])),
    Workload("append several", lambda here, there: append(here, [message(f"new {n}") for n in range(4)])),
    Workload("append to an empty mailbox", lambda here, there: append(there, [message("a"), message("b")])),
    Workload("append with a keyword", lambda here, there: append(here, [message("n", 50, 3, b"new", b"b")])),
    Workload(
        "append over a segment's end",
        lambda here, there: append(here, [message(f"large {n}", 900) for n in range(5)]),
    ),
    Workload("flags", lambda here, there: change_flags(here, b"\\Flagged")),
    Workload("a new keyword", lambda here, there: change_flags(here, b"\\Answered", b"novel")),
    Workload("expunge", lambda here, there: expunge(here)),
    Workload("checkpoint", lambda here, there: here.checkpoint()),
    Workload("copy", lambda here, there: copying.copy(rows(0, 1, 3, 4), here, there)),
    Workload("copy within", lambda here, there: copying.copy(rows(0, 1, 3), here, here)),
    Workload("move", lambda here, there: copying.move(rows(1, 2, 4), here, there), in_steps=True),
    Workload("compaction", lambda here, there: here.compact(thorough=True)),
    Workload("a compaction of much", lambda here, there: compact_much(here), is_many=True),
    Workload("move within", lambda here, there: copying.move(rows(1, 2, 4), here, here)),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(frames, "ROLL_BYTES", 2500)
    before = raw.install(Quick())
    yield
    raw.install(before)
    close_files_under(tmp_path)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Two mailboxes: one with messages, keywords, an expunge and a generation behind it, and an empty one."""
    path = tmp_path / "origin"
    path.mkdir()
    here = Mailbox.create(path / HERE, 7)
    Mailbox.create(path / THERE, 8).close()
    for n in range(4):
        append(here, [message(f"old {n}", 200, n & 1, *[b"work"][: n % 2])])
    here.checkpoint()
    append(here, [message("gone"), message("late", 300, 4, b"play")])
    with here.transaction() as tx:
        tx.expunge(rows(4))
    here.close()
    return path


def both(path: Path) -> tuple[State, State]:
    here, there = Mailbox(path / HERE), Mailbox(path / THERE)
    found = state_of(here), state_of(there)
    here.close()
    there.close()
    return found


def go_on(here: Mailbox, there: Mailbox) -> tuple[tuple[State, State], tuple[State, State]]:
    """What the next writer does: what it made of what it found, and the states that must be there
    afterwards."""
    settled, states = [], []
    for mailbox in (here, there):
        before = state_of(mailbox)
        (uid,) = append(mailbox, [message("next", 80)])
        assert uid > max(before, default=0)
        settled.append({other: what for other, what in state_of(mailbox).items() if other != uid})
        first = mailbox.view().rows[:1]
        with mailbox.transaction() as tx:
            tx.flags(mailbox.view().rows[-1:], "add", tx.keyword_bits([b"after", b"\\Draft"]))
        expected = state_of(mailbox)
        assert expected[uid][1] == {b"after", b"draft"}
        with mailbox.transaction() as tx:
            (dead,) = tx.expunge(first).tolist()
        del expected[dead]
        assert state_of(mailbox) == expected
        states.append(expected)
    return (settled[0], settled[1]), (states[0], states[1])


def restart(path: Path) -> tuple[State, State]:
    """The states after the machine was restarted in good order."""
    before = raw.install(Quick(b"second boot....."))
    try:
        return both(path)
    finally:
        raw.install(before)


def die_everywhere(origin: Path, tmp_path: Path, workload: Workload, torn: bool) -> Iterator[Path]:
    """A copy of the mailboxes for every call at which the writer can die; the last one lived."""
    for last in range(1000):
        path = tmp_path / f"dead{last}"
        shutil.copytree(origin, path)

        def work(path: Path = path) -> None:
            workload.run(Mailbox(path / HERE), Mailbox(path / THERE))

        writer = run_and_die(work, last, torn)
        if writer.tore or not torn or not writer.is_dead:
            yield path
        close_files_under(path)
        shutil.rmtree(path)
        if not writer.is_dead:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("torn", [False, True], ids=["between", "torn"])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_writer_killed_anywhere(origin: Path, tmp_path: Path, workload: Workload, torn: bool) -> None:
    before = both(origin)
    outcomes: list[tuple[State, State]] = []
    for path in die_everywhere(origin, tmp_path, workload, torn):
        outcomes.append(both(path))
        here, there = Mailbox(path / HERE), Mailbox(path / THERE)
        watchers = Mailbox(path / HERE), Mailbox(path / THERE)
        settled, expected = go_on(here, there)
        outcomes.append(settled)
        assert (state_of(watchers[0]), state_of(watchers[1])) == expected
        for mailbox in (here, there, *watchers):
            mailbox.close()
        assert check_mailbox(path / HERE) + check_mailbox(path / THERE) == []
        assert both(path) == expected
        assert restart(path) == expected
        assert check_mailbox(path / HERE) + check_mailbox(path / THERE) == []
    assert len(outcomes) >= 2
    after = outcomes[-1]
    for found in outcomes:
        if workload.is_many:
            assert all(found[0][uid] == what for uid, what in after[0].items() if uid in before[0])
            continue
        for place in (0, 1):
            assert found[place] in (before[place], after[place])
        if not workload.in_steps:
            assert found in (before, after)
        for content, _ in before[0].values():
            assert any(content == other for other, _ in found[0].values()) or any(
                content == other for other, _ in found[1].values()
            ) or workload.name == "expunge"


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_processes_that_had_it_open(origin: Path, tmp_path: Path, workload: Workload) -> None:
    """Another process that opened the mailboxes before goes on with its objects, reading and writing."""
    for last in range(1000):
        path = tmp_path / f"open{last}"
        shutil.copytree(origin, path)
        mine = Mailbox(path / HERE), Mailbox(path / THERE)
        views = [mailbox.view() for mailbox in mine]

        def work(path: Path = path) -> None:
            workload.run(Mailbox(path / HERE), Mailbox(path / THERE))

        writer = run_and_die(work, last)
        assert (state_of(mine[0]), state_of(mine[1])) == both(path)
        _, expected = go_on(*mine)
        assert both(path) == expected
        for mailbox, view in zip(mine, views, strict=True):
            view.pending(expunges=True)
            assert view.uids.tolist() == list(state_of(mailbox))
            mailbox.close()
        assert check_mailbox(path / HERE) + check_mailbox(path / THERE) == []
        assert restart(path) == expected
        close_files_under(path)
        shutil.rmtree(path)
        if not writer.is_dead:
            return


def test_what_is_adopted_was_synced_before(origin: Path) -> None:
    """Visible means durable, also for the frames of one who died before its sync."""

    class Recorder(Quick):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[str, str]] = []

        def _note(self, call: str, fd: int) -> None:
            self.calls.append((call, os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))

        def sync(self, fd: int) -> None:
            self._note("sync", fd)

        def pwrite(self, fd: int, data: Any, offset: int) -> int:
            self._note("write", fd)
            return super().pwrite(fd, data, offset)

    def adopts(path: Path) -> bool:
        uids = state_of(Mailbox(path / HERE))
        recorder = Recorder()
        before = raw.install(recorder)
        try:
            append(Mailbox(path / HERE), [message("next", 80)])
        finally:
            raw.install(before)
        if len(state_of(Mailbox(path / HERE))) == len(uids) + 1:
            return False
        first_write = next(n for n, (call, name) in enumerate(recorder.calls) if name.startswith("journal."))
        assert ("sync", "messages.1") in recorder.calls[:first_write]
        return True

    adopted = 0
    for last in range(10):
        path = origin.parent / f"adopted{last}"
        shutil.copytree(origin, path)
        run_and_die(lambda path=path: append(Mailbox(path / HERE), [message("unpublished")]), last)  # type: ignore[misc]
        adopted += adopts(path)
    assert adopted


def test_messages_whose_part_of_the_journal_was_lost(origin: Path) -> None:
    """After a power cut any unsynced block of the journal may be missing; acknowledged messages stay."""
    mailbox = Mailbox(origin / HERE)
    bounds = []
    for number in range(3):
        bounds.append(mailbox.journal.end)
        append(mailbox, [message(f"acknowledged {number}")])
        bounds.append(mailbox.journal.end)
        with mailbox.transaction() as tx:
            tx.flags(mailbox.index.live_rows()[:2], "add" if number & 1 else "remove", 4)
    expected = {uid: content for uid, (content, _) in state_of(mailbox).items()}
    data = mailbox.journal.path.read_bytes()
    bounds.append(len(data))
    mailbox.close()
    for first in range(len(bounds) - 1):
        for end in range(first + 1, len(bounds)):
            path = origin.parent / f"lost{first}-{end}"
            shutil.copytree(origin, path)
            hole = bytes(bounds[end] - bounds[first])
            journal = path / HERE / mailbox.journal.path.name
            journal.write_bytes(data[: bounds[first]] + hole + data[bounds[end] :])
            restarted, _ = restart(path)
            assert {uid: content for uid, (content, _) in restarted.items()} == expected
