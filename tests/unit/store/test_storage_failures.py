"""A disk that refuses at any system call: the client is told, nothing is seen of it, the next
writer works."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.base.errors import MStoreError, NotFound, StorageFailed
from mstore.files import raw
from mstore.store import copy as copying
from mstore.store import frames
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.dying import Quick, close_files_under, open_files
from tests.kit.mail import make_message

HERE, THERE = "00000000000000aa", "00000000000000bb"
State = dict[int, tuple[bytes, int]]


class Refusing(Quick):
    """Refuses from one call on, for a number of calls; with ``short``, half of a write is done before that.

    It lets files be cut and removed, as a full disk does.
    """

    def __init__(self, first: int, count: int, short: bool) -> None:
        super().__init__()
        self.calls, self.first, self.end, self.short = 0, first, first + count, short
        self.refused: list[str] = []

    def _step(self, name: str) -> bool:
        self.calls += 1
        if not self.first < self.calls <= self.end:
            return False
        self.refused.append(name)
        if self.short and self.calls == self.first + 1 and name == "write":
            return True
        raise OSError(errno.ENOSPC if name != "sync" else errno.EIO, "refused")

    def open(self, path: raw.PathLike, flags: int, mode: int) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self._step("open")
        return super().open(path, flags, mode)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        if self._step("write"):
            return os.pwrite(fd, memoryview(data).cast("B")[: len(data) // 2], offset)
        return super().pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Any, offset: int) -> int:
        if self._step("write"):
            data = b"".join(buffers)
            return os.pwrite(fd, data[: len(data) // 2], offset)
        return super().pwritev(fd, buffers, offset)

    def copy_range(self, source: int, target: int, count: int, source_at: int, target_at: int) -> int:
        if self._step("write"):
            return super().copy_range(source, target, count // 2, source_at, target_at)
        return super().copy_range(source, target, count, source_at, target_at)

    def sync(self, fd: int) -> None:
        self._step("sync")
        super().sync(fd)

    def sync_directory(self, path: raw.PathLike) -> None:
        self._step("sync")
        super().sync_directory(path)

    def rename(self, source: raw.PathLike, target: raw.PathLike) -> None:
        self._step("rename")
        super().rename(source, target)


def message(text: str, size: int = 100, *keywords: bytes) -> NewMessage:
    return NewMessage(f"Subject: {text}\r\n\r\n{text * size}"[: size + 60].encode(), 1, 0, keywords)


def state_of(mailbox: Mailbox) -> State:
    rows = mailbox.view().rows.tolist()
    columns = mailbox.columns
    return {columns.uid.item(row): (mailbox.read(row), columns.flags.item(row)) for row in rows}


def change_flags(here: Mailbox) -> None:
    with here.transaction() as tx:
        tx.flags(np.array([0, 2]), "add", tx.keyword_bits([b"\\Flagged", b"novel"]))


def expunge(here: Mailbox) -> None:
    with here.transaction() as tx:
        tx.expunge(np.array([1, 2]))


WORKLOADS: dict[str, Callable[[Mailbox, Mailbox], Any]] = {
    "append": lambda here, there: append(here, [message("new")]),
    "append several": lambda here, there: append(here, [message(f"new {n}", 900) for n in range(4)]),
    "append with a keyword": lambda here, there: append(here, [message("n", 50, b"new")]),
    "append to an empty mailbox": lambda here, there: append(there, [message("a")]),
    "flags": lambda here, there: change_flags(here),
    "expunge": lambda here, there: expunge(here),
    "checkpoint": lambda here, there: here.checkpoint(),
    "copy": lambda here, there: copying.copy(np.array([0, 1, 3]), here, there),
    "move within": lambda here, there: copying.move(np.array([1, 2]), here, here),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(frames, "ROLL_BYTES", 2500)
    before = raw.install(Quick())
    yield
    raw.install(before)
    close_files_under(tmp_path)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    path = tmp_path / "origin"
    path.mkdir()
    here = Mailbox.create(path / HERE, 7)
    Mailbox.create(path / THERE, 8).close()
    for n in range(4):
        append(here, [message(f"old {n}", 200, *[b"work"][: n % 2])])
    here.close()
    return path


def refuse(system: Refusing, work: Callable[[], Any]) -> bool:
    """Whether the work says that it succeeded."""
    before = raw.install(system)
    try:
        work()
        return True
    except StorageFailed as error:
        assert "Errno" not in str(error)
        return False
    finally:
        raw.install(before)


@pytest.mark.parametrize("count", [1, 1000], ids=["once", "from then on"])
@pytest.mark.parametrize("short", [False, True], ids=["at once", "short"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_any_call_refused(origin: Path, tmp_path: Path, name: str, count: int, short: bool) -> None:
    successes = 0
    for first in range(1000):
        path = tmp_path / f"refused{first}"
        shutil.copytree(origin, path)
        here, there = Mailbox(path / HERE), Mailbox(path / THERE)
        others = Mailbox(path / HERE), Mailbox(path / THERE)
        before = state_of(here), state_of(there)
        system = Refusing(first, count, short)
        done = refuse(system, lambda here=here, there=there: WORKLOADS[name](here, there))  # type: ignore[misc]
        if short and system.refused[:1] not in (["write"], []):
            close_files_under(path)
            shutil.rmtree(path)
            continue
        after = state_of(here), state_of(there)
        assert (state_of(others[0]), state_of(others[1])) == after
        if not done and not (name == "flags" and set(system.refused) == {"sync"}):
            assert after == before, system.refused  # flags are there at once, and synced soon
        if done and name != "checkpoint":
            assert after != before
        for mailbox in (here, there):
            kept = state_of(mailbox)
            (uid,) = append(mailbox, [message("next", 80)])
            now = state_of(mailbox)
            assert now.pop(uid)[0] == message("next", 80).content
            assert now == kept
            with mailbox.transaction() as tx:
                tx.flags(mailbox.index.live_rows()[:1], "add", tx.keyword_bits([b"later"]))
            mailbox.checkpoint()
        assert (state_of(others[0]), state_of(others[1])) == (state_of(here), state_of(there))
        for mailbox in (here, there, *others):
            mailbox.close()
        assert check_mailbox(path / HERE) + check_mailbox(path / THERE) == []
        expected = state_of(here), state_of(there)
        now_booted = raw.install(Quick(b"second boot....."))
        try:
            assert (state_of(Mailbox(path / HERE)), state_of(Mailbox(path / THERE))) == expected
        finally:
            raw.install(now_booted)
        close_files_under(path)
        shutil.rmtree(path)
        if not system.refused:
            successes += 1
            break
    assert successes


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from mstore.base.errors import StorageFailed
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
mailbox = Mailbox(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
stored = failed = 0
for number in range(40):
    size = (9_000, 40_000, 2_000)[number % 3]
    try:
        append(mailbox, [NewMessage(b"Subject: %d\\r\\n\\r\\n" % number + b"x" * size, 1)])
        stored += 1
    except StorageFailed:
        failed += 1
print(stored, failed, len(mailbox.view().rows))
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    path = tmp_path / HERE
    Mailbox.create(path, 1).close()
    found = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    stored, failed, rows = map(int, found.stdout.split())
    assert stored and failed
    assert rows == stored
    raw.install(raw.System())
    mailbox = Mailbox(path)
    assert mailbox.view().count == stored
    append(mailbox, [message("it fits again")])
    mailbox.close()
    assert check_mailbox(path) == []


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    mailbox, there = Mailbox.create(tmp_path / HERE, 1), Mailbox.create(tmp_path / THERE, 2)
    append(mailbox, [message("first", 900)])
    mailbox.close()
    there.close()
    before = len(open_files(f"{tmp_path}/"))
    for turn in range(140):
        mailbox.retain()
        append(mailbox, [message(f"{turn}", 900), message("more")])
        view = mailbox.view(True)
        mailbox.read(view.rows.item(0))
        mailbox.derived(view.rows[:2], (0,))
        with mailbox.transaction() as tx:
            tx.expunge(view.rows[1:3])
        if turn % 10 == 0:
            mailbox.checkpoint()
            copying.copy(view.rows[:1], mailbox, there)
        for refused in range(turn % 7 * 3, turn % 7 * 3 + 3):
            refuse(Refusing(refused, 1, False), lambda: append(mailbox, [message("refused", 900)]))
            refuse(Refusing(refused, 1, False), mailbox.checkpoint)
        other = Mailbox(mailbox.path)
        other.refresh()
        other.close()
        mailbox.release()
        there.rest()
    assert len(open_files(f"{tmp_path}/")) <= before + 2


def test_a_mailbox_that_is_deleted_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / HERE
    mailbox, idle = Mailbox.create(path, 1), Mailbox(path)
    append(mailbox, [message("one"), message("two")])
    for target in (mailbox, idle):
        target.refresh()
        target.view().pending(expunges=True)
    view = idle.view()
    idle.rest()
    trash = tmp_path / "trash-aa"
    os.rename(path, trash)

    def use_in_vain() -> None:
        attempts: list[Callable[[], Any]] = [
            lambda: append(mailbox, [message("late")]),
            lambda: change_flags(mailbox),
            lambda: expunge(idle),
            idle.checkpoint,
            mailbox.checkpoint,
            lambda: copying.copy(np.array([0]), mailbox, idle),
            lambda: copying.move(np.array([0]), mailbox, idle),
            lambda: Mailbox(path),
        ]
        for attempt in attempts:
            with pytest.raises(NotFound):
                attempt()
        for target in (mailbox, idle):
            target.refresh()
            target.flush()
            target.status()
            assert not target.view().pending(expunges=True)
        view.pending(expunges=True)
        try:
            idle.read(0)
            idle.derived(np.array([0]), (0,))
        except MStoreError as error:
            assert isinstance(error, NotFound), error

    use_in_vain()
    shutil.rmtree(trash)
    use_in_vain()
    assert mailbox.deleted
    assert idle.deleted
    for target in (mailbox, idle):
        target.close()
    assert os.listdir(tmp_path) == []


class ReadOnlyDisk(Quick):
    """Opens nothing for writing."""

    def open(self, path: raw.PathLike, flags: int, mode: int) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().open(path, flags, mode)


def test_what_was_opened_on_a_read_only_disk_is_written_to_when_it_is_so_no_longer(tmp_path: Path) -> None:
    before = raw.install(Quick())
    try:
        append(Mailbox.create(tmp_path / HERE, 1), [make_message(1), make_message(2)])
        raw.install(ReadOnlyDisk())
        mailbox = Mailbox(tmp_path / HERE)
        assert mailbox.read(1) == make_message(2).content
        assert mailbox.derived(np.array([0]), [0])[0][0]
        for change in (lambda: append(mailbox, [make_message(3)]), lambda: mailbox.transaction().__enter__()):
            with pytest.raises(StorageFailed, match="Read-only"):
                change()
        raw.install(Quick())
        with mailbox.transaction() as tx:
            assert len(tx.flags([0], "add", 1)) == 1
        append(mailbox, [make_message(3)])
        assert mailbox.columns.full.derived.item(2) > 0
        with mailbox.transaction() as tx:
            tx.expunge([1])
        mailbox.close()
        assert check_mailbox(mailbox.path) == []
    finally:
        raw.install(before)
