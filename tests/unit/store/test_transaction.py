from __future__ import annotations

import errno
import threading

import numpy as np
import pytest

from mstore.base.errors import Busy, StorageFailed
from mstore.base.flags import DELETED, FLAGGED, SEEN
from mstore.files.lock import LockOrder
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from tests.kit.faults import faults
from tests.kit.mail import make_message, make_messages


def flags_of(mailbox: Mailbox) -> list[int]:
    return mailbox.columns.flags.tolist()


def test_flag_changes_give_the_rows_really_changed(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    with mailbox.transaction() as tx:
        assert tx.flags([1, 3], "add", 1).tolist() == [1, 3]
    with mailbox.transaction() as tx:
        assert tx.flags(np.arange(5), "add", 1).tolist() == [0, 2, 4]
    with mailbox.transaction() as tx:
        assert tx.flags(np.arange(5), "add", 1).tolist() == []
        assert tx.flags([2], "add", 1).tolist() == []
    assert mailbox.highest_modseq == 4, "a transaction without effect has no MODSEQ"
    with mailbox.transaction() as tx:
        assert tx.flags([2], "set", 6).tolist() == [2]
    with mailbox.transaction() as tx:
        assert tx.flags([4, 0, 2, 2], "remove", 3).tolist() == [0, 2, 4]
    assert flags_of(mailbox) == [0, 1, 4, 1, 0]
    assert mailbox.columns.modseq.tolist() == [6, 3, 6, 3, 6]
    fresh = Mailbox(mailbox.path)
    assert flags_of(fresh) == flags_of(mailbox)
    assert fresh.columns.modseq.tolist() == mailbox.columns.modseq.tolist()


@pytest.mark.parametrize("rows", [[0], [0, 1, 2]])
def test_bits_outside_the_mask_stay_as_they_are(mailbox: Mailbox, rows: list[int]) -> None:
    append(mailbox, make_messages(3))
    with mailbox.transaction() as tx:
        tx.flags(rows, "set", SEEN | DELETED)
    with mailbox.transaction() as tx:
        assert tx.flags(rows, "set", FLAGGED, mask=SEEN | FLAGGED).tolist() == rows
    assert mailbox.columns.flags[rows].tolist() == [DELETED | FLAGGED] * len(rows)
    with mailbox.transaction() as tx:
        assert tx.flags(rows, "remove", DELETED | FLAGGED, mask=FLAGGED).tolist() == rows
        assert tx.flags(rows, "add", SEEN, mask=FLAGGED).tolist() in ([], rows)
    assert mailbox.columns.flags[rows].tolist() == [DELETED] * len(rows)


def test_internal_bits_cannot_be_set(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(1))
    with mailbox.transaction() as tx:
        tx.flags([0], "set", 0xE1)
    assert flags_of(mailbox) == [1]


def test_unchanged_since_spares_newer_rows(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    known = mailbox.highest_modseq
    with mailbox.transaction() as tx:
        tx.flags([1], "add", 1)
    with mailbox.transaction() as tx:
        assert tx.flags(np.arange(3), "add", 4, unchanged_since=known).tolist() == [0, 2]
        assert tx.flags([1], "add", 4, unchanged_since=known).tolist() == []
    assert flags_of(mailbox) == [4, 1, 4]


def test_two_operations_of_one_transaction_take_effect_in_order(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2, 1))
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 4)
    with mailbox.transaction() as tx:
        tx.flags([0, 1], "remove", 4)
        tx.flags([0], "add", 4)
        tx.flags([1], "add", 8)
        tx.expunge([1])
    assert flags_of(mailbox)[0] == 4
    assert mailbox.status().messages == 1
    assert mailbox.status().deleted == 0


def test_expunged_rows_are_left_alone(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    with mailbox.transaction() as tx:
        tx.expunge([1])
    with mailbox.transaction() as tx:
        assert tx.flags([1], "add", 1).tolist() == []
        assert tx.flags(np.arange(3), "add", 1).tolist() == [0, 2]
        assert tx.expunge(np.arange(3)[:2]).tolist() == [1]
    assert mailbox.status().messages == 1


def test_scattered_rows_and_every_row_alike(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(200, size=10))
    odd = np.arange(1, 200, 2)
    with mailbox.transaction() as tx:
        assert len(tx.flags(odd, "add", 8)) == 100
    with mailbox.transaction() as tx:
        assert tx.expunge(odd).tolist() == (odd + 1).tolist()
    with mailbox.transaction() as tx:
        assert len(tx.flags(np.arange(200), "add", 1)) == 100
    fresh = Mailbox(mailbox.path)
    assert fresh.status() == mailbox.status()
    assert fresh.status()[:4] == (100, 0, 100, 0)
    assert fresh.view().uids.tolist() == list(range(1, 200, 2))


def test_an_exception_in_the_block_undoes_all(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    size = (mailbox.path / "messages.1").stat().st_size
    with pytest.raises(RuntimeError), mailbox.transaction() as tx:
        tx.flags([0], "add", 1)
        tx.expunge([1])
        tx.append([make_message(3)])
        raise RuntimeError
    assert mailbox.status()[:2] == (2, 2)
    assert (mailbox.path / "messages.1").stat().st_size == size
    assert append(mailbox, [make_message(4)]) == [3]


@pytest.mark.parametrize("call", ["pwrite", "sync"])
def test_an_expunge_that_fails_did_not_happen(mailbox: Mailbox, call: str) -> None:
    append(mailbox, make_messages(3))
    other = Mailbox(mailbox.path)
    with faults() as system:
        system.fail(call, code=errno.EIO)
        with pytest.raises(StorageFailed), mailbox.transaction() as tx:
            tx.expunge([0])
    assert other.refresh() is False
    assert mailbox.status().messages == 3
    with mailbox.transaction() as tx:
        assert tx.expunge([0]).tolist() == [1]
    assert other.refresh()
    assert other.status().messages == 2


def test_an_expunge_is_synced_before_anybody_sees_it(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    other = Mailbox(mailbox.path)
    seen: list[int] = []
    with faults() as system:
        sync = system.sync

        def watching(fd: int) -> None:
            other.refresh()
            mailbox.refresh()
            seen.append(other.status().messages + mailbox.status().messages)
            sync(fd)

        system.sync = watching  # type: ignore[method-assign]
        with mailbox.transaction() as tx:
            tx.expunge([0])
    assert seen == [4]
    assert other.refresh()
    assert mailbox.status().messages == other.status().messages == 1


def test_flag_changes_are_synced_when_nothing_is_cooperative(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    with faults() as system:
        with mailbox.transaction() as tx:
            tx.flags([0], "add", 1)
        assert system.calls[-1] == "sync"


def test_a_failed_flush_is_tried_again(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    with faults() as system:
        system.fail("sync")
        with pytest.raises(StorageFailed), mailbox.transaction() as tx:
            tx.flags([0], "add", 1)
        system.heal()
        mailbox.flush()
        assert system.calls[-1] == "sync"


def test_who_waits_too_long_is_told(mailbox: Mailbox) -> None:
    other = Mailbox(mailbox.path)
    with mailbox.transaction():
        result: list[BaseException] = []

        def attempt(which: Mailbox) -> None:
            try:
                with which.transaction(deadline_s=0.05):
                    pass
            except Busy as error:
                result.append(error)

        for which in (mailbox, other):
            thread = threading.Thread(target=attempt, args=(which,))
            thread.start()
            thread.join()
        assert len(result) == 2


def test_locks_are_taken_in_order(make_mailbox) -> None:
    first, second = make_mailbox(), make_mailbox()
    with first.transaction(), second.transaction():
        pass
    with second.transaction(), pytest.raises(LockOrder):
        first.transaction().__enter__()
    with first.transaction(), pytest.raises(LockOrder):
        first.transaction().__enter__()


def test_the_modseq_of_a_transaction_is_known(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    with mailbox.transaction() as tx:
        tx.keyword_bits([b"fresh"])
        tx.flags([1], "add", 1)
    assert tx.modseq == mailbox.highest_modseq == mailbox.columns.modseq.item(1)
