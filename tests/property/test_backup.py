"""Whatever an account holds, it is the same after a backup and a restore; so are the backups before."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mstore.backup import manifest, pack
from mstore.backup.repository import Backup, Repository
from mstore.backup.restore import restore_account
from mstore.backup.verify import verify
from mstore.base.flags import SEEN
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.store.account import Account
from mstore.store.acl import Acl
from mstore.store.append import NewMessage, append
from mstore.store.checkaccount import check_account
from mstore.store.store import Store
from tests.crash.world import RECORD, Record
from tests.kit.backups import back_up, look
from tests.kit.dying import Quick

OTHER = Record(AccountId("cc000000000000cc"), "main")
NAMES = st.sampled_from(["INBOX", "a", "a/b", "a/b/c", "ä&b", "z"])
READERS = [AccountId("dd000000000000dd"), AccountId("00000000000000aa")]
TEXTS = st.binary(max_size=300) | st.binary(min_size=1, max_size=4).map(lambda text: text * 100_000)
MESSAGES = st.tuples(
    TEXTS,
    st.integers(0, (1 << 33)),
    st.integers(0, 31),
    st.sets(st.sampled_from([b"work", b"$Junk", b"x" * 250]), max_size=2).map(sorted).map(tuple),
    st.integers(0, (1 << 64) - 1),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), NAMES, st.lists(MESSAGES, min_size=1, max_size=4)),
        st.tuples(st.just("expunge"), NAMES, st.integers(0, 5)),
        st.tuples(st.just("create"), NAMES, st.none()),
        st.tuples(st.just("delete"), NAMES, st.none()),
        st.tuples(st.just("subscribe"), NAMES, st.none()),
        st.tuples(st.just("share"), NAMES, st.sampled_from(["lrs", "", "lrswipkxtea"])),
        st.tuples(st.just("see"), NAMES, st.tuples(st.sampled_from(READERS), st.integers(0, 5))),
        st.tuples(st.just("backup"), NAMES, st.none()),
    ),
    max_size=12,
)

SEEN_BY_OTHERS: list[tuple[str, str, Any]] = [
    ("append", "INBOX", [(b"%d" % number, 0, 0, (), number) for number in range(6)]),
    ("see", "INBOX", (READERS[0], 1)),
    ("backup", "", None),
    ("see", "INBOX", (READERS[0], 4)),
    ("see", "INBOX", (READERS[1], 0)),
    ("expunge", "INBOX", 1),
]


def do(account: Account, what: str, name: str, about: Any) -> None:
    entry = account.mailboxes().get(name)
    if what == "create":
        if entry is None or entry.no_select:
            account.create(name)
    elif what == "subscribe":
        account.subscribe(name)
    elif entry is None or entry.no_select:
        return
    elif what == "delete" and name != "INBOX":
        account.delete(name)
    elif what == "share":
        acl = Acl({"anyone": frozenset(about), "user:00000000000000aa": frozenset("l")})
        account.change_acl(name, lambda _: acl, lambda grantees, only: None)
    elif what == "see":
        reader, first = about
        mailbox = account.open(name, reader)
        with mailbox.transaction() as tx:
            tx.flags(mailbox.index.live_rows()[first : first + 2], "add", SEEN)
        mailbox.release()
    elif what in ("append", "expunge"):
        mailbox = account.open(name)
        if what == "append":
            append(mailbox, [NewMessage(*message) for message in about])
        else:
            with mailbox.transaction() as tx:
                tx.expunge(mailbox.index.live_rows()[about : about + 2])
        mailbox.release()


def save(repository: Repository, account: Account) -> Backup:
    made = back_up(repository, account)
    assert made.left_out == []
    return made


def check_comes_back(store: Store, repository: Repository, backup: Backup, expected: dict[str, Any]) -> None:
    head, boxes = manifest.read(repository.manifest(backup, RECORD.id))
    other = store.account(OTHER)
    packs = pack.Reader(repository.packs)
    restore_account(other, head, boxes, packs)
    packs.close()
    assert look(other, READERS) == expected
    for box in boxes:
        mailbox = other.open(box.entry.name)
        assert mailbox.uid_next > box.uid_next
        assert mailbox.highest_modseq > box.highest_modseq
        mailbox.release()
    assert check_account(other.path, OTHER.id) == []
    store.remove(OTHER)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
@example(steps=SEEN_BY_OTHERS)
def test_what_comes_back_is_what_was_there(steps: list[tuple[str, str, Any]]) -> None:
    root = Path(tempfile.mkdtemp())
    before = raw.install(Quick())
    store = Store({"main": root})
    try:
        account = store.account(RECORD)
        repository = Repository.make(root / "backups")
        kept: list[tuple[Backup, dict[str, Any]]] = []
        for step in [*steps, ("backup", "", None)]:
            if step[0] == "backup":
                kept.append((save(repository, account), look(account, READERS)))
            else:
                do(account, *step)
        assert list(verify(repository)) == []
        for backup, expected in kept:
            check_comes_back(store, repository, backup, expected)
    finally:
        store.close()
        raw.install(before)
        shutil.rmtree(root)
