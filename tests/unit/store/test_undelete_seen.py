"""Messages that come back: who had seen them, in mailboxes that several read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.base.flags import SEEN
from mstore.base.ids import AccountId
from mstore.store.account import Account
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.directory import deleted_mailboxes
from mstore.store.lifetimes import Lifetimes
from mstore.store.store import Store
from mstore.store.undelete import Recoverable, open_deleted, open_expunged
from tests.crash.world import RECORD
from tests.kit.mail import make_messages

ANN, BOB = AccountId("00000000000000a1"), AccountId("ffffffffffffffb2")


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """A mailbox of five messages: the owner has seen 5, Ann 1 to 3, Bob 3 and 4."""
    (tmp_path / "mail").mkdir()
    store = Store({RECORD.mailstore: tmp_path / "mail"}, Lifetimes(86400))
    account = store.account(RECORD)
    account.create("shared")
    account.create("other")
    mailbox = account.open("shared")
    append(mailbox, make_messages(5))
    for reader, rows in ((None, [4]), (ANN, [0, 1, 2]), (BOB, [2, 3])):
        opened = account.open("shared", reader)
        with opened.transaction() as tx:
            tx.flags(rows, "add", SEEN)
        opened.release()
    mailbox.release()
    yield account
    store.close()


def seen(account: Account, name: str, reader: AccountId | None) -> list[int]:
    mailbox = account.open(name, reader)
    mailbox.refresh()
    rows = mailbox.index.live_rows()
    found: list[int] = mailbox.columns.uid[rows][mailbox.columns.flags[rows] & np.uint64(SEEN) != 0].tolist()
    mailbox.release()
    return found


def expunge(account: Account, *rows: int) -> None:
    mailbox = account.open("shared")
    with mailbox.transaction() as tx:
        tx.expunge(rows)
    mailbox.release()


def bring_back(account: Account, there: Recoverable, name: str) -> list[tuple[int, int]]:
    target = account.open(name)
    pairs: list[tuple[int, int]] = []
    there.bring_back(range(len(there.entries)), target, pairs.extend)
    assert check_mailbox(target.path) == []
    target.release()
    return pairs


def checkpoint(account: Account, name: str = "shared") -> None:
    mailbox = account.open(name)
    mailbox.checkpoint()
    assert check_mailbox(mailbox.path) == []
    mailbox.release()


@pytest.mark.parametrize("name", ["shared", "other"])
@pytest.mark.parametrize("checkpoints", range(4))
def test_readers_have_seen_what_they_had(account: Account, name: str, checkpoints: int) -> None:
    expunge(account, 1)
    for _ in range(checkpoints):
        checkpoint(account)
    expunge(account, 1, 2, 4)  # the first of them is gone
    if checkpoints > 1:
        checkpoint(account)
    mailbox = account.open("shared")
    with open_expunged(mailbox) as there:
        pairs = dict(bring_back(account, there, name))
    mailbox.release()
    assert pairs.keys() == {2, 3, 5}
    kept = {None: [], ANN: [1], BOB: [4]} if name == "shared" else {None: [], ANN: [], BOB: []}
    assert seen(account, name, None) == [*kept[None], pairs[5]]
    assert seen(account, name, ANN) == [*kept[ANN], pairs[2], pairs[3]]
    assert seen(account, name, BOB) == [*kept[BOB], pairs[3]]
    checkpoint(account, name)
    assert seen(account, name, ANN) == [*kept[ANN], pairs[2], pairs[3]]


def test_so_they_have_in_a_deleted_mailbox(account: Account) -> None:
    account.delete("shared")
    [deleted] = deleted_mailboxes(account.path)
    with open_deleted(deleted) as there:
        pairs = dict(bring_back(account, there, "other"))
    assert [seen(account, "other", reader) for reader in (None, ANN, BOB)] == [
        [pairs[5]], [pairs[1], pairs[2], pairs[3]], [pairs[3], pairs[4]],
    ]  # fmt: skip
