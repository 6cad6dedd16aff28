from __future__ import annotations

import sys

import numpy as np
import pytest

from mstore.base.numset import NumSet
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_content, make_message, make_messages


def expunge(mailbox: Mailbox, *rows: int) -> None:
    with mailbox.transaction() as tx:
        tx.expunge(list(rows))


def add_flags(mailbox: Mailbox, rows: list[int], bits: int) -> int:
    with mailbox.transaction() as tx:
        tx.flags(rows, "add", bits)
    return tx.modseq


def test_nothing_pending_is_the_same_object_every_time(mailbox: Mailbox) -> None:
    view = mailbox.view()
    assert view.pending(True) is view.pending(False)
    assert not view.pending(True)


def test_new_messages_are_told_once(mailbox: Mailbox) -> None:
    view = mailbox.view(recent=True)
    append(mailbox, make_messages(3))
    changes = view.pending(False)
    assert (changes.exists, changes.recent, changes.expunged_seqs) == (3, 3, [])
    assert not view.pending(True)
    assert view.rows.tolist() == [0, 1, 2]
    assert view.uids.tolist() == [1, 2, 3]


def test_expunges_are_told_in_descending_order_when_allowed(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    view = mailbox.view()
    expunge(mailbox, 1, 3)
    append(mailbox, [make_message(6)])
    changes = view.pending(False)
    assert (changes.expunged_seqs, changes.exists) == ([], 6)
    assert view.uids.tolist() == [1, 2, 3, 4, 5, 6]
    assert mailbox.read(int(view.rows[1])) == make_content(2), "not told yet, so still readable"
    changes = view.pending(True)
    assert (changes.expunged_seqs, changes.expunged_uids, changes.exists) == ([4, 2], [4, 2], None)
    assert view.uids.tolist() == [1, 3, 5, 6]
    assert view.seqs_of_rows(np.array([0, 2, 4, 5])).tolist() == [1, 2, 3, 4]


def test_what_came_and_went_is_never_told(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(1))
    quick, slow = mailbox.view(), mailbox.view()
    append(mailbox, make_messages(2, 2))
    assert quick.pending(False).exists == 3
    expunge(mailbox, 1)
    changes = slow.pending(True)
    assert (changes.expunged_seqs, changes.exists) == ([], 2)
    assert slow.uids.tolist() == [1, 3]
    assert quick.pending(True).expunged_seqs == [2]


def test_flags_are_told_with_the_numbers_after_the_expunges(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    view = mailbox.view()
    add_flags(mailbox, [0, 2, 4], 1)
    expunge(mailbox, 1, 2)
    append(mailbox, [make_message(6)])
    add_flags(mailbox, [5], 4)
    changes = view.pending(True)
    assert changes.expunged_seqs == [3, 2]
    assert changes.fetch_rows.tolist() == [0, 4]
    assert changes.fetch_seqs.tolist() == [1, 3]
    assert changes.exists == 4


def test_own_silent_changes_are_not_told_but_those_of_others_are(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    view, other = mailbox.view(), mailbox.view()
    modseq = add_flags(mailbox, [0, 1], 1)
    view.silence(np.array([0, 1]), modseq)
    add_flags(mailbox, [1, 2], 4)
    assert view.pending(True).fetch_rows.tolist() == [1, 2]
    assert other.pending(True).fetch_rows.tolist() == [0, 1, 2]


def test_a_view_left_far_behind_is_told_all_the_same(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(20))
    view, silent = mailbox.view(), mailbox.view()
    for turn in range(600):
        with mailbox.transaction() as tx:
            tx.flags([turn % 10], "remove" if turn % 20 >= 10 else "add", 2)
        if turn == 599:
            silent.silence(np.array([9]), tx.modseq)
    expunge(mailbox, 3, 15)
    assert mailbox.index.changes_since(view._told) is None
    changes = view.pending(True)
    assert changes.expunged_seqs == [16, 4]
    assert changes.fetch_rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert changes.keywords_changed
    # Others changed row 9 before the session did silently: which of both it missed is no longer known.
    assert silent.pending(True).fetch_rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert view.uids.tolist() == [uid for uid in range(1, 21) if uid not in (4, 16)]


def test_one_message_is_found_as_many_are(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(6))
    whole = mailbox.view(recent=False)
    expunge(mailbox, 1, 4)
    shorter = mailbox.view(recent=False)
    for view in (whole, shorter):
        for number in range(1, 9):
            for uid in (False, True):
                numbers = NumSet([(number, number)])
                rows = view.rows_of_uids(numbers) if uid else view.rows_of_seqs(numbers)
                seq = view.find(number, uid)
                assert [seq] == (view.seqs_of_rows(rows).tolist() or [0])
                if seq:
                    assert view.row_of_seq(seq) == rows.item()


def test_recent_belongs_to_the_first_who_is_told(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    examine = mailbox.view(recent=False)
    assert examine.recent_count == 2
    first, second = mailbox.view(recent=True), mailbox.view(recent=True)
    assert (first.recent_count, second.recent_count) == (2, 0)
    assert mailbox.status().recent == 0
    append(mailbox, [make_message(3)])
    assert mailbox.status().recent == 1
    assert second.pending(True).recent == 1
    assert first.pending(True).recent == 2
    assert second.recent_mask(np.arange(3)).tolist() == [False, False, True]
    assert first.recent_mask(np.arange(3)).tolist() == [True, True, False]
    assert second.recent_from == 3
    assert [second.is_recent(uid) for uid in (1, 2, 3, 4)] == [False, False, True, False]
    other = Mailbox(mailbox.path)
    assert other.view(recent=True).recent_count == 0, "the claim is in the journal"


def test_recent_belongs_to_one_session_of_all_processes(mailbox: Mailbox) -> None:
    other = Mailbox(mailbox.path)
    first, second = mailbox.view(recent=True), other.view(recent=True)
    append(Mailbox(mailbox.path), make_messages(2))
    mailbox.refresh()
    other.refresh()
    assert first.pending(True).recent == 2
    assert second.pending(True).recent == 0
    assert (first.recent_count, second.recent_count) == (2, 0)
    third = Mailbox(mailbox.path)
    third.refresh()
    assert third.status().recent == 0


def test_who_appends_to_the_mailbox_that_it_has_open_has_the_message_as_recent(mailbox: Mailbox) -> None:
    mine, watcher = mailbox.view(recent=True), Mailbox(mailbox.path).view(recent=True)
    append(Mailbox(mailbox.path), [make_message(1)])
    append(mailbox, [make_message(2)], claimant=mine)
    end = mailbox.journal.end
    watcher.mailbox.refresh()
    assert watcher.mailbox.status().recent == 0
    assert watcher.pending(True).recent == 0
    assert mine.pending(True).recent == 2
    assert mailbox.journal.end == end, "the claim was written with the message"
    reader = mailbox.view(recent=False)
    append(mailbox, [make_message(3)], claimant=reader)
    watcher.mailbox.refresh()
    assert watcher.pending(True).recent == 1


def test_recent_is_claimed_in_memory_when_the_lock_is_not_to_be_had(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstore.store.mailbox.CLAIM_S", 0.01)
    view, another = mailbox.view(recent=True), mailbox.view(recent=True)
    other = Mailbox(mailbox.path)
    append(other, [make_message(1)])
    mailbox.refresh()
    with other.transaction():
        assert view.pending(True).recent == 1
    assert another.pending(True).recent == 0
    other.refresh()
    assert other.status().recent == 1, "not written yet"
    mailbox.flush()
    other.refresh()
    assert other.status().recent == 0


def test_a_view_that_tells_nothing_recent_claims_it_all_the_same(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    view = mailbox.view(recent=True, tells_recent=False)
    append(mailbox, [make_message(3)])
    assert view.pending(True).exists == 3
    assert view.recent_count == 0
    assert not view.recent_mask(view.rows).any()
    assert view.recent_from > 3
    assert mailbox.view().recent_count == 0, "somebody has been told of them"


def test_number_sets_become_rows(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(10))
    expunge(mailbox, 0, 4)
    view = mailbox.view()
    assert view.rows_of_seqs(NumSet([(1, 2), (7, 0)])).tolist() == [1, 2, 8, 9]
    assert view.rows_of_seqs(NumSet([(3, 3)])).tolist() == [3]
    assert view.rows_of_seqs(NumSet([(9, 12)])).tolist() == []
    assert view.rows_of_uids(NumSet([(1, 3), (5, 6), (10, 0)])).tolist() == [1, 2, 5, 9]
    assert view.rows_of_uids(NumSet([(5, 5)])).tolist() == []
    assert view.rows_of_uids(NumSet([(0, 0)])).tolist() == [9]
    assert view.rows_of_uids(NumSet([(4000, 0)])).tolist() == [9], "RFC 3501 §6.4.8: * is always in it"
    assert view.rows_of_uids(NumSet([(1, 4294967295)])).tolist() == view.rows.tolist()
    assert view.holds(NumSet([(1, 8)])) and not view.holds(NumSet([(1, 9)]))
    empty = Mailbox.create(mailbox.path.parent / "00000000000000ff", 1).view()
    assert empty.rows_of_uids(NumSet([(1, 0)])).tolist() == []
    assert empty.rows_of_seqs(NumSet([(1, 5)])).tolist() == []
    assert not empty.holds(NumSet([(1, 0)]))


def test_sessions_with_the_same_view_share_their_rows(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(50, size=10))
    expunge(mailbox, 7)
    first, second = mailbox.view(), mailbox.view()
    assert np.shares_memory(first.rows, second.rows)
    size = sum(sys.getsizeof(getattr(first, name, None)) for name in ("count", "modseq", "recent_ranges"))
    assert sys.getsizeof(first) + size < 400


def test_a_view_of_any_age_is_told_everything_in_the_end(mailbox: Mailbox) -> None:
    views = []
    for number in range(1, 30):
        append(mailbox, [make_message(number, 10)])
        views.append(mailbox.view())
        if number % 4 == 0:
            expunge(mailbox, number // 2)
        views[number // 3].pending(number % 2 == 0)
    for view in views:
        view.pending(True)
        assert view.uids.tolist() == views[-1].uids.tolist()
        assert view.rows.tolist() == mailbox.index.live_rows().tolist()
