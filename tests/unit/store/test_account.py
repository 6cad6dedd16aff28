import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import Busy, Corrupt, Exists, Invalid, NotFound, StorageFailed, Unavailable
from mstore.base.ids import AccountId
from mstore.files.lock import RANK_ACCOUNT, Lock
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.catalog import Catalog
from mstore.store.directory import remove_tree
from mstore.store.store import Store
from tests.kit.record import Record

JOE = Record(AccountId("0a" * 8))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store({"main": tmp_path})
    yield found
    found.close()


@pytest.fixture
def account(store: Store) -> Account:
    return store.account(JOE)


def other_process(account: Account) -> Account:
    """The account as another process sees it."""
    return Store({"main": account.path.parent.parent}).account(JOE)


def mailbox_directories(account: Account) -> set[str]:
    return {path.name for path in account.path.iterdir() if path.is_dir()}


def deliver(account: Account, name: str, *texts: bytes) -> None:
    mailbox = account.open(name)
    try:
        append(mailbox, [NewMessage(b"Subject: x\r\n\r\n" + text, 1_700_000_000) for text in texts])
    finally:
        mailbox.release()


def texts_in(account: Account, name: str) -> list[bytes]:
    mailbox = account.open(name)
    try:
        view = mailbox.view(False)
        return [mailbox.read(row)[14:] for row in view.rows.tolist()]
    finally:
        mailbox.release()


def names(account: Account) -> list[str]:
    return list(account.mailboxes())


def test_first_use_makes_the_directory_with_an_inbox(store: Store, tmp_path: Path) -> None:
    account = store.account(JOE)
    assert account.path == tmp_path / "0a" / JOE.id
    assert names(account) == ["INBOX"]
    assert texts_in(account, "inbox") == []
    assert account.path.stat().st_mode & 0o777 == 0o700


def test_a_process_has_one_object_for_an_account_and_for_a_mailbox(store: Store) -> None:
    account = store.account(JOE)
    assert store.account(JOE) is account
    first, second = account.open("INBOX"), account.open("Inbox")
    assert first is second
    first.release()
    deliver(account, "INBOX", b"still open")
    second.release()
    assert texts_in(account, "INBOX") == [b"still open"]


def test_many_accounts_do_not_pile_up(store: Store) -> None:
    for number in range(300):
        store.account(Record(AccountId(f"{number:016x}")))
    assert len(store._live) <= 256


def test_an_unknown_mailstore_is_said_to_be_unknown(store: Store) -> None:
    with pytest.raises(Unavailable, match="elsewhere"):
        store.account(Record(JOE.id, "elsewhere"))


def test_a_missing_mailstore_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="missing"):
        Store({"main": tmp_path / "unmounted"}).account(JOE)


@pytest.mark.parametrize("stop_after", ["shard", "account", "lock", "catalog"])
def test_a_half_made_account_is_completed(tmp_path: Path, stop_after: str) -> None:
    complete = Store({"main": tmp_path / "other"})
    (tmp_path / "other").mkdir()
    source = complete.account(JOE).path
    path = tmp_path / "0a" / JOE.id
    path.parent.mkdir()
    if stop_after != "shard":
        path.mkdir()
    if stop_after in ("lock", "catalog"):
        (path / "lock").touch()
    if stop_after == "catalog":
        data = (source / "catalog").read_bytes()
        Catalog(path, JOE.id).create([])
        assert (path / "catalog").stat().st_size < len(data)
    assert names(Store({"main": tmp_path}).account(JOE)) == ["INBOX"]


def test_mailboxes_without_a_catalog_are_not_taken_for_a_new_account(account: Account) -> None:
    deliver(account, "INBOX", b"precious")
    (account.path / "catalog").unlink()
    with pytest.raises(Corrupt, match="catalog"):
        other_process(account)
    assert len(mailbox_directories(account)) == 1


# RFC 3501 §6.3.3


def test_create_makes_superiors(account: Account) -> None:
    entry = account.create("a/b/c/")
    assert entry.name == "a/b/c"
    assert names(account) == ["INBOX", "a", "a/b", "a/b/c"]
    assert not any(entry.no_select for entry in account.mailboxes().values())
    deliver(account, "a/b", b"selectable")


def test_create_refuses_what_is_there(account: Account) -> None:
    account.create("a")
    for name in ("a", "a/", "inbox", "INBOX"):
        with pytest.raises(Exists):
            account.create(name)
    with pytest.raises(Invalid):
        account.create("a//b")


def test_uid_validity_always_grows(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [account.mailboxes()["INBOX"].uid_validity]
    for _ in range(3):
        seen.append(account.create("again").uid_validity)
        account.delete("again")
    monkeypatch.setattr("mstore.store.account.time.time", lambda: 1000.0)
    seen.append(account.create("again").uid_validity)
    assert seen == sorted(set(seen))
    mailbox = account.open("again")
    assert mailbox.uid_validity == seen[-1]
    mailbox.release()


def test_a_special_use_is_kept(account: Account) -> None:
    account.create("Sent", "\\Sent")
    assert other_process(account).mailboxes()["Sent"].special_use == "\\Sent"


# RFC 3501 §6.3.4


def test_delete_removes_name_and_directory(account: Account) -> None:
    entry = account.create("a")
    deliver(account, "a", b"gone")
    account.delete("a")
    assert names(account) == ["INBOX"]
    assert entry.id not in mailbox_directories(account)
    with pytest.raises(NotFound):
        account.open("a")
    with pytest.raises(NotFound):
        account.delete("a")


def test_delete_with_children_leaves_a_name_that_cannot_be_selected(account: Account) -> None:
    account.create("a/b")
    account.delete("a")
    assert account.mailboxes()["a"].no_select
    with pytest.raises(NotFound):
        account.open("a")
    with pytest.raises(Invalid):
        account.delete("a")
    account.create("a")
    deliver(account, "a", b"again")
    assert texts_in(account, "a") == [b"again"]


def test_the_last_child_takes_its_unselectable_superiors_along(account: Account) -> None:
    account.create("a/b/c")
    account.delete("a")
    account.delete("a/b")
    account.delete("a/b/c")
    assert names(account) == ["INBOX"]


def test_inbox_cannot_be_deleted(account: Account) -> None:
    with pytest.raises(Invalid):
        account.delete("inbox")


def test_an_open_mailbox_learns_that_it_was_deleted(account: Account) -> None:
    account.create("a")
    mine, theirs = account, other_process(account)
    mailbox = theirs.open("a")
    mine.delete("a")
    with pytest.raises(NotFound):
        append(mailbox, [NewMessage(b"x\r\n\r\n", 0)])
    mailbox.release()
    mine.create("a")
    deliver(theirs, "a", b"new")
    assert texts_in(mine, "a") == [b"new"]


# RFC 3501 §6.3.5


def test_rename_moves_inferiors_and_makes_superiors(account: Account) -> None:
    account.create("a/b")
    deliver(account, "a/b", b"content")
    account.rename("a", "x/y")
    assert names(account) == ["INBOX", "x", "x/y", "x/y/b"]
    assert texts_in(account, "x/y/b") == [b"content"]


def test_rename_keeps_an_open_mailbox_open(account: Account) -> None:
    account.create("a")
    mailbox = account.open("a")
    account.rename("a", "b")
    append(mailbox, [NewMessage(b"Subject: x\r\n\r\nlate", 0)])
    mailbox.release()
    assert texts_in(account, "b") == [b"late"]


def test_rename_refuses_what_cannot_be(account: Account) -> None:
    account.create("a")
    account.create("b")
    with pytest.raises(Exists):
        account.rename("a", "b")
    with pytest.raises(Exists):
        account.rename("a", "inbox")
    with pytest.raises(NotFound):
        account.rename("c", "d")
    with pytest.raises(Invalid):
        account.rename("a", "a/b")
    assert names(account) == ["INBOX", "a", "b"]


def test_rename_to_a_near_name_is_no_inferior(account: Account) -> None:
    account.create("a/x")
    account.create("ab")
    account.rename("a", "abc")
    assert names(account) == ["INBOX", "ab", "abc", "abc/x"]


def test_rename_inbox_moves_its_messages_and_leaves_it_empty(account: Account) -> None:
    account.create("INBOX/child")
    deliver(account, "INBOX", b"one", b"two")
    before = account.mailboxes()["INBOX"]
    account.rename("inbox", "old/mail")
    assert names(account) == ["INBOX", "INBOX/child", "old", "old/mail"]
    assert texts_in(account, "INBOX") == []
    assert texts_in(account, "old/mail") == [b"one", b"two"]
    assert account.mailboxes()["INBOX"] == before


def test_a_failed_rename_of_inbox_leaves_everything_as_it_was(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageFailed("the disk is full")

    deliver(account, "INBOX", b"one")
    monkeypatch.setattr("mstore.store.inbox.move", fail)
    with pytest.raises(StorageFailed):
        account.rename("INBOX", "old")
    assert names(account) == ["INBOX"]
    assert texts_in(account, "INBOX") == [b"one"]


# RFC 3501 §6.3.6


def test_subscriptions_outlive_their_mailbox(account: Account) -> None:
    account.create("a")
    account.subscribe("a")
    account.subscribe("a")
    account.subscribe("never/there")
    account.delete("a")
    assert other_process(account).subscriptions() == {"a", "never/there"}
    account.unsubscribe("a")
    account.unsubscribe("a")
    with pytest.raises(Invalid):
        account.unsubscribe("a//b")
    assert account.subscriptions() == {"never/there"}


# between processes


def test_a_listing_follows_other_processes(account: Account) -> None:
    theirs = other_process(account)
    listing = account.mailboxes()
    assert account.mailboxes() is listing
    theirs.create("theirs")
    assert names(account) == ["INBOX", "theirs"]
    assert list(listing) == ["INBOX"]


def test_a_change_waits_for_the_lock_no_longer_than_its_deadline(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, time; from mstore.files.lock import *\n"
        "with Lock(sys.argv[1], RANK_ACCOUNT, 'x').hold(): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(account.path / "lock")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy), account._changing(0.05):
            pass
        assert names(account) == ["INBOX"]
    finally:
        holder.kill()
        holder.wait()
    account.create("a")


def test_one_session_has_the_maildrop(account: Account) -> None:
    drop = account.pop3_lock()
    with pytest.raises(Busy):
        account.pop3_lock()
    deliver(account, "INBOX", b"mail still arrives")
    drop.release()
    drop.release()
    with account.pop3_lock():
        pass


def test_the_maildrop_is_locked_over_processes_and_free_when_one_dies(account: Account) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.unit.store.test_account import JOE, Store\n"
        "drop = Store({'main': Path(sys.argv[1])}).account(JOE).pop3_lock(); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(account.path.parent.parent)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy):
            account.pop3_lock()
    finally:
        holder.kill()
        holder.wait()
    account.pop3_lock().release()


# what a crash leaves


def test_a_half_done_create_is_removed_by_the_next_change(account: Account) -> None:
    whole = account.create("model")
    for number, left in enumerate(([], ["lock"], ["lock", "index.1"])):
        path = account.path / f"{number:016x}"
        path.mkdir()
        for name in left:
            shutil.copy(account.path / whole.id / name, path / name)
    shutil.copytree(account.path / whole.id, account.path / ("e" * 16))
    theirs = other_process(account)
    theirs.create("next")
    assert mailbox_directories(account) == {entry.id for entry in theirs.mailboxes().values()}


def test_a_directory_with_messages_is_never_taken_for_a_half_done_create(account: Account) -> None:
    entry = account.create("a")
    deliver(account, "a", b"precious")
    lost = account.path / ("e" * 16)
    shutil.copytree(account.path / entry.id, lost)
    other_process(account).create("next")
    assert lost.is_dir()


@pytest.mark.parametrize("renamed", [False, True])
def test_a_half_done_delete_is_finished_by_the_next_change(
    account: Account, renamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = account.create("a")
    deliver(account, "a", b"gone")
    monkeypatch.setattr(Account, "_sweep", lambda self: None)
    account.delete("a")
    monkeypatch.undo()
    assert entry.id in mailbox_directories(account)
    if renamed:
        os.rename(account.path / entry.id, account.path / f"trash-{entry.id}")
    theirs = other_process(account)
    theirs.subscribe("x")
    assert mailbox_directories(account) == {theirs.mailboxes()["INBOX"].id}
    assert not theirs._catalog.state.doomed


def test_removing_an_account_removes_its_directory(store: Store) -> None:
    account = store.account(JOE)
    account.create("a/b")
    mailbox = account.open("a")
    store.remove(JOE)
    assert not account.path.exists()
    with pytest.raises(NotFound):
        append(mailbox, [NewMessage(b"x\r\n\r\n", 0)])
    with pytest.raises(NotFound):
        account.mailboxes()
    mailbox.release()
    store.remove(JOE)
    assert list(store.directories("main")) == []


def test_the_lock_file_stays(account: Account) -> None:
    before = os.stat(account.path / "lock").st_ino
    account.create("a")
    account.delete("a")
    with Lock(account.path / "lock", RANK_ACCOUNT, "x").hold(0):
        assert os.stat(account.path / "lock").st_ino == before


def test_a_change_left_pending_is_released_by_who_finds_it(account: Account) -> None:
    """Its author died between sync and release, or the power took the release; while he lives, it waits."""
    end = Path(account.path / "catalog").stat().st_size
    account.subscribe("news")
    with open(account.path / "catalog", "r+b") as file:
        file.seek(end)
        file.write(b"wait")
    other = other_process(account)
    assert other.subscriptions() == {"news"}
    with open(account.path / "catalog", "rb") as file:
        file.seek(end)
        assert file.read(4) == b"MSgr"
        with open(account.path / "catalog", "r+b") as again:
            again.seek(end)
            again.write(b"wait")
    lock = Lock(account.path / "lock", RANK_ACCOUNT, "another")
    with lock.hold():
        assert other_process(account).subscriptions() == frozenset()
    assert other_process(account).subscriptions() == {"news"}


def test_no_directory_is_removed_while_names_are_lost_to_damage(account: Account) -> None:
    account.create("empty")
    account.create("last")
    path = account.path / "catalog"
    data = bytearray(path.read_bytes())
    data[data.index(b"empty")] ^= 1
    path.write_bytes(data)
    before = mailbox_directories(account)
    assert len(before) == 3
    with pytest.raises(Corrupt, match="damaged in the middle"):
        other_process(account).create("new")
    assert mailbox_directories(account) == before


def test_default_mailboxes_are_made_once_and_for_all(account: Account) -> None:
    account.create("Sent")
    account.create("Papierkorb", "\\Trash")
    account.furnish()
    uses = {name: entry.special_use for name, entry in account.mailboxes().items()}
    assert uses == {
        "INBOX": None,
        "Archive": "\\Archive",
        "Drafts": "\\Drafts",
        "Junk": "\\Junk",
        "Papierkorb": "\\Trash",
        "Sent": "\\Sent",
    }
    assert account.subscriptions() == {"Archive", "Drafts", "Junk", "Sent"}
    validities = [entry.uid_validity for entry in account.mailboxes().values()]
    assert len(set(validities)) == len(validities)
    account.delete("Archive")
    account.furnish()
    other = other_process(account)
    other.furnish()
    assert "Archive" not in names(other)


def test_that_an_account_was_furnished_outlives_a_catalog_written_anew(account: Account) -> None:
    account.furnish()
    for number in range(400):
        account.subscribe(f"{number:03d}" + "x" * 300)
        account.unsubscribe(f"{number:03d}" + "x" * 300)
    account.delete("Junk")
    other = other_process(account)
    other.furnish()
    assert "Junk" not in names(other)


def test_what_another_process_adds_to_a_tree_that_is_being_removed_goes_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, rmdir, turns = tmp_path / "tree", os.rmdir, itertools.count()

    def add_before(path: Path) -> None:
        if next(turns) in (0, 2):
            (path / "late").touch()
        rmdir(path)

    (tree / "inner").mkdir(parents=True)
    (tree / "file").touch()
    monkeypatch.setattr(os, "rmdir", add_before)
    remove_tree(tree)
    assert not tree.exists() and next(turns) == 4


def test_a_tree_that_never_becomes_empty_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(StorageFailed, match="not empty"):
        remove_tree(tmp_path)
