"""A disk that refuses, once or from then on, at each call of everything an account does: the client is told,
what was acknowledged stays, what was refused is there whole or not at all, and all goes on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import MStoreError
from mstore.files import raw
from tests.crash import reference
from tests.crash.explore import FIRST_BOOT, make_origin, scratch
from tests.crash.observe import look_into_account, look_into_mailbox
from tests.crash.workloads import WORKLOADS, Workload, short_segments
from tests.crash.world import ACCOUNT_PATH, World, deferring, messages_of, seen_by_reader
from tests.kit.dying import close_files_under
from tests.kit.powercut import Recorder

WRITES = ("pwrite", "pwritev", "copy_range")


class Refusing(Recorder):
    """Refuses one call, or all from one on; or does half of one write and refuses the next."""

    def __init__(self, root: Path, first: int, count: int, code: int, half: bool) -> None:
        super().__init__(root, FIRST_BOOT)
        self.first, self.count, self.code, self.half = first, count, code, half
        self.refused: list[str] = []

    def step(self, call: str) -> bool:
        if not self.armed:
            return False
        self.calls += 1
        place = self.calls - 1 - self.first
        if not 0 <= place < self.count or (self.code == errno.ENOSPC and call in ("truncate", "unlink")):
            return False
        self.refused.append(call)
        if self.half and place == 0 and call in WRITES:
            return True
        raise OSError(self.code, os.strerror(self.code))


@pytest.fixture
def place() -> Iterator[Path]:
    found = scratch()
    yield found
    shutil.rmtree(found)


MODES: list[tuple[str, int, int, bool]] = [
    ("one EIO", errno.EIO, 1, False),
    ("no space", errno.ENOSPC, 1_000_000, False),
    ("a short write, then no space", errno.ENOSPC, 2, True),
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[0])
@pytest.mark.parametrize(
    "workload",
    [workload for workload in WORKLOADS if workload.origin],
    ids=lambda workload: workload.name,
)
def test_the_disk_refuses_anywhere(place: Path, workload: Workload, mode: tuple[str, int, int, bool]) -> None:
    name, code, count, half = mode
    with short_segments():
        make_origin(place / "origin", workload.origin, workload.retains)
        first = [mode[0] for mode in MODES].index(name)  # each call is refused in one of the ways
        while True:
            root = place / "live"
            shutil.copytree(place / "origin", root)
            system = Refusing(root, first, count, code, half)
            _try(system, root, workload, f"{workload.name}, call {first}")
            close_files_under(place)
            shutil.rmtree(root)
            if not system.refused:
                break
            first += len(MODES)
    assert first > 3


def test_a_mailbox_made_in_vain_is_taken_back(place: Path) -> None:
    filled = next(workload.origin for workload in WORKLOADS if workload.name == "rename INBOX")
    make_origin(place / "origin", filled)
    first, in_vain = 0, 0
    while True:
        root = place / "live"
        shutil.copytree(place / "origin", root)
        system = Refusing(root, first, 1, errno.EIO, False)
        before = raw.install(system)
        try:
            with deferring() as waiting:
                world = World(root, system, waiting)
                system.armed = True
                try:
                    world.account.rename("INBOX", "old")
                except MStoreError:
                    in_vain += 1
                system.armed = False
                if "old" in world.account.mailboxes():
                    assert messages_of(world.mailbox("old")), f"call {first}: {system.refused}"
                world.close()
        finally:
            raw.install(before)
        close_files_under(place)
        shutil.rmtree(root)
        if not system.refused:
            break
        first += 1
    assert in_vain > 5


def _try(system: Refusing, root: Path, workload: Workload, where: str) -> None:
    before = raw.install(system)
    try:
        with deferring() as waiting:
            world = World(root, system, waiting, retains=workload.retains)
            system.armed = True
            try:
                workload.script(world)
            except (MStoreError, KeyError):
                pass  # what should have been made by a step before is not there
            system.armed = False
            allowed = reference.alternatives(world.origin, world.done, None, {}, True)
            boxes = {name: world.account.mailboxes()[name] for name in world.account.mailboxes()}
            found = {}
            for name, entry in boxes.items():
                mailbox = world.account.open(name)
                mailbox.refresh()
                found[name] = seen_by_reader(mailbox.path, messages_of(mailbox))
                mailbox.release()
                assert entry.uid_validity == mailbox.uid_validity, where
            assert any(
                {name: box.messages for name, box in account.boxes.items()} == found for account in allowed
            ), f"{where}: {system.refused[:3]}: {world.errors[:2]}"
            ids = [entry.id for entry in boxes.values()]
            world.close()
        after = Recorder(root, FIRST_BOOT)
        raw.install(after)
        account = look_into_account(root, False)
        assert not account.problems, f"{where}: {system.refused[:3]}: {account.problems}"
        for box_id in ids:
            seen = look_into_mailbox(root / ACCOUNT_PATH / box_id, False)
            assert not seen.problems, f"{where}: {system.refused[:3]}: {seen.problems}"
    finally:
        raw.install(before)
