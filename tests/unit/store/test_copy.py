from __future__ import annotations

import errno

import numpy as np
import pytest

from mstore.base.errors import Corrupt, StorageFailed
from mstore.base.flags import DELETED, SEEN
from mstore.files.layout import FIRST_IN_GROUP, FRAME, LAST_IN_GROUP
from mstore.files.raw import size_of
from mstore.files.segment import HEADER_BYTES, is_whole, scan
from mstore.store.append import append
from mstore.store.copy import copy, move
from mstore.store.mailbox import Mailbox
from tests.kit.faults import faults
from tests.kit.mail import make_content, make_message, make_messages


def contents(mailbox: Mailbox) -> list[bytes]:
    return [mailbox.read(row) for row in mailbox.index.live_rows().tolist()]


@pytest.fixture
def source(make_mailbox) -> Mailbox:
    mailbox = make_mailbox()
    append(mailbox, [make_message(1, keywords=(b"work",)), *make_messages(4, 2)])
    return mailbox


def test_copies_are_equal_in_all_but_uid(source: Mailbox, make_mailbox) -> None:
    target = make_mailbox()
    append(target, [make_message(9, keywords=(b"other", b"WORK"))])
    with source.transaction() as tx:
        tx.flags([3], "set", 5)
    assert list(copy(np.array([3, 0, 1]), source, target)) == [(1, 2), (2, 3), (4, 4)]
    assert contents(target) == [make_content(n) for n in (9, 1, 2, 4)]
    assert target.columns.flags.tolist() == [0x300, 0x200, 0, 5]
    for name in ("internal_date", "sent_date", "email_id", "header_length", "size"):
        assert getattr(target.columns, name)[1:].tolist() == getattr(source.columns, name)[[0, 1, 3]].tolist()
    assert (target.columns.derived > 0).all()
    assert target.derived(np.arange(4), [0, 1]) == [
        [*target.derived(np.array([0]), [slot])[0], *source.derived(np.array([0, 1, 3]), [slot])[0]]
        for slot in (0, 1)
    ]
    fresh = Mailbox(target.path)
    assert contents(fresh) == contents(target)


def test_flags_outside_the_mask_are_left_out_and_their_keywords_are_not_made(
    source: Mailbox, make_mailbox
) -> None:
    with source.transaction() as tx:
        tx.flags([0, 1], "add", SEEN | DELETED)
    target = make_mailbox()
    copy(np.arange(3), source, target, DELETED)
    assert target.columns.flags.tolist() == [DELETED, DELETED, 0]
    assert target.keywords == []
    copy(np.arange(1), source, source, SEEN)
    assert source.columns.flags.tolist()[-1] == SEEN


@pytest.mark.parametrize(("size", "calls"), [(200_000, 1), (2000, 0)])
def test_neighbours_are_copied_together(source: Mailbox, make_mailbox, size: int, calls: int) -> None:
    target = make_mailbox()
    append(target, [make_message(9)])
    append(source, [make_message(n, size) for n in range(6, 9)])
    with faults() as system:
        copy(np.arange(5, 8), source, target)
    assert system.calls.count("copy_range") == calls, "the kernel copies large ones"
    assert contents(target)[1:] == [make_content(n, size) for n in range(6, 9)]


@pytest.mark.parametrize("size", [100, 2000, 200_000])
def test_frames_of_copies_say_what_the_index_says(source: Mailbox, make_mailbox, size: int) -> None:
    target = make_mailbox()
    append(source, [make_message(n, size) for n in range(6, 12)])
    copy(np.array([0, 1, 4, 5, 6, 7, 10]), source, target)
    fd = target.segments.fd(1)
    frames = list(scan(fd, 1, HEADER_BYTES, size_of(fd)))
    names = ("uid", "flags", "internal_date", "email_id", "save_date", "header_length", "offset", "segment")
    for name in names:
        assert [getattr(frame, name) for frame in frames] == getattr(target.columns, name).tolist()
    assert [frame.length for frame in frames] == target.columns.size.tolist()
    assert [frame.place for frame in frames] == list(range(7))
    assert [frame.mark for frame in frames] == [FIRST_IN_GROUP, 0, 0, 0, 0, 0, LAST_IN_GROUP]
    assert all(is_whole(fd, frame) for frame in frames)


@pytest.mark.parametrize("size", [100, 200_000])
def test_a_frame_that_is_not_what_the_index_says_is_not_copied(
    source: Mailbox, make_mailbox, size: int
) -> None:
    target = make_mailbox()
    append(source, [make_message(n, size) for n in range(6, 9)])
    place = int(source.columns.offset[6]) - HEADER_BYTES + FRAME.offset_of("length")
    path = source.segments.path(1)
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(place)
        file.write((size + 1).to_bytes(8, "little"))
    with pytest.raises(Corrupt):
        copy(np.arange(8), source, target)
    with path.open("r+b") as file:
        file.truncate(place)
    with pytest.raises((Corrupt, StorageFailed)):
        copy(np.arange(8), source, target)
    assert target.index.messages == 0
    assert list(copy(np.arange(5), source, target)) == [(n, n) for n in range(1, 6)]
    path.write_bytes(whole)


def test_a_mailbox_can_be_copied_onto_itself(source: Mailbox) -> None:
    assert list(copy(np.arange(5), source, source)) == [(n, n + 5) for n in range(1, 6)]
    assert contents(source) == [make_content(n) for n in (1, 2, 3, 4, 5)] * 2


def test_large_copies_cross_segments(source: Mailbox, make_mailbox) -> None:
    target = make_mailbox()
    append(source, [make_message(n, 12 << 20) for n in range(6, 9)])
    rows = np.arange(8)
    copy(rows, source, target)
    copy(rows, source, target)
    assert contents(target) == contents(source) * 2
    assert target.columns.segment.max() >= 2


@pytest.mark.parametrize("call", ["copy_range", "sync", "pwrite"])
def test_a_copy_that_fails_leaves_nothing(source: Mailbox, make_mailbox, call: str) -> None:
    target = make_mailbox()
    append(target, [make_message(9)])
    append(source, [make_message(6, 1_000_000)])
    with faults() as system:
        system.fail(call, at=1 if call == "pwrite" else 0, code=errno.EDQUOT)
        with pytest.raises(StorageFailed):
            copy(np.array([0, 5]), source, target)
    assert contents(target) == [make_content(9)]
    assert list(copy(np.array([1]), source, target)) == [(2, 2)]


def test_without_the_system_call_bytes_are_copied_by_hand(source: Mailbox, make_mailbox) -> None:
    target = make_mailbox()
    append(source, [make_message(6, 1_000_000)])
    with faults() as system:
        system.fail("copy_range", code=errno.EXDEV)
        copy(np.arange(6), source, target)
        assert "copy_range" in system.calls
    assert contents(target) == contents(source)


def test_what_is_expunged_but_untold_can_be_copied(source: Mailbox, make_mailbox) -> None:
    target = make_mailbox()
    with source.transaction() as tx:
        tx.expunge([2])
    assert list(copy(np.array([2]), source, target)) == [(3, 1)]
    assert contents(target) == [make_content(3)]
    assert target.columns.flags.tolist() == [0]


def test_a_move_leaves_the_message_in_one_place(source: Mailbox, make_mailbox) -> None:
    target = make_mailbox()
    assert list(move(np.array([0, 4]), source, target)) == [(1, 1), (5, 2)]
    assert contents(source) == [make_content(n) for n in (2, 3, 4)]
    assert contents(target) == [make_content(n) for n in (1, 5)]
    assert list(move(np.array([0, 1]), source, target)) == [(2, 3)], "the first is gone already"
    assert list(move(np.array([0]), source, target)) == []
    assert list(move(np.array([0, 1]), target, source)) == [(1, 6), (2, 7)], "in either direction"


def test_a_move_within_a_mailbox_gives_new_uids(source: Mailbox) -> None:
    assert list(move(np.array([1, 2]), source, source)) == [(2, 6), (3, 7)]
    assert contents(source) == [make_content(n) for n in (1, 4, 5, 2, 3)]


def test_nothing_copies_to_nothing(source: Mailbox, make_mailbox) -> None:
    assert list(copy(np.empty(0, np.int32), source, make_mailbox())) == []


def test_a_move_within_a_mailbox_of_what_is_gone_already_does_nothing(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    with mailbox.transaction() as tx:
        tx.expunge([1])
    before = mailbox.journal.end
    assert list(move(np.array([1]), mailbox, mailbox)) == []
    assert mailbox.journal.end == before
    assert append(mailbox, [make_message(9)]) == [4]
