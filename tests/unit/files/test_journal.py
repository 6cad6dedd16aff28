from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Corrupt
from mstore.files import journal as journals
from mstore.files.journal import START, Journal, JournalInfo, format_group, parse_group, write_journal

RECORDS = [journals.keyword_defined(8, b"five5"), journals.recent_moved(9), journals.flagged_one(3, 1, 8)]
INFO = JournalInfo(7, 3, 100, b"b" * 16)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    path = tmp_path / "journal.3"
    write_journal(path, INFO)
    return Journal(path)


def add(journal: Journal, modseq: int, pending: bool = False) -> int:
    end = journal.path.stat().st_size
    group = format_group(3, end, modseq, RECORDS, pending)
    os.pwrite(journal.fd, group, end)
    return end + len(group)


def test_groups_round_trip() -> None:
    data = format_group(3, 640, 99, RECORDS)
    assert len(data) % 8 == 0
    found = parse_group(b"junk" * 2 + data, 8, 640, 3)
    assert found is not None
    group, pending = found
    assert (group.modseq, group.records, group.end, pending) == (99, RECORDS, 640 + len(data), False)


def test_a_group_is_valid_only_where_it_was_meant_to_stand() -> None:
    data = format_group(3, 640, 99, RECORDS)
    assert parse_group(data, 0, 648, 3) is None
    assert parse_group(data, 0, 640, 4) is None


def test_no_flipped_bit_and_no_cut_is_overlooked() -> None:
    data = format_group(3, 640, 99, RECORDS)
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        found = parse_group(bytes(damaged), 0, 640, 3)
        assert found is None
    for size in range(len(data)):
        assert parse_group(data[:size], 0, 640, 3) is None


def test_a_follower_takes_whole_groups_only(journal: Journal) -> None:
    assert journal.info == INFO
    assert journal.read_new(START) == []
    first = add(journal, 101)
    second = add(journal, 102)
    assert [group.modseq for group in journal.read_new(second - 4)] == [101]
    assert journal.end == first and journal.unresolved
    assert [group.modseq for group in journal.read_new(second)] == [102]
    assert journal.end == second and not journal.unresolved


def test_a_pending_group_waits_for_its_release(journal: Journal) -> None:
    end = add(journal, 101, pending=True)
    assert journal.read_new(end) == []
    assert journal.unresolved
    journals.release(journal.fd, START)
    assert [group.modseq for group in journal.read_new(end)] == [101]


def test_a_closed_journal_is_opened_again(journal: Journal) -> None:
    end = add(journal, 101)
    journal.close()
    journal.close()
    journal.reopen()
    assert len(journal.read_new(end)) == 1


@pytest.mark.parametrize("at", range(0, START, 5))
def test_a_damaged_header_is_corrupt(journal: Journal, at: int) -> None:
    data = bytearray(journal.path.read_bytes())
    data[at] ^= 4
    journal.path.write_bytes(data)
    with pytest.raises(Corrupt):
        Journal(journal.path)


def test_ranges_are_pairs() -> None:
    firsts, lasts = np.array([1, 9], np.uint32), np.array([4, 9], np.uint32)
    for record in (journals.flagged(firsts, lasts, 1, 2), journals.expunged(firsts, lasts)):
        assert np.frombuffer(record[2][-16:], "<u4").tolist() == [1, 4, 9, 9]
