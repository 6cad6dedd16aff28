"""Moving an account: nothing is lost, never are there two places to write to, and any death can be mended."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import Corrupt, LimitReached, Moved, StorageFailed
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.store import moving
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.checkaccount import check_account
from mstore.store.store import Store
from tests.kit.dying import Quick, close_files_under, run_and_die
from tests.kit.record import Record

ID = AccountId("0123456789abcdef")
NAMES = ("INBOX", "Lists", "Lists/python", "Grüße")


class Site:
    """Two mailstores and a database that names one of them."""

    def __init__(self, path: Path) -> None:
        self.mailstores = {"main": path / "main", "second": path / "second"}
        self.path = path
        self.record = Record(ID, "main")
        for mailstore in self.mailstores.values():
            mailstore.mkdir(exist_ok=True)

    def store(self) -> Store:
        return Store(self.mailstores)

    def move(self, mailstore: str) -> None:
        """What msadm does."""
        store = self.store()
        store.settle(self.record)
        if self.record.mailstore != mailstore:
            store.move(self.record, mailstore, lambda: self.switch(mailstore))
        store.close()

    def switch(self, mailstore: str) -> None:
        self.record = Record(ID, mailstore)

    def home(self, mailstore: str | None = None) -> Path:
        return self.mailstores[mailstore or self.record.mailstore] / ID[:2] / ID

    def assert_tidy(self) -> None:
        assert check_account(self.home(), ID) == []
        store = self.store()
        found = [path for name in self.mailstores for path in store.directories(name)]
        assert found == [self.home()]
        assert not [path for name in self.mailstores for path in store.unfinished_moves(name)]


def text(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n" % number + b"%d\r\n" % number * (50 * number)


def deliver(account: Account, name: str, number: int) -> None:
    mailbox = account.open(name)
    append(mailbox, [NewMessage(text(number), 1_000_000 + number)])
    mailbox.release()


def contents(account: Account) -> dict[str, tuple[int, list[bytes]]]:
    found = {}
    for name in account.mailboxes():
        mailbox = account.open(name)
        rows = mailbox.view().rows
        found[name] = mailbox.uid_validity, [mailbox.read(row) for row in rows.tolist()]
        mailbox.release()
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    before = raw.install(Quick())
    try:
        site = Site(tmp_path)
        store = site.store()
        account = store.account(site.record)
        for place, name in enumerate(NAMES):
            if name != "INBOX":
                account.create(name)
            for number in range(1, 4):
                deliver(account, name, 10 * place + number)
        mailbox = account.open("INBOX")
        with mailbox.transaction() as tx:
            tx.flags([0], "add", 1)
        with mailbox.transaction() as tx:
            tx.expunge([1])
        mailbox.release()
        account.subscribe("Lists")
        store.close()
        yield site
    finally:
        raw.install(before)


def test_all_of_an_account_is_moved(site: Site) -> None:
    before = contents(site.store().account(site.record))
    site.move("second")
    assert site.record.mailstore == "second"
    account = site.store().account(site.record)
    assert contents(account) == before
    assert account.subscriptions() == {"Lists"}
    assert account.open("INBOX").columns.flags.tolist()[0] & 1
    site.assert_tidy()
    left = site.home("main").parent / f"moved-{ID}"
    assert list(left.iterdir()) == []


def test_it_moves_back_and_forth(site: Site) -> None:
    before = contents(site.store().account(site.record))
    for mailstore in ("second", "main", "second", "second", "main"):
        site.move(mailstore)
        site.assert_tidy()
    assert contents(site.store().account(site.record)) == before


def test_an_outdated_record_founds_no_second_account(site: Site) -> None:
    outdated, store = site.record, site.store()
    site.move("second")
    with pytest.raises(Moved):
        store.account(outdated)
    assert not site.home("main").exists()


def test_who_has_the_old_place_open_is_told_and_loses_nothing(site: Site) -> None:
    store = site.store()
    account = store.account(site.record)
    mailbox = account.open("INBOX")
    site.move("second")
    with pytest.raises(Moved):
        append(mailbox, [NewMessage(text(99), 1)])
    for change in (
        lambda: account.create("new"),
        lambda: account.mailboxes(),
        lambda: account.open("Lists"),
        lambda: account.pop3_lock(),
        lambda: mailbox.read(0),
    ):
        with pytest.raises(Moved):
            change()
    fresh = store.account(site.record)
    assert fresh is not account
    deliver(fresh, "INBOX", 99)
    assert contents(store.account(site.record))["INBOX"][1][-1] == text(99)
    mailbox.release()


def test_an_object_from_before_is_of_no_use_when_the_account_came_back(site: Site) -> None:
    store = site.store()
    mailbox = store.account(site.record).open("INBOX")
    idle = store.account(site.record).open("Lists")
    idle.release()
    site.move("second")
    other = site.store()
    deliver(other.account(site.record), "INBOX", 77)
    deliver(other.account(site.record), "Lists", 78)
    site.move("main")
    for _ in range(2):
        with pytest.raises(Exception, match="deleted"):
            append(mailbox, [NewMessage(text(99), 1)])
    mailbox.release()
    for name in ("INBOX", "Lists"):
        deliver(store.account(site.record), name, 99)
        assert contents(store.account(site.record))[name][1][-2:] == [text(77 + (name != "INBOX")), text(99)]
    site.assert_tidy()


def test_a_mailbox_read_before_and_after_it_came_back_shows_what_is_new(site: Site) -> None:
    store = site.store()
    account = store.account(site.record)
    mailbox = account.open("INBOX")
    assert mailbox.read(0) == text(1)
    site.move("second")
    deliver(site.store().account(site.record), "INBOX", 77)
    site.move("main")
    mailbox.refresh()
    assert mailbox.deleted
    mailbox.release()
    assert contents(store.account(site.record))["INBOX"][1] == [text(1), text(3), text(77)]


def test_what_is_written_between_two_rounds_is_in_the_copy(site: Site) -> None:
    target = site.path / "copy"
    follower = moving.Follower(site.home(), target)
    assert follower.update() > 0
    store = site.store()
    account = store.account(site.record)
    deliver(account, "INBOX", 50)
    account.delete("Grüße")
    account.create("made since")
    mailbox = account.open("Lists")
    with mailbox.transaction() as tx:
        tx.expunge([0])
    mailbox.checkpoint()
    mailbox.release()
    store.close()
    follower.update()
    shutil.rmtree(site.home())
    shutil.move(target, site.home())
    site.assert_tidy()
    found = contents(site.store().account(site.record))
    assert found["INBOX"][1][-1] == text(50)
    assert "made since" in found and "Grüße" not in found
    assert len(found["Lists"][1]) == 2


def test_what_has_not_changed_is_not_copied_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "SETTLED_NS", -(1 << 60))
    follower = moving.Follower(site.home(), site.path / "copy")
    follower.update()
    assert follower.update() == 0
    deliver(site.store().account(site.record), "Lists", 60)
    assert 0 < follower.update() < 3 * len(text(60)) + 20_000


def test_a_switch_that_fails_leaves_all_as_it_was(site: Site) -> None:
    store = site.store()
    before = contents(store.account(site.record))

    def fail() -> None:
        raise StorageFailed("the database is locked")

    with pytest.raises(StorageFailed):
        site.store().move(site.record, "second", fail)
    with pytest.raises(Moved):
        site.store().account(site.record)
    site.store().settle(site.record)
    site.assert_tidy()
    assert contents(site.store().account(site.record)) == before


def test_an_account_that_is_elsewhere_than_the_database_says_is_not_touched(site: Site) -> None:
    site.move("second")
    site.record = Record(ID, "main")  # a database restored from an old backup
    with pytest.raises(Corrupt, match="should be at"):
        site.store().settle(site.record)
    assert check_account(site.home("second"), ID) == []


def test_more_mailboxes_than_files_may_be_open_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 4096))
    wanted: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: wanted.append(limits))
    monkeypatch.setattr(os, "listdir", lambda path: ["a descriptor"] * 100)
    moving._allow_descriptors(10)
    assert wanted == []
    moving._allow_descriptors(2000)
    assert 2100 < wanted[0][0] < 2500 and wanted[0][1] == 4096
    with pytest.raises(LimitReached, match="5000 mailboxes"):
        moving._allow_descriptors(5000)


def test_a_removed_account_leaves_nothing_of_its_moves(site: Site) -> None:
    site.move("second")
    site.store().remove(site.record)
    for mailstore in site.mailstores.values():
        assert list((mailstore / ID[:2]).iterdir()) == []


def test_it_may_die_at_any_step_and_is_finished_by_the_next(site: Site) -> None:
    expected = contents(site.store().account(site.record))
    template = site.path / "template"
    shutil.copytree(site.mailstores["main"], template)
    outcomes = set[str]()
    for last in range(400):
        for mailstore in site.mailstores.values():
            shutil.rmtree(mailstore)
        shutil.copytree(template, site.mailstores["main"])
        site.mailstores["second"].mkdir()
        site.record = Record(ID, "main")
        held = site.store().account(site.record).open("INBOX")  # by a worker that knows nothing of this
        system = run_and_die(lambda: site.move("second"), last)
        wanted = {name: (validity, list(texts)) for name, (validity, texts) in expected.items()}
        try:
            append(held, [NewMessage(text(41), 1_000_041)])
            wanted["INBOX"][1].append(text(41))
        except Moved:
            pass
        close_files_under(site.path)
        try:
            account = site.store().account(site.record)
        except Moved:
            outcomes.add("neither")
        else:
            outcomes.add(site.record.mailstore)
            assert contents(account) == wanted, last
            deliver(account, "INBOX", 40)
            wanted["INBOX"][1].append(text(40))
        close_files_under(site.path)
        site.move("second")
        site.assert_tidy()
        assert contents(site.store().account(site.record)) == wanted, last
        close_files_under(site.path)
        if not system.is_dead:
            break
    else:
        pytest.fail("it never came to its end")
    assert outcomes == {"main", "neither", "second"}
