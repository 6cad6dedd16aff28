"""Mail that goes in the midst of something: a mailbox is deleted, an account is moved or removed, at every
moment when others can do that. Whoever is at it is told so, and nothing else."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.backup import manifest
from mstore.backup.manifest import Box
from mstore.backup.repository import Repository
from mstore.base.errors import Expunged, Moved, MStoreError, NotFound, StorageFailed
from mstore.base.flags import SEEN
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.lock import Lock
from mstore.files.segment import segment_name
from mstore.mail.kept import mark_numbers
from mstore.store import compactderived, frames
from mstore.store.account import Account
from mstore.store.append import append
from mstore.store.checkaccount import check_account
from mstore.store.copy import copy, move
from mstore.store.directory import DELETED, MOVED, TRASH, deleted_mailboxes, is_mailbox_id
from mstore.store.expiry import expire
from mstore.store.lifetimes import Lifetimes
from mstore.store.mailbox import Mailbox
from mstore.store.moving import Follower, move_account
from mstore.store.search import find
from mstore.store.searchkeys import Text
from mstore.store.store import Store
from mstore.store.undelete import open_deleted, open_expunged
from tests.kit.backups import back_up
from tests.kit.dying import Quick, open_files
from tests.kit.faults import Faults
from tests.kit.mail import make_content, make_messages
from tests.kit.record import Record

RETAINED_S = 86400
JOE = Record(AccountId("00000000000000ac"), "main", 1 << 30, 1 << 20)
MARKS = mark_numbers([b"subject"])


class Scene:
    """An account with two mailboxes that have much that is dead, and a deleted one."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.root = path
        self.stores: list[Store] = []
        self.account = self.fresh()
        self.account.found()
        self.home = self.account.path
        for name in ("box", "other", "gone"):
            self.account.create(name)
        self.box, self.other = self.account.open("box"), self.account.open("other")
        for number in range(1, 11):
            append(self.box, make_messages(1, number))
        append(self.other, make_messages(5, 51))
        for mailbox, rows in ((self.box, [1, 2, 4]), (self.other, [1])):
            with mailbox.transaction() as tx:
                tx.expunge(rows)
        gone = self.account.open("gone")
        append(gone, make_messages(2, 90))
        gone.release()
        self.account.delete("gone")

    def close(self) -> None:
        self.box.release()
        self.other.release()
        for store in self.stores:
            store.close()

    def reboot(self) -> None:
        """The machine was started anew; not everything may have been on disk."""
        system = raw.install(raw.System())
        assert isinstance(system, Faults)
        system.boot = b"second boot....."
        raw.install(system)

    def fresh(self) -> Account:
        """The account as one sees it who knows nothing of it yet."""
        self.stores.append(Store({"main": self.root}, Lifetimes(RETAINED_S)))
        return self.stores[-1].account(JOE)


class Going:
    """A way for mail to go; who goes it needs some locks."""

    def __init__(self, scene: Scene, how: str) -> None:
        home = scene.home
        self.locks = [home / "lock"]
        match how:
            case "deleted" | "kept":
                self.locks.append(scene.box.path / "lock")
                prefix = DELETED if how == "kept" else TRASH
                self.old, self.new = scene.box.path, home / (prefix + scene.box.path.name)
            case "moved":
                self.locks += [home / name / "lock" for name in os.listdir(home) if is_mailbox_id(name)]
                self.old, self.new = home, home.parent / (MOVED + home.name)
            case "removed":
                self.old, self.new = home, home.parent / (TRASH + home.name)

    def is_possible(self) -> bool:
        """Whether nobody holds the locks that it takes."""
        real = raw.install(raw.System())
        try:
            return contextvars.Context().run(lambda: all(map(self._is_free, self.locks)))
        finally:
            raw.install(real)

    @staticmethod
    def _is_free(path: Path) -> bool:
        lock = Lock(path, 0)
        try:
            with lock.hold(0):
                return True
        except MStoreError:
            return False

    def go(self) -> None:
        """Let it go."""
        os.rename(self.old, self.new)


class Meanwhile(Faults):
    """Mail goes before the ``at``-th call, or the first one after it where it can."""

    def __init__(self, at: int, going: Going) -> None:
        super().__init__()
        self._at, self._going = at, going
        self.boot = Quick().boot
        self.is_gone = False

    def _note(self, name: str) -> None:
        super()._note(name)
        if len(self.calls) > self._at and not self.is_gone and self._going.is_possible():
            self.is_gone = True
            self._going.go()

    def sync(self, fd: int) -> None:
        self._note("sync")
        os.fstat(fd)

    def sync_directory(self, path: raw.PathLike) -> None:
        self._note("sync_directory")
        os.stat(path)

    def unlink(self, path: raw.PathLike) -> None:
        self._note("unlink")
        super().unlink(path)

    def mkdir(self, path: raw.PathLike, mode: int) -> None:
        self._note("mkdir")
        super().mkdir(path, mode)


def compacting(scene: Scene) -> None:
    scene.box.compact(thorough=True, retain_s=0)


def compacting_what_is_retained(scene: Scene) -> None:
    scene.box.compact(thorough=True)


def checkpointing(scene: Scene) -> None:
    scene.box.checkpoint()


def keeping_up(scene: Scene) -> None:
    """What goes on in the background when it is due; whatever it raises would be in the log."""
    scene.box.checkpoint_at = 0
    scene.box._checkpoint()
    scene.box._compact()
    scene.box.flush()


def appending(scene: Scene) -> None:
    append(scene.box, make_messages(3, 11))


def copying_out(scene: Scene) -> None:
    copy(scene.box.index.live_rows(), scene.box, scene.other)


def copying_in(scene: Scene) -> None:
    copy(scene.other.index.live_rows(), scene.other, scene.box)


def moving_out(scene: Scene) -> None:
    move(scene.box.index.live_rows(), scene.box, scene.other)


def moving_in(scene: Scene) -> None:
    move(scene.other.index.live_rows(), scene.other, scene.box)


def flagging(scene: Scene) -> None:
    for _ in range(2):
        with scene.box.transaction() as tx:
            tx.flags(scene.box.index.live_rows(), "add", tx.keyword_bits([b"$Label"]))
        scene.box.flush()


def expunging(scene: Scene) -> None:
    with scene.box.transaction() as tx:
        tx.expunge(scene.box.index.live_rows())


def expiring(scene: Scene) -> None:
    expire(scene.box, -1)


def reading(scene: Scene) -> None:
    rows = scene.box.view(True).rows.astype(np.int64)
    for row in rows.tolist():
        scene.box.read(row)
        list(scene.box.chunks(row))
        list(scene.box.views(row))
    list(scene.box.read_many(rows))
    scene.box.derived(rows, [0, 1])
    assert MARKS
    scene.box.header_fields(rows, MARKS)


def reading_as_another(scene: Scene) -> None:
    mailbox = scene.fresh().open("box", AccountId("00000000000000dd"))
    try:
        with mailbox.transaction() as tx:
            tx.flags(mailbox.index.live_rows(), "add", SEEN)
    finally:
        mailbox.release()


def searching(scene: Scene) -> None:
    find(scene.box, scene.box.view(), Text("nowhere", True))


def opening(scene: Scene) -> None:
    mailbox = scene.fresh().open("box")
    try:
        mailbox.view(True)
        mailbox.claim_recent()
    finally:
        mailbox.release()


def opening_after_a_boot(scene: Scene) -> None:
    scene.reboot()
    opening(scene)


def asking_after_a_boot(scene: Scene) -> None:
    scene.reboot()
    asking(scene)


def asking(scene: Scene) -> None:
    for account in (scene.account, scene.fresh()):
        account.status(account.entry("box"))
        account.known(account.mailboxes())
        account.usage()


def recounting(scene: Scene) -> None:
    scene.account.recount()


def taking_the_maildrop(scene: Scene) -> None:
    with scene.account.pop3_lock() as maildrop:
        maildrop.note_session()


def founding(scene: Scene) -> None:
    account = scene.fresh()
    account.found()
    account.furnish()


def naming(scene: Scene) -> None:
    account = scene.account
    account.create("new/one")
    account.rename("new", "newer")
    account.rename("INBOX", "old")
    account.subscribe("newer/one")
    account.set_days("newer/one", 3)
    account.delete("newer/one")
    account.tidy()


def undeleting(scene: Scene) -> None:
    with open_expunged(scene.box) as found:
        found.bring_back(range(len(found.entries)), scene.other, lambda pairs: None)
    for deleted in deleted_mailboxes(scene.home):
        with open_deleted(deleted) as there:
            there.bring_back(range(len(there.entries)), scene.other, lambda pairs: None)


def checking(scene: Scene) -> None:
    check_account(scene.home, JOE.id)


def following(scene: Scene) -> None:
    Follower(scene.home, scene.root / "copy").update()


def moving_away(scene: Scene) -> None:
    shard = scene.root / "elsewhere"
    shard.mkdir()
    move_account(scene.home, shard / JOE.id, lambda: None)


WORK: list[Callable[[Scene], None]] = [
    compacting, compacting_what_is_retained, checkpointing, keeping_up, appending, copying_out, copying_in,
    moving_out, moving_in, flagging, expunging, expiring, reading, reading_as_another, searching, opening,
    opening_after_a_boot, asking, asking_after_a_boot, recounting, taking_the_maildrop, founding, naming,
    undeleting, checking, following, moving_away,
]  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several segments of few messages, and nobody waits for the disk."""
    monkeypatch.setattr(compactderived, "LEAST_BYTES", 100)
    monkeypatch.setattr(frames, "ROLL_BYTES", 1200)
    real = raw.install(Quick())
    yield
    raw.install(real)


def at_every_moment(path: Path, how: str, work: Callable[[Scene], Any]) -> Iterator[tuple[Scene, Any]]:
    """Do some work again and again while mail goes a moment later each time; gives what came of it."""
    at, is_gone = 0, True
    while is_gone:
        scene = Scene(path / str(at))
        going = Going(scene, how)
        system = Meanwhile(at, going)
        real = raw.install(system)
        try:
            result = work(scene)
        except MStoreError as error:
            result = error
        finally:
            raw.install(real)
        is_gone = system.is_gone
        if is_gone:
            yield scene, result
            _check_left(going, how)
        scene.close()
        assert not open_files(f"{path}/"), f"at call {at}"
        at += 1


def _check_left(going: Going, how: str) -> None:
    """Whoever was at it has spoiled nothing of what went, which may be brought back, or be elsewhere."""
    for name in os.listdir(going.new) if how in ("moved", "removed") else [""]:
        if not (going.new / name / "lock").exists() or (name and not is_mailbox_id(name)):
            continue
        found = Mailbox(going.new / name)
        for row in found.index.live_rows().tolist():
            content = found.read(row)
            number = int(content.split(b"Subject: message ", 1)[1].split(b"\r", 1)[0])
            assert content == make_content(number)
        found.close()


@pytest.mark.parametrize("how", ["deleted", "kept", "moved", "removed"])
@pytest.mark.parametrize("work", WORK)
def test_it_is_gone(tmp_path: Path, work: Callable[[Scene], None], how: str) -> None:
    allowed = (type(None), Moved) if how == "moved" else (type(None), NotFound, Expunged)
    for scene, result in at_every_moment(tmp_path, how, work):
        assert isinstance(result, allowed), repr(result)
        assert not any(lock.is_held for box in (scene.box, scene.other) for lock in (box.lock, box.upkeep))


def save(scene: Scene) -> tuple[list[Box], list[str]]:
    """Back the account up; gives what the backup has, and what it says that it has not."""
    repository = Repository.make(scene.root / "backups")
    made = back_up(repository, scene.account)
    return manifest.read(repository.manifest(made, JOE.id))[1], made.left_out


@pytest.mark.parametrize("how", ["deleted", "kept", "moved", "removed"])
def test_a_backup_has_the_rest(tmp_path: Path, how: str) -> None:
    for _, result in at_every_moment(tmp_path, how, save):
        if isinstance(result, MStoreError):
            assert type(result) is {"moved": Moved, "removed": NotFound}.get(how)
            continue
        boxes, left_out = result
        found = {box.entry.name: [message.uid for message in box.messages] for box in boxes}
        assert found["other"] == [1, 3, 4, 5]
        assert len(left_out) <= 1, "one line says it all"
        if how in ("moved", "removed"):
            continue
        assert not left_out or left_out[0].startswith("joe: mailbox box: ")
        whole = [1, 4, 6, 7, 8, 9, 10]
        if found.get("box") != whole and how == "kept":
            deleted = [box for box in boxes if box.deleted_s is not None]
            assert any(set(whole) <= {message.uid for message in box.all_messages()} for box in deleted)
        assert found.get("box") == whole or left_out


def test_a_backup_goes_on_behind_a_damaged_mailbox(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for path in [*scene.box.path.glob("index.*"), *scene.box.path.glob("journal.*")]:
        with path.open("r+b") as file:
            file.truncate(20)
    boxes, left_out = save(scene)
    assert {"INBOX", "other", "gone"} <= {box.entry.name for box in boxes}
    assert len(left_out) == 1 and left_out[0].startswith("joe: mailbox box: "), left_out
    scene.close()


def test_a_missing_file_is_no_mailbox_that_is_gone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    missing = scene.box.path / segment_name(99)
    for block in (scene.box.keeping_up(), scene.box.transaction()):
        with pytest.raises(StorageFailed, match=f"^{missing.name} is missing$"), block:
            raw.open_file(missing, raw.READ)
    assert not (scene.box.upkeep.is_held or scene.box.lock.is_held)
    scene.close()
