"""What an account holds is counted by every writer, and its limits hold to the byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Busy, MStoreError, OverQuota, StorageFailed
from mstore.base.ids import AccountId, MailboxId
from mstore.files import raw
from mstore.files.layout import SLOT_EXACT, SLOT_GONE, SLOT_MOST, USAGE
from mstore.files.usage import read_slots
from mstore.store import copy as copying
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.checkaccount import check_account
from mstore.store.mailbox import Mailbox
from mstore.store.quota import Limits, Usage
from mstore.store.store import Store
from tests.kit.dying import Quick, close_files_under, run_and_die
from tests.kit.faults import Faults
from tests.kit.record import Record

ID = AccountId("0a" * 8)


def message(size: int) -> NewMessage:
    return NewMessage(b"Subject: x\r\n\r\n".ljust(size, b"x"), 1_700_000_000)


def held(account: Account) -> Usage:
    """What its mailboxes hold, by their own totals."""
    size = messages = 0
    for name, entry in account.mailboxes().items():
        if not entry.no_select:
            mailbox = account.open(name)
            mailbox.refresh()
            size, messages = size + mailbox.status().size_bytes, messages + mailbox.status().messages
            mailbox.release()
    return Usage(size, messages)


class Site:
    """Stores of several processes, as far as files tell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stores: list[Store] = []

    def account(self, quota_bytes: int | None = None, quota_messages: int | None = None) -> Account:
        """The account in a process of its own."""
        store = Store({"main": self.path})
        self.stores.append(store)
        return store.account(Record(ID, "main", quota_bytes, quota_messages))

    @property
    def directory(self) -> Path:
        return self.path / ID[:2] / ID

    def states(self) -> dict[MailboxId, int]:
        return read_slots(f"{self.directory}/quota").states()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    before = raw.install(Quick())
    site = Site(tmp_path)
    yield site
    account = site.account()
    assert account.usage() == held(account)
    for store in site.stores:
        store.close()
    assert check_account(site.directory, ID) == []
    raw.install(before)


def add(account: Account, name: str, *sizes: int, over_quota: bool = False) -> None:
    mailbox = account.open(name)
    try:
        append(mailbox, [message(size) for size in sizes], over_quota)
    finally:
        mailbox.release()


def expunge(account: Account, name: str, *rows: int) -> None:
    mailbox = account.open(name)
    with mailbox.transaction() as tx:
        tx.expunge(np.array(rows, np.int32))
    mailbox.release()


def test_a_limit_is_reached_to_the_byte_and_never_passed(site: Site) -> None:
    account = site.account(1000)
    account.create("Lists")
    add(account, "INBOX", 400)
    add(account, "Lists", 500)
    with pytest.raises(OverQuota):
        add(account, "INBOX", 101)
    add(account, "INBOX", 100)
    assert account.usage() == (1000, 3)
    with pytest.raises(OverQuota):
        add(account, "Lists", 20)
    expunge(account, "INBOX", 0)
    assert account.usage() == (600, 2)
    add(account, "Lists", 400)
    assert account.usage() == (1000, 3)


def test_a_limit_on_messages(site: Site) -> None:
    account = site.account(None, 3)
    add(account, "INBOX", 50, 50)
    with pytest.raises(OverQuota, match="messages"):
        add(account, "INBOX", 50, 50)
    add(account, "INBOX", 50)
    with pytest.raises(OverQuota, match="messages"):
        add(account, "INBOX", 50)
    assert account.usage() == (150, 3)


def test_what_can_never_fit_is_told_apart(site: Site) -> None:
    account = site.account(1000, 2)
    add(account, "INBOX", 900)
    for sizes, hopeless in (((101,), False), ((1000,), False), ((1001,), True), ((20, 20, 20), True)):
        with pytest.raises(OverQuota) as refusal:
            add(account, "INBOX", *sizes)
        assert refusal.value.hopeless is hopeless


def test_several_messages_are_added_all_or_none(site: Site) -> None:
    account = site.account(1000)
    with pytest.raises(OverQuota):
        add(account, "INBOX", 400, 400, 201)
    assert account.usage() == (0, 0)
    add(account, "INBOX", 400, 400, 200)
    assert account.usage() == (1000, 3)


def test_a_copy_is_refused_exactly_and_leaves_nothing(site: Site) -> None:
    account = site.account(1000)
    account.create("Copies")
    add(account, "INBOX", 300, 200)
    source, target = account.open("INBOX"), account.open("Copies")
    assert len(copying.copy(np.array([0, 1]), source, target)) == 2
    assert account.usage() == (1000, 4)
    before = target.uid_next, target.highest_modseq
    with pytest.raises(OverQuota):
        copying.copy(np.array([1]), source, target)
    assert (target.uid_next, target.highest_modseq) == before
    source.release()
    target.release()


def test_a_move_within_the_account_needs_no_room(site: Site) -> None:
    account = site.account(1000)
    account.create("Archive")
    add(account, "INBOX", 600, 400)
    account.limits = Limits(10, 0)
    source, target = account.open("INBOX"), account.open("Archive")
    assert len(copying.move(np.array([0, 1]), source, target)) == 2
    assert account.usage() == (1000, 2)
    assert len(copying.move(np.array([0]), target, target)) == 1
    account.rename("INBOX", "Old")
    account.rename("Archive", "Older/Archive")
    assert account.usage() == (1000, 2) == held(account)
    assert set(site.states().values()) <= {SLOT_EXACT}
    source.release()
    target.release()


def test_a_move_from_another_account_needs_room(site: Site) -> None:
    account = site.account(500)
    other = site.stores[-1].account(Record(AccountId("0b" * 8)))
    add(other, "INBOX", 300, 300)
    source, target = other.open("INBOX"), account.open("INBOX")
    with pytest.raises(OverQuota):
        copying.move(np.array([0, 1]), source, target)
    assert source.status().messages == 2
    assert len(copying.move(np.array([0]), source, target)) == 1
    assert account.usage() == (300, 1)
    assert other.usage() == (300, 1)
    source.release()
    target.release()


def test_mail_over_the_quota_may_be_let_in_and_counts(site: Site) -> None:
    account = site.account(100)
    add(account, "INBOX", 500, over_quota=True)
    assert account.usage() == (500, 1)
    with pytest.raises(OverQuota):
        add(account, "INBOX", 20)
    expunge(account, "INBOX", 0)
    add(account, "INBOX", 100)


def test_a_refusal_in_a_round_fails_no_other(site: Site) -> None:
    account = site.account(1000)
    mailbox = account.open("INBOX")
    assert account.usage() == (0, 0)
    with mailbox.transaction() as tx:
        found = []
        for size in (600, 500, 400):
            try:
                found.append(tx.append([message(size)]))
            except OverQuota:
                found.append([])
    assert [len(uids) for uids in found] == [1, 0, 1]
    assert account.usage() == (1000, 2)
    with pytest.raises(OverQuota):
        append(mailbox, [message(20)])
    mailbox.release()


def test_a_new_limit_is_known_with_the_next_record(site: Site) -> None:
    account = site.account()
    add(account, "INBOX", 900)
    store = site.stores[-1]
    assert store.account(Record(ID, "main", 1000)) is account
    assert account.limits == Limits(1000, None)
    with pytest.raises(OverQuota):
        add(account, "INBOX", 101)
    store.account(Record(ID))
    add(account, "INBOX", 101)


def test_deleted_mailboxes_do_not_count_and_their_slots_are_used_again(site: Site) -> None:
    account, other = site.account(1000), site.account(1000)
    for _ in range(5):
        account.create("Big/Bigger")
        add(account, "Big/Bigger", 900)
        with pytest.raises(OverQuota):
            add(other, "INBOX", 101)
        account.delete("Big/Bigger")
        account.delete("Big")
        assert other.usage() == (0, 0)
    account.create("Small")
    add(account, "Small", 100)
    assert os.path.getsize(site.directory / "quota") <= USAGE.size + 3 * 32


def test_a_mailbox_that_is_deleted_while_it_cannot_be_removed_counts_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, other = site.account(1000), site.account(1000)
    account.create("Big")
    add(account, "Big", 900)
    doomed = account.open("Big")

    def busy(*_: object) -> None:
        raise Busy("somebody is writing to it")

    with monkeypatch.context() as patch:
        patch.setattr("mstore.store.directory.remove_mailbox", busy)
        account.delete("Big")
    assert other.usage() == (0, 0)
    append(doomed, [message(50)], over_quota=True)  # he had begun before, and does not know yet
    add(other, "INBOX", 1000)
    assert other.usage() == (1000, 1)
    doomed.release()
    other.create("New")
    assert set(site.states()) == {entry.id for entry in other.mailboxes().values() if entry.name == "INBOX"}


def test_after_a_start_of_the_machine_all_is_counted_anew(site: Site) -> None:
    account = site.account()
    account.create("Lists")
    add(account, "INBOX", 300)
    add(account, "Lists", 300, 300)
    site.stores.pop().close()
    raw.install(Quick(b"second boot....."))
    account = site.account(1000)
    assert site.directory.joinpath("quota").exists()
    with pytest.raises(OverQuota):
        add(account, "INBOX", 101)
    add(account, "INBOX", 100)
    assert account.usage() == (1000, 4)


@pytest.mark.parametrize("harm", ["remove", "header", "slot", "cut", "empty", "words"])
def test_a_usage_file_that_is_damaged_is_replaced(site: Site, harm: str) -> None:
    account, other = site.account(1000), site.account(1000)
    account.create("Lists")
    add(account, "INBOX", 300)
    add(account, "Lists", 300, 300)
    add(other, "INBOX", 50)
    path = site.directory / "quota"
    data = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    else:
        data[{"header": 20, "slot": 70}.get(harm, 0)] ^= harm in ("header", "slot")
        content = {"cut": data[:-5], "empty": b"", "words": b"what is this\n" * 20}.get(harm, data)
        with path.open("r+b") as file:
            file.truncate(len(content))
            file.write(content)
    with pytest.raises(OverQuota):
        add(account, "INBOX", 51)
    add(other, "Lists", 50)
    assert account.usage() == other.usage() == (1000, 5)


def test_recounting_beside_a_writer_without_limits_loses_nothing(site: Site) -> None:
    account, other = site.account(), site.account()
    add(account, "INBOX", 300)
    add(other, "INBOX", 300)
    other.recount()
    add(account, "INBOX", 100)
    assert other.usage() == (700, 3)
    assert other.recount() == (700, 3)


def test_a_failed_append_gives_its_room_back(site: Site) -> None:
    account = site.account(1000)
    add(account, "INBOX", 100)
    mailbox = account.open("INBOX")

    def fail() -> None:
        raise StorageFailed("no")

    for _ in range(3):
        with pytest.raises(StorageFailed), mailbox.transaction() as tx:
            tx.append([message(900)])
            fail()
    assert account.usage() == (100, 1)
    assert set(site.states().values()) == {SLOT_EXACT}
    add(account, "INBOX", 900)
    mailbox.release()


def test_room_is_given_back_also_where_nothing_can_be_written_down(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = site.account(1000)
    add(account, "INBOX", 500, 500)

    def fail(*_: object) -> bool:
        raise StorageFailed("no space")

    quota = account._quota
    with monkeypatch.context() as patch:
        patch.setattr(quota, "put", fail)
        patch.setattr(type(quota), "note", fail)
        expunge(account, "INBOX", 0)
    other = site.account(1000)
    other.recount()
    add(other, "INBOX", 500)


def test_unlimited_accounts_write_once_and_take_no_lock(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    account = site.account()
    add(account, "INBOX", 100)
    quota = account._quota
    written: list[int] = []
    put = quota.put

    def count(*values: int) -> bool:
        written.append(values[-1])
        return put(*values)

    monkeypatch.setattr(quota, "put", count)
    monkeypatch.setattr(type(quota), "_acquire", lambda _: pytest.fail("it took the lock"))
    add(account, "INBOX", 100)
    assert written == [SLOT_MOST]


@pytest.mark.parametrize("limit", [None, 3000])
@pytest.mark.parametrize("torn", [False, True])
def test_whoever_dies_at_any_step_takes_no_room_along(tmp_path: Path, limit: int | None, torn: bool) -> None:
    """After a death anywhere, what fits is taken and what does not is not, to the byte."""

    def work() -> None:
        store = Store({"main": path})
        account = store.account(Record(ID, "main", limit))
        add(account, "Lists", 300, 200)
        expunge(account, "INBOX", 0)
        inbox, lists = account.open("INBOX"), account.open("Lists")
        copying.copy(np.array([0]), lists, inbox)
        copying.move(inbox.view().rows[:1], inbox, lists)
        account.delete("Old")

    before = raw.install(Quick())
    try:
        for last in range(400):
            path = tmp_path / f"{last}"
            path.mkdir()
            store = Store({"main": path})
            account = store.account(Record(ID, "main", limit))
            account.create("Lists")
            account.create("Old")
            add(account, "INBOX", 400, 100)
            add(account, "Old", 700)
            if limit:
                account.usage()
            store.close()
            died = run_and_die(work, last, torn)
            site = Site(path)
            account = site.account(5000)
            fits = 5000 - sum_of(account)
            with pytest.raises(OverQuota):
                add(account, "INBOX", fits + 1)
            add(account, "INBOX", fits)
            assert account.usage() == held(account)
            assert account.usage().size_bytes == 5000
            account.create("New")
            site.stores[0].close()
            assert check_account(site.directory, ID) == []
            close_files_under(path)
            if not died.is_dead:
                return
        pytest.fail("it never came to its end")
    finally:
        raw.install(before)


def sum_of(account: Account) -> int:
    """What is there, with what a dead writer has left to be adopted."""
    for name in account.mailboxes():
        mailbox = account.open(name)
        with mailbox.transaction() as tx:
            tx.frames()
        mailbox.release()
    return held(account).size_bytes


def test_who_died_between_reserving_and_writing_keeps_nobody_out(site: Site) -> None:
    account = site.account(1000)
    account.create("Lists")
    add(account, "INBOX", 100)
    lists = account.open("Lists")
    account._quota.reserve(lists.id, (900, 1), (900, 1))  # and then it died
    assert account.usage() == (1000, 2)
    add(account, "INBOX", 900)
    assert account.usage() == (1000, 2)
    assert site.states()[lists.id] == SLOT_EXACT
    lists.release()


def test_every_single_failure_leaves_the_sum_right(site: Site) -> None:
    account = site.account(10_000)
    account.create("Lists")
    add(account, "INBOX", 300, 200)
    refused = 0
    for call in ("pwrite", "pwritev", "sync", "truncate"):
        for place in range(8):
            faults = Faults()
            before = raw.install(faults)
            try:
                faults.fail(call, place)
                lists = account.open("Lists")
                append(lists, [message(100)])
                expunge(account, "Lists", lists.view().rows.item(0))
            except MStoreError:
                refused += 1
            finally:
                raw.install(before)
                lists.release()
            usage, holds = account.usage(), held(account)
            if usage != holds:  # what could not be written is not below what is there
                assert usage.size_bytes > holds.size_bytes
                account.recount()
            assert account.usage() == held(account)
    assert refused > 5


def test_gone_mailboxes_are_marked_until_their_directory_goes(site: Site) -> None:
    account = site.account()
    account.create("Old")
    add(account, "Old", 100)
    entry = account.entry("Old")
    account._quota.forget(entry.id)
    assert site.states()[entry.id] == SLOT_GONE
    assert account.recount() == (100, 1)


def test_the_check_tells_of_slots_that_are_wrong(site: Site) -> None:
    account = site.account(1000)
    add(account, "INBOX", 300)
    inbox = account.entry("INBOX").id
    quota = account._quota
    for size, count, state, words in (
        (301, 1, SLOT_EXACT, "its slot says 301 bytes in 1 messages"),
        (299, 1, SLOT_EXACT, "its slot says 299"),
        (300, 2, SLOT_EXACT, "its slot says"),
        (299, 1, SLOT_MOST, "299 bytes in 1 messages at most"),
        (300, 0, SLOT_MOST, "at most"),
    ):
        quota.note(inbox, size, count, state)
        (problem,) = check_account(site.directory, ID)
        assert words in problem.text
    quota.note(inbox, 900, 7, SLOT_MOST)  # its author died before he could write so much
    assert check_account(site.directory, ID) == []
    quota.note(MailboxId("00000000000000aa"), 900, 7)
    (problem,) = check_account(site.directory, ID)
    assert "no name" in problem.text
    quota.settle()
    assert check_account(site.directory, ID) == []
    with site.directory.joinpath("quota").open("r+b") as file:
        file.seek(USAGE.size)
        file.write(bytes(32))
    (problem,) = check_account(site.directory, ID)
    assert "has no slot" in problem.text
    account.recount()
    data = site.directory.joinpath("quota").read_bytes()
    site.directory.joinpath("quota").write_bytes(data[:-1])
    (problem,) = check_account(site.directory, ID)
    assert problem.heals
    account.recount()


def test_a_mailbox_without_an_account_counts_nowhere(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "00000000000000aa", 7)
    append(mailbox, [message(100)])
    with mailbox.transaction() as tx:
        tx.count()
        tx.reserve(1, 1)
        tx.announce()
    mailbox.close()
    assert not (tmp_path / "quota").exists()
