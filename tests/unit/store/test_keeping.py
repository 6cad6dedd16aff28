"""UIDs, UIDNEXT and UIDVALIDITY that an import or a restore brings from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Exists, Invalid, LimitReached, NotFound
from mstore.base.ids import AccountId, Uid
from mstore.store import recovery
from mstore.store.account import Account
from mstore.store.annotation import Subject
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.checkaccount import check_account
from mstore.store.mailbox import Mailbox
from mstore.store.store import Store
from tests.crash.world import RECORD
from tests.kit.mail import make_content, make_message


def kept(number: int, uid: int, save_date: int | None = None) -> NewMessage:
    return NewMessage(make_content(number), 1_700_000_000, uid=Uid(uid), save_date=save_date)


def uids(mailbox: Mailbox) -> list[int]:
    full: list[int] = mailbox.columns.uid[mailbox.index.live_rows()].tolist()
    return full


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    store = Store({"main": tmp_path})
    yield store.account(RECORD)
    store.close()
    assert check_account(tmp_path / RECORD.id[:2] / RECORD.id, RECORD.id) == []


def test_messages_keep_their_uids_and_the_others_get_the_next(mailbox: Mailbox) -> None:
    messages = [kept(1, 5), make_message(2), kept(3, 4_000_000_000, 1_600_000_000)]
    assert append(mailbox, messages) == [5, 6, 4_000_000_000]
    assert append(mailbox, [make_message(4)]) == [4_000_000_001]
    other = Mailbox(mailbox.path)
    assert uids(other) == [5, 6, 4_000_000_000, 4_000_000_001]
    assert other.read(2) == make_content(3)
    assert other.columns.save_date.item(2) == 1_600_000_000
    assert other.columns.save_date.item(0) > 1_700_000_000


@pytest.mark.parametrize("wrong", [[5, 5], [7, 6], [2], [0]])
def test_a_uid_that_may_have_been_used_is_refused(mailbox: Mailbox, wrong: list[int]) -> None:
    append(mailbox, [make_message(1), make_message(2)])
    with pytest.raises(Invalid, match="UID"):
        append(mailbox, [kept(number, uid) for number, uid in enumerate(wrong)])
    assert append(mailbox, [make_message(3)]) == [3]


def test_the_last_uids_are_not_for_keeping(mailbox: Mailbox) -> None:
    with pytest.raises(LimitReached):
        append(mailbox, [kept(1, 0xFFFFFFFF)])
    with pytest.raises(LimitReached), mailbox.transaction() as tx:
        tx.raise_uid_next(0x100000000)
    assert append(mailbox, [kept(1, 0xFFFFFFFE)]) == [0xFFFFFFFE]


def test_what_a_dead_writer_has_left_is_adopted_with_its_uids(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(1)])
    end = mailbox.journal.end
    append(mailbox, [kept(2, 10, 1_600_000_000), kept(3, 20)])
    mailbox.close()
    with open(mailbox.journal.path, "r+b") as journal:
        journal.truncate(end)  # it died between frames and journal
    other = Mailbox(mailbox.path)
    assert append(other, [make_message(4)]) == [21]
    assert uids(other) == [1, 10, 20, 21]
    assert other.columns.save_date.item(1) == 1_600_000_000


def test_a_reader_has_seen_what_it_appends_with_uids(mailbox: Mailbox) -> None:
    mine = Mailbox(mailbox.path, reader=AccountId("bb" * 8))
    seen = NewMessage(make_content(2), 1, 1, uid=Uid(12))
    append(mine, [kept(1, 3), seen])
    assert (mine.columns.flags[mine.index.live_rows()] & np.uint64(1)).tolist() == [0, 1]
    mailbox.refresh()
    assert (mailbox.columns.flags[mailbox.index.live_rows()] & np.uint64(1)).tolist() == [0, 0]
    mine.close()


@pytest.mark.parametrize("filled", [False, True])
def test_uidnext_goes_up_and_stays_up(mailbox: Mailbox, filled: bool) -> None:
    if filled:
        append(mailbox, [make_message(1)])
    with mailbox.transaction() as tx:
        tx.raise_uid_next(50)
    with mailbox.transaction() as tx:
        tx.raise_uid_next(7)
    assert mailbox.uid_next == Mailbox(mailbox.path).uid_next == 50
    mailbox.compact(thorough=True)
    assert check_mailbox(mailbox.path) == []
    mailbox.close()
    for file in [*mailbox.path.glob("index.*"), *mailbox.path.glob("journal.*")]:
        file.unlink()
    assert recovery.rebuild(mailbox.path, uid_validity=7).uid_next == 50
    assert append(Mailbox(mailbox.path), [make_message(2)]) == [50]


def test_uidnext_goes_up_behind_messages_of_the_same_transaction(mailbox: Mailbox) -> None:
    with mailbox.transaction() as tx:
        assert tx.append([kept(1, 5)]) == [5]
        tx.raise_uid_next(9)
        assert tx.append([make_message(2)]) == [9]
    assert (mailbox.uid_next, uids(mailbox)) == (10, [5, 9])


def test_a_mailbox_is_made_with_a_uidvalidity(account: Account) -> None:
    made = account.create("a/b", uid_validity=77)
    assert (made.name, made.uid_validity) == ("a/b", 77)
    opened = account.open("a/b")
    assert opened.uid_validity == 77
    append(opened, [make_message(1)])
    opened.release()
    with pytest.raises(Exists, match="UIDVALIDITY 77"):
        account.create("c", uid_validity=77)
    assert account.create("a", uid_validity=78).uid_validity == 78  # was made on the way, and is empty
    assert list(account.mailboxes()) == ["INBOX", "a", "a/b"]
    for wrong in (0, 1 << 32, (1 << 32) - 1):
        with pytest.raises(Invalid, match="UIDVALIDITY"):
            account.create("c", uid_validity=wrong)


def test_a_mailbox_that_was_never_used_gives_up_its_uidvalidity_for_another(account: Account) -> None:
    theirs = account.create("Drafts", r"\Drafts").uid_validity
    made = account.create("Sent", uid_validity=theirs)
    drafts = account.entry("Drafts")
    assert made.uid_validity == theirs
    assert (drafts.uid_validity > theirs, drafts.special_use) == (True, r"\Drafts")
    opened = account.open("Drafts")
    assert opened.uid_validity == drafts.uid_validity
    opened.release()


def test_an_inbox_that_was_never_used_is_made_anew(account: Account) -> None:
    before = account.entry("INBOX")
    about = Subject(0, int(before.id, 16))
    account.annotate(about, {"/private/comment": b"mine"})
    held = account.open("INBOX")
    made = account.create("INBOX", uid_validity=99)
    assert account.entry("INBOX") == made
    assert (made.uid_validity, made.id != before.id) == (99, True)
    assert account.annotations(Subject(0, int(made.id, 16))) == {"/private/comment": b"mine"}
    assert account.annotations(about) == {}
    with pytest.raises(NotFound):
        append(held, [make_message(1)])  # who had it open cannot append to what is gone
    held.release()
    assert not (account.path / before.id).exists()
    assert account.create("INBOX", uid_validity=99) == made
    opened = account.open("INBOX")
    append(opened, [kept(1, 3)])
    opened.release()


def test_a_mailbox_that_was_used_is_never_made_anew(account: Account) -> None:
    opened = account.open("INBOX")
    append(opened, [make_message(1)])
    with opened.transaction() as tx:
        tx.expunge(opened.index.live_rows())
    opened.release()
    before = account.entry("INBOX")
    for uid_validity in (99, before.uid_validity):
        with pytest.raises(Exists, match="was used"):
            account.create("INBOX", uid_validity=uid_validity)
    assert account.entry("INBOX") == before
    assert len(list(account.path.glob("?" * 16))) == 1


def test_a_mailbox_continues_one_that_was_lost(account: Account) -> None:
    made = account.create("a", uid_validity=77, least_modseq=5000)
    opened = account.open("a")
    assert opened.highest_modseq == Mailbox(opened.path).highest_modseq == 5000
    append(opened, [make_message(1)])
    assert opened.columns.modseq.item(0) == 5001
    assert opened.index.expunges.since(4999) is None  # what was expunged before is not known
    opened.release()
    assert account.entry("a") == made
    again = account.create("INBOX", uid_validity=account.entry("INBOX").uid_validity, least_modseq=9)
    opened = account.open("INBOX")
    assert (opened.highest_modseq, opened.uid_validity) == (9, again.uid_validity)
    opened.release()
