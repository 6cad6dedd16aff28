"""The connections of daemons that leave after an upgrade count for the limits of those in their place."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.workers.running import wait_for
from tests.unit.workers.test_crowd import ONE, OTHER, settings
from workers.crowd import KEY_BYTES, Crowd, find_key, new_key
from workers.leaving import Elders, Told, path_of
from workers.scoreboard import Scoreboard

KEY = bytes(KEY_BYTES)
LIMITS = settings(connections_per_address=3, imapd_connections_per_user=2)


class Leaver:
    """A process of its own with a crowd, which leaves and obeys: a lock tells nothing to its own process."""

    def __init__(self, run_path: Path, key: bytes, work: Callable[[Crowd, Told, int], None]) -> None:
        read, self._write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._write)
                crowd = Crowd(2, key)
                told = Told(path_of(run_path, "imapd", os.getpid()), crowd)
                work(crowd, told, read)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(read)
        path = path_of(run_path, "imapd", self.pid)
        wait_for(lambda: path.exists() and path.stat().st_size > 0)  # it is locked by then

    def go_on(self) -> None:
        os.write(self._write, b"x")

    def end(self) -> None:
        """Kill it if it is there still."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        os.waitpid(self.pid, 0)
        os.close(self._write)
        self.pid = 0


@pytest.fixture
def leave(tmp_path: Path) -> Iterator[Callable[..., Leaver]]:
    made: list[Leaver] = []

    def start(work: Callable[[Crowd, Told, int], None], key: bytes = KEY) -> Leaver:
        made.append(Leaver(tmp_path, key, work))
        return made[-1]

    yield start
    for leaver in made:
        if leaver.pid:
            leaver.end()


def stay_with_two(crowd: Crowd, told: Told, steps: int) -> None:
    """Two connections from one address, by joe, of two workers; one ends when told to, then all does."""
    doors = [crowd.door(row, LIMITS) for row in range(2)]
    for number, door in enumerate(doors):
        door.enter(number, ONE)
        door.recognise(number)
        door.admit("joe")
    told.tell()
    os.read(steps, 1)
    doors[0].leave(0)
    doors[0].dismiss("joe")
    told.tell()
    os.read(steps, 1)
    told.close()


def test_those_who_leave_count_until_they_end(tmp_path: Path, leave: Callable[..., Leaver]) -> None:
    crowd = Crowd(1, KEY)
    door, elders = crowd.door(0, LIMITS), Elders(tmp_path, "imapd", crowd)
    assert door.admit("joe")
    door.dismiss("joe")
    leaver = leave(stay_with_two)

    def counted(number: int) -> Callable[[], bool]:
        def look() -> bool:
            elders.look()
            free = 0
            while door.enter(100 + free, ONE) is None:
                free += 1
            for each in range(free):
                door.leave(100 + each)
            return free == 3 - number

        return look

    wait_for(counted(2))
    assert not door.admit("joe") and door.admit("ann") and door.enter(1, OTHER) is None
    leaver.go_on()
    wait_for(counted(1))
    assert door.admit("joe") and not door.admit("joe")
    leaver.go_on()
    wait_for(counted(0))
    assert not list(tmp_path.iterdir())


def test_who_was_killed_counts_no_more_and_leaves_nothing(
    tmp_path: Path, leave: Callable[..., Leaver]
) -> None:
    crowd = Crowd(1, KEY)
    door, elders = crowd.door(0, LIMITS), Elders(tmp_path, "imapd", crowd)
    leaver = leave(stay_with_two)

    def is_full() -> bool:
        elders.look()
        return not (door.admit("joe") and (door.dismiss("joe") or True))

    wait_for(is_full)
    leaver.end()
    elders.look()
    assert not list(tmp_path.iterdir()) and door.admit("joe")


def test_what_was_removed_is_told_again(tmp_path: Path) -> None:
    """Whoever looks just before it is locked takes it for one that nobody holds."""
    path, crowd = path_of(tmp_path, "imapd", os.getpid()), Crowd(1, KEY)
    told = Told(path, crowd)
    before = path.read_bytes()
    path.unlink()
    told.tell()
    assert path.read_bytes() == before
    told.close()
    assert not list(tmp_path.iterdir())


def test_several_are_summed_and_those_with_another_key_or_name_are_not(
    tmp_path: Path, leave: Callable[..., Leaver]
) -> None:
    crowd = Crowd(1, KEY)
    elders = Elders(tmp_path, "imapd", crowd)

    def stay(crowd: Crowd, told: Told, steps: int) -> None:
        crowd.door(0, LIMITS).enter(1, ONE)
        told.tell()
        os.read(steps, 1)

    for key in (KEY, KEY, new_key()):
        leave(stay, key)
    pop3 = Elders(tmp_path, "pop3d", Crowd(1, KEY))
    pop3.look()
    assert not pop3._found

    def two() -> bool:
        elders.look()
        door = crowd.door(0, settings(connections_limit=3))
        return door.enter(1, OTHER) is None and door.enter(2, OTHER) == "too many connections"

    wait_for(two)


def test_what_is_being_written_is_as_it_was_before(tmp_path: Path, leave: Callable[..., Leaver]) -> None:
    crowd = Crowd(1, KEY)
    elders = Elders(tmp_path, "imapd", crowd)

    def stay(crowd: Crowd, told: Told, steps: int) -> None:
        crowd.door(0, LIMITS).enter(1, ONE)
        told.tell()
        os.read(steps, 1)
        os.pwrite(told._lock.fileno(), b"torn", 70)  # type: ignore[union-attr]
        path_of(tmp_path, "torn", os.getpid()).touch()
        os.read(steps, 1)

    leaver = leave(stay)

    def look() -> list[bytes]:
        elders.look()
        return [data for data in elders._found.values() if len(data) > len(KEY)]

    [data] = wait_for(look)
    leaver.go_on()
    wait_for(path_of(tmp_path, "torn", leaver.pid).exists)
    assert look() == [data]


def test_a_successor_counts_by_the_key_of_the_daemon_in_charge(tmp_path: Path) -> None:
    board = tmp_path / "board"
    Scoreboard(1, board, "imapd", 1.0, crowd_key=KEY)
    assert find_key(board) == KEY
    board.write_bytes(b"no scoreboard")
    assert len(find_key(board)) == len(KEY) and find_key(board) != find_key(tmp_path / "none")


def test_a_crowd_tells_its_own_and_not_its_elders(tmp_path: Path) -> None:
    first, second, third = (Crowd(2, KEY) for _ in range(3))
    first.door(1, LIMITS).admit("joe")
    second.add_elders([first.dump()])
    assert second.dump() == KEY
    third.add_elders([first.dump(), first.dump(), second.dump(), b"", KEY + b"odd", KEY + b"\xff" * 8])
    assert not third.door(0, LIMITS).admit("joe")
    third.add_elders([])
    assert third.door(0, LIMITS).admit("joe")


def test_a_directory_that_holds_still_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elders = Elders(tmp_path, "imapd", Crowd(1, KEY))
    os.utime(tmp_path, (1, 1))
    elders.look()

    def read(path: Path, pattern: str) -> Iterator[Path]:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(Path, "glob", read)
    elders.look()
    (tmp_path / "something").touch()
    for _ in range(2):  # It has only just changed, and may once more without showing it.
        with pytest.raises(AssertionError, match="is read"):
            elders.look()
