from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from mstore.base.errors import Corrupt, LimitReached, NotFound
from mstore.base.flags import SEEN
from mstore.base.ids import AccountId
from mstore.files.segment import HEADER_BYTES
from mstore.store.append import append
from mstore.store.copy import copy, move
from mstore.store.mailbox import Mailbox
from mstore.store.pool import Pool
from mstore.store.replace import replace
from mstore.store.search import find
from mstore.store.searchkeys import Text
from tests.kit.dying import open_files
from tests.kit.mail import make_content, make_message, make_messages


def test_new_mailbox_is_empty(mailbox: Mailbox) -> None:
    assert mailbox.status()[:5] == (0, 0, 0, 0, 0)
    assert (mailbox.uid_validity, mailbox.uid_next, mailbox.first_recent_uid) == (7, 1, 1)
    assert mailbox.id == mailbox.path.name


def test_opening_what_is_not_there_says_so(tmp_path) -> None:
    with pytest.raises(NotFound):
        Mailbox(tmp_path / "0123456789abcdef")


def test_appended_message_is_read_back_by_another_process_view(mailbox: Mailbox) -> None:
    other = Mailbox(mailbox.path)
    assert append(mailbox, make_messages(3)) == [1, 2, 3]
    assert other.columns.count == 0
    assert other.refresh()
    assert not other.refresh()
    assert [other.read(row) for row in range(3)] == [make_content(n) for n in (1, 2, 3)]
    assert other.read(1, 5, 10) == make_content(2)[5:15]
    assert other.read(1, 10_000) == b""
    assert b"".join(other.chunks(2)) == make_content(3)
    assert other.columns.size.tolist() == [len(make_content(n)) for n in (1, 2, 3)]
    assert other.columns.sent_date.tolist() == [1704067200 + n for n in (1, 2, 3)]
    other.close()


def test_totals_follow_changes(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(1), make_message(2, flags=1), make_message(3, flags=9)])
    assert mailbox.status()[:4] == (3, 1, 3, 1)
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 1)
        tx.flags(np.array([0, 1]), "add", 8)
    assert mailbox.status()[:4] == (3, 0, 3, 3)
    with mailbox.transaction() as tx:
        assert tx.expunge([2, 0]).tolist() == [1, 3]
    status = mailbox.status()
    assert status[:5] == (1, 0, 1, 1, len(make_content(2)))
    assert mailbox.index.dead_bytes == len(make_content(1)) + len(make_content(3)) + 128


def test_keywords_get_bits_and_are_found_again(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(1, keywords=(b"$Work", b"junk"))])
    assert mailbox.keywords == [b"$Work", b"junk"]
    assert mailbox.columns.flags.tolist() == [0x300]
    with mailbox.transaction() as tx:
        assert tx.keyword_bits([b"JUNK", b"\\Seen"]) == 0x201
        assert tx.keyword_bits([b"other"], create=False) == 0
    assert Mailbox(mailbox.path).keywords == [b"$Work", b"junk"]


def test_the_fifty_seventh_keyword_is_refused(mailbox: Mailbox) -> None:
    with mailbox.transaction() as tx:
        bits = tx.keyword_bits([b"k%d" % n for n in range(56)])
        assert bits == ((1 << 56) - 1) << 8
        with pytest.raises(LimitReached):
            tx.keyword_bits([b"one-more"])
        assert tx.keyword_bits([b"one-more", b"K1"], needed=False) == 1 << 9
    append(mailbox, [make_message(1, keywords=(b"k55",))])
    assert mailbox.columns.flags.tolist() == [1 << 63]


def test_messages_come_without_the_keywords_that_find_no_room(mailbox: Mailbox, make_mailbox) -> None:
    with mailbox.transaction() as tx:
        tx.keyword_bits([b"k%d" % n for n in range(55)])
    append(mailbox, [make_message(1, keywords=(b"new", b"K0", b"newer"))])
    append(mailbox, [make_message(2, flags=1, keywords=(b"newest",))])
    assert mailbox.keywords[55:] == [b"new"] and Mailbox(mailbox.path).keywords == mailbox.keywords
    assert mailbox.columns.flags.tolist() == [1 << 63 | 1 << 8, 1]
    other = make_mailbox()
    append(other, [make_message(3, flags=4, keywords=(b"unheard", b"k7"))])
    append(other, [make_message(4, keywords=(b"unheard",))])
    copy(np.array([0, 1]), other, mailbox)
    move(np.array([0]), other, mailbox)
    replace(1, other, mailbox, make_message(5, flags=2, keywords=(b"later", b"k8")))
    assert mailbox.columns.flags[2:].tolist() == [4 | 1 << 15, 0, 4 | 1 << 15, 2 | 1 << 16]
    assert other.status().messages == 0 and len(mailbox.keywords) == 56


def test_rows_keep_their_numbers_across_a_checkpoint(mailbox: Mailbox) -> None:
    other = Mailbox(mailbox.path)
    append(mailbox, make_messages(4))
    with mailbox.transaction() as tx:
        tx.expunge([1])
    mailbox.checkpoint()
    append(mailbox, [make_message(5)])
    assert other.refresh()
    assert other.index.generation == 2
    assert other.columns.uid.tolist() == mailbox.columns.uid.tolist() == [1, 2, 3, 4, 5]
    fresh = Mailbox(mailbox.path)
    assert fresh.columns.uid.tolist() == [1, 3, 4, 5]
    assert fresh.read(1) == other.read(2) == make_content(3)
    assert fresh.status() == other.status()


def test_a_reader_left_behind_catches_up_by_difference(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(4))
    slow = Mailbox(mailbox.path)
    view = slow.view()
    slow.rest()
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 4)
        tx.expunge([1])
        tx.keyword_bits([b"new"])
    for number in range(5, 8):
        mailbox.checkpoint()
        append(mailbox, [make_message(number)])
    assert not (mailbox.path / "journal.1").exists()
    assert slow.refresh()
    changes = view.pending(True)
    assert changes.expunged_seqs == [2]
    assert changes.exists == 6
    assert changes.fetch_seqs.tolist() == [1]
    assert view.uids.tolist() == [1, 3, 4, 5, 6, 7]
    assert slow.read(1) == make_content(2), "what is expunged stays readable"
    assert slow.status() == mailbox.status()
    assert slow.keywords == [b"new"]


def test_long_journal_becomes_a_checkpoint(mailbox: Mailbox) -> None:
    mailbox.checkpoint_at = 2000
    for number in range(1, 40):
        append(mailbox, [make_message(number)])
    assert mailbox.index.generation >= 2
    assert sorted(os.listdir(mailbox.path)).count("index.1") == 0 or mailbox.index.generation == 2
    assert Mailbox(mailbox.path).columns.uid.tolist() == list(range(1, 40))


def test_resting_mailbox_comes_back(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    before = len(open_files(f"{mailbox.path}/"))
    mailbox.rest()
    assert len(open_files(f"{mailbox.path}/")) < before
    other = Mailbox(mailbox.path)
    append(other, [make_message(3)])
    other.close()
    assert mailbox.refresh()
    assert mailbox.read(2) == make_content(3)


def test_no_descriptor_is_left_behind(mailbox: Mailbox) -> None:
    mailbox.rest()
    before = len(open_files(f"{mailbox.path}/"))
    other = Mailbox(mailbox.path)
    other.retain()
    append(other, make_messages(3))
    other.derived(np.arange(3), [0])
    other.checkpoint()
    other.release()
    assert len(open_files(f"{mailbox.path}/")) == before


def test_a_deleted_mailbox_is_noticed(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    shutil.rmtree(mailbox.path)
    mailbox.refresh()
    assert mailbox.deleted
    assert mailbox.read(1) == make_content(2), "who has it open may finish reading"
    with pytest.raises(NotFound):
        append(mailbox, [make_message(3)])


@pytest.mark.parametrize("reader", [None, AccountId("00000000000000aa")])
def test_memory_of_expunged_rows_is_given_back_between_users(
    mailbox: Mailbox, reader: AccountId | None
) -> None:
    pool = Pool()
    old = pool.open(mailbox.path, reader)
    append(old, make_messages(1200, size=10))
    with old.transaction() as tx:
        tx.flags(np.arange(1150, 1160), "add", SEEN)
        tx.expunge(np.arange(1150))
    view = old.view()
    assert pool.open(mailbox.path, reader) is old
    old.release()
    old.release()
    new = pool.open(mailbox.path, reader)
    assert new.columns.uid.tolist() == list(range(1151, 1201))
    assert new.view().uids.tolist() == list(range(1151, 1201))
    assert new.read(0) == make_content(1151, 10)
    assert new.status().unseen == 40
    append(new, [make_message(1201)])
    assert new.columns.uid.item(-1) == 1201
    assert old.columns.count == 1200, "whoever still has it finds every row in its place"
    old.refresh()
    assert view.pending(True).exists == 51
    assert old.read(int(view.rows[-1])) == make_content(1201)
    assert pool.open(mailbox.path, reader) is new
    pool.close()


def test_read_many_notices_what_is_damaged(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    place = int(mailbox.columns.offset[2])
    rows = mailbox.view().rows
    for at in (place - HEADER_BYTES, place, place + int(mailbox.columns.size[2]) - 1):
        with open(mailbox.path / "messages.1", "r+b", buffering=0) as file:
            file.seek(at)
            octet = file.read(1)[0]
            file.seek(at)
            file.write(bytes([octet ^ 1]))
            with pytest.raises(Corrupt):
                list(mailbox.read_many(rows))
            with pytest.raises(Corrupt):
                find(mailbox, mailbox.view(), Text("NOWHERE", True))
            file.seek(at)
            file.write(bytes([octet]))
    assert len(find(mailbox, mailbox.view(), Text("NOWHERE", True))) == 0


def test_read_many_gives_windows_in_order(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(50, size=100_000))
    rows = np.array([0, 1, 2, 5, 7, 30, 49])
    wanted = [make_content(int(row) + 1, 100_000) for row in rows]
    windows = list(mailbox.read_many(rows))
    assert [message for window in windows for message in window] == wanted
    headers = [header for window in mailbox.read_many(rows, header_only=True) for header in window]
    assert headers == [content[: content.index(b"\r\n\r\n") + 4] for content in wanted]
    assert list(mailbox.read_many(np.empty(0, np.int32))) == []


def test_a_large_message_goes_through_in_pieces(mailbox: Mailbox) -> None:
    message = make_message(1, 3 << 20)
    assert append(mailbox, [make_message(2), message, make_message(3)]) == [1, 2, 3]
    assert mailbox.read(1) == message.content
    assert b"".join(mailbox.chunks(1, 100, 1 << 20)) == message.content[100 : 100 + (1 << 20)]
    assert mailbox.read(2) == make_content(3)


def test_readers_of_pieces_do_not_mix_them_up(mailbox: Mailbox) -> None:
    """Each has a buffer of its own, in which a piece stays as it is until that reader asks for the next."""
    contents = [make_content(number, 700_000) for number in (1, 2)]
    append(mailbox, make_messages(2, size=700_000))
    found: list[list[bytes]] = [[], []]
    pairs = zip(mailbox.views(0), mailbox.views(1), strict=True)
    for pair in pairs:
        for pieces, view in zip(found, pair, strict=True):
            pieces.append(bytes(view))
    assert [b"".join(pieces) for pieces in found] == contents
    half = mailbox.views(0)
    first = bytes(next(half))
    half.close()
    assert first == contents[0][: len(first)], "what was begun is left"
    assert b"".join(map(bytes, mailbox.views(1, 5, 600_000))) == contents[1][5:600_005]
    assert list(mailbox.views(0, len(contents[0]))) == list(mailbox.views(0, 10, 0)) == []


def test_segments_roll(mailbox: Mailbox) -> None:
    for number in range(1, 6):
        append(mailbox, [make_message(number, 9 << 20)])
    assert sorted(path.name for path in mailbox.path.glob("messages.*")) == ["messages.1", "messages.2"]
    assert mailbox.columns.segment.tolist() == [1, 1, 1, 2, 2]
    fresh = Mailbox(mailbox.path)
    assert fresh.read(3) == make_content(4, 9 << 20)
