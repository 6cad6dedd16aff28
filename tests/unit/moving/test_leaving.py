"""Writing a Maildir: one sync serves many messages, and none has its name before it is on disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import StorageFailed
from mstore.files import raw
from mstore.moving.leaving import MaildirTarget, leave
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.store import Store
from tests.crash.world import RECORD
from tests.kit.dying import Quick


class Counting(Quick):
    """Counts the syncs, and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs = 0
        self.fails = False

    def sync(self, fd: int) -> None:
        self.syncs += 1

    def sync_filesystem(self, path: raw.PathLike) -> None:
        self.syncs += 1
        if self.fails:
            raise OSError(5, os.strerror(5))


@pytest.fixture
def system() -> Iterator[Counting]:
    counting = Counting()
    before = raw.install(counting)
    yield counting
    raw.install(before)


@pytest.fixture
def account(system: Counting, tmp_path: Path) -> Iterator[Account]:
    store = Store({"main": tmp_path / "mail"})
    (tmp_path / "mail").mkdir()
    account = store.account(RECORD)
    mailbox = account.open("INBOX")
    append(mailbox, [NewMessage(b"Subject: x\r\n\r\n%d\r\n" % number, number + 1) for number in range(50)])
    mailbox.release()
    yield account
    store.close()


def export(account: Account, path: Path) -> None:
    path.mkdir(exist_ok=True)
    list(leave(account, MaildirTarget(path), lambda name, count: lambda advance: None))


def test_one_sync_serves_many(account: Account, system: Counting, tmp_path: Path) -> None:
    system.syncs = 0
    export(account, tmp_path / "out")
    assert len(os.listdir(tmp_path / "out" / "cur")) == 50 and not os.listdir(tmp_path / "out" / "tmp")
    assert system.syncs < 10


def test_what_is_not_on_disk_is_not_there(account: Account, system: Counting, tmp_path: Path) -> None:
    system.fails = True
    with pytest.raises(StorageFailed):
        export(account, tmp_path / "out")
    assert not os.listdir(tmp_path / "out" / "cur")
    system.fails = False
    export(account, tmp_path / "out")
    assert len(os.listdir(tmp_path / "out" / "cur")) == 50
