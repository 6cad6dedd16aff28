"""Several processes with several sessions each fill, empty and rearrange an account with limits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.base import blocking
from mstore.base.errors import Exists, Invalid, MStoreError, NotFound, OverQuota
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.usage import Slots, read_slots
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.checkaccount import check_account
from mstore.store.copy import copy, move
from mstore.store.quota import Limits
from mstore.store.store import Store
from tests.kit.dying import Quick
from tests.kit.record import Record

ID = AccountId("0c" * 8)
NAMES = ("INBOX", "Lists", "Lists/python", "Archive")
SMALLEST = 20


def message(size: int) -> NewMessage:
    return NewMessage(b"Subject: x\r\n\r\n".ljust(size, b"x"), 1_700_000_000)


def fill(account: Account, dice: random.Random, limit: int) -> int:
    """Deliver until nothing fits any more; gives the bytes that were taken."""
    taken = refusals = 0
    while refusals < 8:
        sizes = [dice.randrange(SMALLEST, limit // 60) for _ in range(dice.choice((1, 1, 1, 3)))]
        mailbox = account.open(dice.choice(NAMES))
        try:
            append(mailbox, [message(size) for size in sizes])
            taken += sum(sizes)
        except OverQuota:
            refusals += 1
        finally:
            mailbox.release()
    return taken


def rearrange(account: Account, dice: random.Random, limit: int) -> int:
    """Do anything that changes what is held; gives the changes done."""
    done = 0
    for _ in range(40):
        try:
            _one_change(account, dice, limit)
            done += 1
        except (OverQuota, Exists, Invalid, NotFound):
            continue
    return done


def _one_change(account: Account, dice: random.Random, limit: int) -> None:
    deed = dice.choice(("append",) * 4 + ("expunge", "expunge", "copy", "move", "delete", "rename", "flags"))
    name, other = dice.choice(NAMES), dice.choice(NAMES)
    if deed == "delete":
        account.delete(name)
        account.create(name)
        return
    if deed == "rename":
        account.rename(name, f"{name}-{dice.random()}")
        if name != "INBOX":
            account.create(name)
        return
    mailbox, target = account.open(name), None
    try:
        rows = mailbox.view().rows
        chosen = rows[np.array([dice.random() < 0.3 for _ in rows], bool)]
        if deed == "append":
            append(mailbox, [message(dice.randrange(SMALLEST, limit // 10))])
        elif deed in ("copy", "move"):
            target = account.open(other)
            (copy if deed == "copy" else move)(chosen, mailbox, target)
        else:
            with mailbox.transaction() as tx:
                if deed == "expunge":
                    tx.expunge(chosen)
                else:
                    tx.flags(chosen, "add", 1)
    finally:
        mailbox.release()
        if target is not None:
            target.release()


def sessions_main() -> None:
    """A process with cooperative sessions, as a worker has them."""
    import gevent

    from mstore.base.log import Log
    from workers.cooperative import Cooperative

    path, work, limit, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    blocking.install(Cooperative(Log(daemon="test")))
    raw.install(Quick(raw.boot_id()))
    total = Slots.total

    def total_and_pause(slots: Slots, without: int = -1) -> tuple[int, int]:
        found = total(slots, without)
        blocking.sleep(0.003)  # now is the time for others to spoil it
        return found

    Slots.total = total_and_pause  # type: ignore[method-assign]
    store = Store({"main": path})
    account = store.account(Record(ID, "main", limit))
    deed = {"fill": fill, "rearrange": rearrange}[work]
    sessions = [gevent.spawn(deed, account, random.Random(f"{seed}.{n}"), limit) for n in range(4)]
    gevent.joinall(sessions, raise_error=True)
    print(json.dumps([session.value for session in sessions]))
    store.close()


def run_processes(path: Path, work: str, limit: int, seed: int, count: int = 3) -> list[int]:
    command = "from tests.property.store.test_quota_model import sessions_main; sessions_main()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", command, path, work, str(limit), f"{seed}.{number}"],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
        )
        for number in range(count)
    ]
    found: list[int] = []
    for process in processes:
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        found += json.loads(output)
    return found


def held(account: Account) -> tuple[int, int]:
    size = messages = 0
    for name, entry in account.mailboxes().items():
        if not entry.no_select:
            mailbox = account.open(name)
            mailbox.refresh()
            size, messages = size + mailbox.status().size_bytes, messages + mailbox.status().messages
            mailbox.release()
    return size, messages


def prepare(path: Path) -> Account:
    account = Store({"main": path}).account(Record(ID))
    for name in NAMES[1:]:
        if name not in account.mailboxes():
            account.create(name)
    return account


def test_concurrent_deliveries_fill_an_account_to_the_byte(tmp_path: Path) -> None:
    account = prepare(tmp_path)
    limit = 60_000
    taken = sum(run_processes(tmp_path, "fill", limit, 1))
    assert held(account)[0] == taken <= limit
    account.limits = Limits(limit)
    room = limit - taken
    assert room < limit // 60 * 3
    inbox = account.open("INBOX")
    with pytest.raises(OverQuota):
        append(inbox, [message(room + 1)])
    if room:
        append(inbox, [NewMessage(b"x" * room, 0)])
    assert account.usage() == held(account)
    assert account.usage().size_bytes == limit
    inbox.release()


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_done_at_once_the_slots_are_the_mailboxes(tmp_path: Path, seed: int) -> None:
    account = prepare(tmp_path)
    limit = 30_000
    assert sum(run_processes(tmp_path, "rearrange", limit, seed)) > 100
    slots = read_slots(f"{account.path}/quota")
    assert slots.total() == held(account)
    assert account.recount() == held(account)
    assert check_account(account.path, ID) == []


@pytest.mark.parametrize("seed", range(4))
def test_after_each_change_the_slots_are_the_mailboxes(tmp_path: Path, seed: int) -> None:
    """One process after the other, two of them limited, one not: the sum is right after each change."""
    before = raw.install(Quick(os.urandom(16)))
    try:
        prepare(tmp_path)
        dice, limit = random.Random(seed), 20_000
        records = [Record(ID, "main", size) for size in (limit, limit, None)]
        accounts = [Store({"main": tmp_path}).account(record) for record in records]
        for _ in range(120):
            account = dice.choice(accounts)
            held_before = held(account)
            try:
                _one_change(account, dice, limit)
            except (OverQuota, Exists, Invalid, NotFound):
                pass
            reader = dice.choice(accounts)
            now = held(reader)
            assert reader.usage() == now
            assert account.limits.size_bytes is None or now[0] <= max(limit, held_before[0])
        assert accounts[0].recount() == held(accounts[0])
    finally:
        raw.install(before)


def test_a_delivery_that_fits_is_taken_whatever_went_before(tmp_path: Path) -> None:
    before: Any = raw.install(Quick(os.urandom(16)))
    try:
        prepare(tmp_path)
        dice, limit = random.Random(5), 8_000
        accounts = [Store({"main": tmp_path}).account(Record(ID, "main", limit, 30)) for _ in range(3)]
        for _ in range(80):
            account, name = dice.choice(accounts), dice.choice(NAMES)
            size, count = held(account)
            wanted = dice.randrange(SMALLEST, 900)
            mailbox = account.open(name)
            try:
                append(mailbox, [message(wanted)])
                assert (size + wanted, count + 1) <= (limit, 1 << 30)
                assert count < 30
            except OverQuota:
                assert size + wanted > limit or count == 30
                with mailbox.transaction() as tx:
                    tx.expunge(mailbox.view().rows[::2])
            except MStoreError as error:
                pytest.fail(str(error))
            mailbox.release()
    finally:
        raw.install(before)
