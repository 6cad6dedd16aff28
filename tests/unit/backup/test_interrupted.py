"""A restore of a mailbox that is killed at any moment, and begun again: all is as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.backup import manifest, pack, restore
from mstore.backup.repository import Repository
from mstore.base.flags import SEEN
from mstore.base.ids import AccountId, Uid
from mstore.store.account import Account
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.lifetimes import Lifetimes
from mstore.store.store import Store
from mstore.store.undelete import open_expunged
from tests.kit.backups import back_up, messages_in, seen_by
from tests.kit.dying import run_and_die
from tests.kit.mail import make_messages
from tests.kit.record import Record

READER = AccountId("00000000000000dd")


def open_account(path: Path) -> tuple[Store, Account]:
    path.mkdir(exist_ok=True)
    store = Store({"main": path}, Lifetimes(86400))
    account = store.account(Record(AccountId("00000000000000ac")))
    account.found()
    return store, account


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A backup of a mailbox of eleven messages, the last one and some others of which were expunged."""
    store, account = open_account(tmp_path / "lost")
    account.create("box")
    mailbox = account.open("box")
    append(mailbox, make_messages(11))
    reader = account.open("box", READER)
    with reader.transaction() as tx:
        tx.flags(np.array([1, 2, 4, 9]), "add", SEEN)
    reader.release()
    for rows in ([1, 3], [4, 10]):
        with mailbox.transaction() as tx:
            tx.expunge(rows)
    mailbox.release()
    made = Repository.make(tmp_path / "backups")
    back_up(made, account)
    store.close()
    return made


def look(account: Account) -> tuple[list[tuple[object, ...]], list[int], list[int]]:
    """The messages of the mailbox, what can be brought back, and what the reader has seen."""
    mailbox = account.open("box")
    try:
        with open_expunged(mailbox) as found:
            return messages_in(mailbox), found.entries["uid"].tolist(), seen_by(account, "box", READER)
    finally:
        mailbox.release()


def bring_back(account: Account, repository: Repository) -> int:
    packs = pack.Reader(repository.packs)
    head, boxes = manifest.read(repository.manifest(repository.backups()[0], account.id))
    box = next(box for box in boxes if box.entry.name == "box")
    try:
        return restore.restore_messages(account, head, box, packs)
    finally:
        packs.close()


def test_it_goes_on(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "_BATCH_MESSAGES", 3)
    store, account = open_account(tmp_path / "lost")
    wanted = look(account)
    store.close()
    assert [message[0] for message in wanted[0]] == [1, 3, 6, 7, 8, 9, 10]
    assert wanted[1:] == ([2, 4, 5, 11], [3, 10])
    last, is_dead = 0, True
    while is_dead:
        path = tmp_path / str(last)
        open_account(path)[0].close()
        done = run_and_die(lambda path=path: bring_back(open_account(path)[1], repository), last)
        is_dead = done.is_dead
        store, account = open_account(path)
        bring_back(account, repository)
        assert look(account) == wanted, f"killed at call {last}"
        mailbox = account.open("box")
        assert mailbox.uid_next == 12 + restore.UID_STEP
        mailbox.release()
        store.close()
        assert check_mailbox(mailbox.path) == []
        last += 1
    assert last > 30


def test_what_was_expunged_since_the_interruption_comes_again(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "_BATCH_MESSAGES", 3)

    def append_twice(*args: Any, **options: Any) -> list[Uid]:
        uids = append(*args, **options)
        if uids[-1] == 6:
            raise KeyboardInterrupt
        return uids

    monkeypatch.setattr(restore, "append", append_twice)
    store, account = open_account(tmp_path / "found")
    with pytest.raises(KeyboardInterrupt):
        bring_back(account, repository)
    monkeypatch.setattr(restore, "append", append)
    mailbox = account.open("box")
    with mailbox.transaction() as tx:
        tx.expunge([mailbox.index.row_of(3)])
    assert bring_back(account, repository) == 5
    assert [message[0] for message in messages_in(mailbox)] == [1, 6, 7, 8, 9, 10, 12]
    assert messages_in(mailbox)[-1][-1].startswith(make_messages(1, 3)[0].content[:60])
    assert bring_back(account, repository) == 0
    mailbox.release()
    store.close()
