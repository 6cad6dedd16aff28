"""Several processes, and several sessions of one process, at the names of one account."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from mstore.base import blocking
from mstore.base.errors import Exists, Invalid, NotFound
from mstore.base.ids import AccountId
from mstore.store import pool
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.checkaccount import check_account
from mstore.store.mailbox import Mailbox
from mstore.store.store import Store
from tests.kit.record import Record

JOE = Record(AccountId("0b" * 8))


def change_names(account: Account, who: str, steps: int) -> set[str]:
    """Create, rename and delete names of our own, and quarrel about one that is everybody's."""
    chance = random.Random(who)
    mine: set[str] = set()
    for step in range(steps):
        if mine and chance.random() < 0.3:
            account.delete(mine.pop())
        elif mine and chance.random() < 0.3:
            old, new = mine.pop(), f"{who}-{step}-renamed"
            account.rename(old, new)
            mine.add(new)
        else:
            mine.add(account.create(f"{who}-{step}").name)
        try:
            chance.choice([account.create, account.delete, account.subscribe])("everybody's")
            mailbox = account.open("everybody's")
            append(mailbox, [NewMessage(b"x\r\n\r\n", 0)])
            mailbox.release()
        except (Exists, NotFound, Invalid):
            pass
    return mine


def assert_sound(path: Path, expected: set[str]) -> None:
    account = Store({"main": path}).account(JOE)
    account.tidy()
    found = set(account.mailboxes()) - {"INBOX", "everybody's"}
    assert found == expected
    assert check_account(account.path, JOE.id) == []


def main() -> None:
    """One of the processes."""
    account = Store({"main": Path(sys.argv[1])}).account(JOE)
    for name in sorted(change_names(account, sys.argv[2], 25)):
        print(name)


def test_processes_change_names_at_once(tmp_path: Path) -> None:
    code = "from tests.unit.store.test_account_race import main; main()"
    assert_sound(tmp_path, run_all([[code, who] for who in "abcd"], tmp_path))


class SlowMailbox(Mailbox):
    """A mailbox on a slow disk: others run while it is opened."""

    def __init__(self, path: Path, *others: Any) -> None:
        blocking.sleep(0.02)
        super().__init__(path, *others)


def sessions_main() -> None:
    """A process with cooperative sessions, as a worker has them."""
    import gevent

    from mstore.base.log import Log
    from workers.cooperative import Cooperative

    blocking.install(Cooperative(Log(daemon="test")))
    pool.Mailbox = SlowMailbox  # type: ignore[misc]
    account = Store({"main": Path(sys.argv[1])}).account(JOE)
    opening = [gevent.spawn(account.open, "INBOX") for _ in range(8)]
    opened = [greenlet.get() for greenlet in opening]
    assert len(set(map(id, opened))) == 1, opened
    assert opened[0].users == 8
    changing = [gevent.spawn(change_names, account, who, 15) for who in "stuvw"]
    for greenlet in changing:
        for name in sorted(greenlet.get()):
            print(name)


def test_sessions_of_a_worker_change_names_at_once(tmp_path: Path) -> None:
    code = "from tests.unit.store.test_account_race import sessions_main; sessions_main()"
    assert_sound(tmp_path, run_all([[code]], tmp_path))


def run_all(commands: list[list[str]], path: Path) -> set[str]:
    """Run Python code at the same time; what all of it printed."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for code, *arguments in commands
    ]
    printed: set[str] = set()
    for process in running:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        printed.update(output.split())
    assert printed
    return printed
