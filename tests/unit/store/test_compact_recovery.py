"""Mailboxes with packed segments after damage: what the journal no longer tells is found all the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mstore.files.journal import START, parse_group
from mstore.files.layout import TYPE_APPENDED, TYPE_EXPUNGED, TYPE_RELOCATED
from mstore.files.segment import HEADER_BYTES, PACKED, SegmentInfo, Segments, packed_numbers, segment_numbers
from mstore.store import recovery
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.directory import is_abandoned
from mstore.store.mailbox import Mailbox
from tests.kit.faults import faults
from tests.kit.mail import make_content, make_messages


@pytest.fixture
def packed(tmp_path: Path) -> Mailbox:
    """Messages 1 to 9 without 2 and 7, a checkpoint amidst, a compaction, and then message 10."""
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    append(mailbox, make_messages(5))
    expunge(mailbox, 2)
    mailbox.checkpoint()
    append(mailbox, make_messages(2, 6))
    append(mailbox, make_messages(2, 8))
    expunge(mailbox, 7)
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 1)
    mailbox.compact(thorough=True)
    append(mailbox, make_messages(1, 10))
    mailbox.close()
    return mailbox


LEFT = (1, 3, 4, 5, 6, 8, 9, 10)


def expunge(mailbox: Mailbox, uid: int) -> None:
    with mailbox.transaction() as tx:
        tx.expunge([mailbox.index.row_of(uid)])


def contents(mailbox: Mailbox) -> list[bytes]:
    return [mailbox.read(row) for row in mailbox.index.live_rows().tolist()]


def wanted(*numbers: int) -> list[bytes]:
    return [make_content(number) for number in numbers]


def groups(path: Path, generation: int) -> list[tuple[int, int, set[int]]]:
    """Beginning, end and record types of each group of a journal."""
    data = path.read_bytes()
    at, found = START, []
    while at < len(data):
        group = parse_group(data, at, at, generation)
        assert group is not None
        found.append((at, group[0].end, {record[0] for record in group[0].records}))
        at = group[0].end
    return found


def destroy(mailbox: Mailbox, kind: int, which: int = 0) -> None:
    path = mailbox.journal.path
    chosen = [group for group in groups(path, mailbox.journal.info.generation) if kind in group[2]]
    begin, end, _ = chosen[which]
    data = path.read_bytes()
    path.write_bytes(data[:begin] + b"?" * (end - begin) + data[end:])


def is_sound(mailbox: Mailbox) -> None:
    """Nothing is wrong, and mail still comes and goes."""
    assert check_mailbox(mailbox.path) == []
    uid_next = mailbox.uid_next
    assert append(mailbox, make_messages(1, 50)) == [uid_next]
    expunge(mailbox, uid_next)
    mailbox.compact(thorough=True)
    assert check_mailbox(mailbox.path) == []
    mailbox.close()


def test_the_word_of_a_compaction_lost(packed: Mailbox) -> None:
    destroy(packed, TYPE_RELOCATED)
    survivor = Mailbox(packed.path)
    assert contents(survivor) == wanted(*LEFT)
    assert survivor.columns.flags[:1].tolist() == [1]
    is_sound(survivor)


@pytest.mark.parametrize("which", [0, 1])
def test_the_word_of_an_append_lost_whose_messages_were_moved_since(packed: Mailbox, which: int) -> None:
    destroy(packed, TYPE_APPENDED, which)
    survivor = Mailbox(packed.path)
    assert contents(survivor) == wanted(*LEFT)
    assert survivor.index.dead_bytes == 0
    is_sound(survivor)


def test_an_expunge_lost_after_a_compaction_brings_nothing_back(packed: Mailbox) -> None:
    destroy(packed, TYPE_EXPUNGED)
    survivor = Mailbox(packed.path)
    rows = survivor.index.live_rows()
    others = rows[survivor.columns.uid[rows] != 7]
    assert [survivor.read(row) for row in others.tolist()] == wanted(*LEFT)
    assert survivor.uid_next == 11


def test_all_of_the_journal_lost(packed: Mailbox) -> None:
    os.truncate(packed.journal.path, START)
    with faults() as system:
        system.boot = os.urandom(16)
        survivor = Mailbox(packed.path)
        assert contents(survivor) == wanted(*LEFT)
        assert survivor.index.packed_next == PACKED + 1
        is_sound(survivor)


@pytest.mark.parametrize("journals", [True, False])
def test_without_an_index(packed: Mailbox, journals: bool) -> None:
    for name in os.listdir(packed.path):
        if name.startswith("index.") or (name.startswith("journal.") and not journals):
            (packed.path / name).unlink()
    modseq = packed.highest_modseq
    survivor = Mailbox(packed.path)
    assert contents(survivor) == wanted(*LEFT)
    assert survivor.uid_next == 11
    assert survivor.index.packed_next > PACKED + 1000, "numbers that may have been taken are not used again"
    if journals:
        assert survivor.highest_modseq == modseq + recovery.MODSEQ_STEP
    is_sound(survivor)


def test_modseq_does_not_go_back_when_the_index_is_gone_and_the_journal_is_new(packed: Mailbox) -> None:
    mailbox = Mailbox(packed.path)
    for _ in range(2):
        mailbox.checkpoint()
    mailbox.close()
    for name in os.listdir(packed.path):
        if name.startswith("index."):
            (packed.path / name).unlink()
    survivor = Mailbox(packed.path)
    assert survivor.highest_modseq >= mailbox.highest_modseq + recovery.MODSEQ_STEP
    assert contents(survivor) == wanted(*LEFT)


def test_expunged_messages_stay_away_where_the_journal_knows(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    append(mailbox, make_messages(4))
    mailbox.checkpoint()
    expunge(mailbox, 2)
    expunge(mailbox, 4)
    mailbox.close()
    for name in ("index.1", "index.2"):
        (mailbox.path / name).write_bytes(b"?")
    survivor = Mailbox(mailbox.path)
    assert contents(survivor) == wanted(1, 3)
    is_sound(survivor)


@pytest.mark.parametrize("header", [b"", b"\0" * 30, b"\0" * 64])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_segment_that_the_power_cut_in_its_header(tmp_path: Path, header: bytes, indexed: bool) -> None:
    for count in (0, 3):
        mailbox = Mailbox.create(tmp_path / f"{count:016x}", 7)
        if count:
            append(mailbox, make_messages(count))
        mailbox.close()
        (mailbox.path / f"messages.{2 if count else 1}").write_bytes(header)
        if not indexed:
            (mailbox.path / "index.1").unlink()
        with faults() as system:
            system.boot = os.urandom(16)
            survivor = Mailbox(mailbox.path)
            assert contents(survivor) == wanted(*range(1, count + 1))
            assert check_mailbox(mailbox.path) == []
            assert append(survivor, make_messages(1, count + 1)) == [count + 1]
            assert contents(Mailbox(mailbox.path)) == wanted(*range(1, count + 2))
            is_sound(survivor)


def test_victims_that_come_back_after_a_power_cut(packed: Mailbox, tmp_path: Path) -> None:
    """The removal of a file is not synced: it may be there again, and is dead."""
    mailbox = Mailbox(packed.path)
    expunge(mailbox, 10)
    tail = mailbox.path / f"messages.{mailbox.index.tail_segment}"
    shutil.copy(tail, tmp_path / "victim")
    mailbox.compact(thorough=True)
    mailbox.close()
    shutil.copy(tmp_path / "victim", tail)
    with faults() as system:
        system.boot = os.urandom(16)
        survivor = Mailbox(packed.path)
        assert contents(survivor) == wanted(*LEFT[:-1])
        assert survivor.index.dead_bytes == tail.stat().st_size - HEADER_BYTES
        is_sound(survivor)
        assert not tail.exists()


def test_rows_that_are_nowhere_are_reported_and_cost_no_others(packed: Mailbox) -> None:
    (packed.path / "packed.0").unlink()
    with faults() as system:
        system.boot = os.urandom(16)
        survivor = Mailbox(packed.path)
        rows = survivor.index.live_rows()
        assert survivor.read(int(rows[-1])) == make_content(10)
        problems = check_mailbox(packed.path)
        assert len(problems) == len(LEFT) - 1 and "is missing" in problems[0].text
        assert survivor.compact(thorough=True) == 0, "nothing is dead, nothing is touched"
        assert survivor.index.messages == len(LEFT)


def test_a_mailbox_with_packed_mail_is_not_abandoned(tmp_path: Path) -> None:
    path = tmp_path / "0123456789abcdef"
    path.mkdir()
    segments = Segments(path)
    segments.create(SegmentInfo(2, 7, 9, 1))
    assert is_abandoned(path)
    fd = segments.create(SegmentInfo(PACKED, 7, 9, 1))
    os.pwrite(fd, b"x", HEADER_BYTES)
    assert not is_abandoned(path)
    segments.close()


def test_generations_agree_about_places(packed: Mailbox) -> None:
    """The table replayed from the generation before knows of the compaction as well."""
    mailbox = Mailbox(packed.path)
    mailbox.checkpoint()
    mailbox.close()
    assert check_mailbox(packed.path) == []
    (packed.path / f"index.{mailbox.index.generation}").write_bytes(b"?")
    survivor = Mailbox(packed.path)
    assert contents(survivor) == wanted(*LEFT)
    moved = survivor.columns.segment[survivor.index.live_rows()] >= PACKED
    assert np.array_equal(moved, [True] * 7 + [False])
    assert packed_numbers(packed.path) == [PACKED] and segment_numbers(packed.path) == [2]


@pytest.mark.parametrize("rebuilt_before", [False, True])
def test_uids_stay_used_when_no_segment_that_held_them_is_left(packed: Mailbox, rebuilt_before: bool) -> None:
    if rebuilt_before:  # it writes to a segment that is not there yet
        lose_indexes(packed)
    mailbox = Mailbox(packed.path)
    with mailbox.transaction() as tx:
        tx.expunge(mailbox.index.live_rows())
    mailbox.checkpoint()
    mailbox.compact(thorough=True)
    mailbox.checkpoint()
    mailbox.checkpoint()  # no journal tells of an append any more
    uid_next = mailbox.uid_next
    mailbox.close()
    lose_indexes(packed)
    again = Mailbox(packed.path)
    assert contents(again) == []
    assert again.uid_next >= uid_next >= 11
    assert append(again, make_messages(1, 11))[0] >= uid_next
    assert check_mailbox(packed.path) == []


def lose_indexes(mailbox: Mailbox) -> None:
    for path in mailbox.path.glob("index.*"):
        path.write_bytes(b"?" * path.stat().st_size)
