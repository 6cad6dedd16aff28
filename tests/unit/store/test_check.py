"""Each invariant, broken on purpose, is reported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mstore.files import journal as journals
from mstore.files.checkpoint import read_index, write_index
from mstore.files.index import Index
from mstore.files.segment import PACKED, SegmentInfo
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_messages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    append(mailbox, make_messages(4))
    mailbox.checkpoint()
    append(mailbox, make_messages(2, 5))
    mailbox.close()
    assert check_mailbox(mailbox.path) == []
    assert check_mailbox(mailbox.path, uid_validity=7) == []
    return mailbox.path


def texts(path: Path) -> str:
    return "\n".join(str(problem) for problem in check_mailbox(path))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@contextmanager
def spoiled(path: Path) -> Iterator[Index]:
    """The table of the next generation, for the caller to spoil, with all sums right."""
    Mailbox(path).checkpoint()
    table = read_index(path / "index.3", keep=True)
    yield table
    write_index(path / "index.3", table, 3)


def test_another_uid_validity(path: Path) -> None:
    assert [problem.text for problem in check_mailbox(path, uid_validity=8)] == [
        "its UIDVALIDITY is 7, not 8"
    ]


def test_missing_files(path: Path) -> None:
    os.unlink(path / "lock")
    assert "lock" in texts(path)
    os.unlink(path / "messages.1")
    assert "segment 1 of UID 1 is missing" in texts(path)
    os.unlink(path / "index.2")
    os.unlink(path / "index.1")
    assert "no generation" in texts(path)
    assert "no such mailbox" in texts(path / "nowhere")


def test_damaged_index_and_journal(path: Path) -> None:
    flip(path / "index.2", 40)
    assert "damaged" in texts(path)
    flip(path / "index.2", 40)
    flip(path / "journal.2", 100)
    assert "torn" in texts(path)


def test_damaged_messages(path: Path) -> None:
    flip(path / "messages.1", 10)
    assert "damaged or foreign header" in texts(path)
    flip(path / "messages.1", 64 + 20)
    assert "UID 1 has no frame" in texts(path)
    size = (path / "messages.1").stat().st_size
    flip(path / "messages.1", size - 3)
    assert "message of UID 6 is damaged" in texts(path)
    os.truncate(path / "messages.1", size - 3)
    assert "shorter" in texts(path)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("uid_next", 3, "UIDNEXT"),
        ("unseen", 1, "unseen"),
        ("size_bytes", 1, "size_bytes"),
        ("first_recent", 99, "recent mark"),
        ("keywords", [b"a", b"A"], "two flag bits"),
        ("tail_offset", 100, "beyond the tail"),
    ],
)
def test_wrong_totals(path: Path, name: str, value: object, text: str) -> None:
    with spoiled(path) as table:
        setattr(table, name, value)
    assert text in texts(path)


@pytest.mark.parametrize(
    ("column", "row", "value", "text"),
    [
        ("uid", 1, 9, "ascend"),
        ("modseq", 1, 1 << 40, "above HIGHESTMODSEQ"),
        ("flags", 2, 1 << 20, "has no keyword"),
        ("size", 2, 5, "another message's"),
        ("offset", 2, 70, "no frame"),
        ("email_id", 0, 5, "another message's"),
    ],
)
def test_wrong_rows(path: Path, column: str, row: int, value: int, text: str) -> None:
    with spoiled(path) as table:
        getattr(table.columns.full, column)[row] = value
    assert text in texts(path)


def test_generations_that_disagree(path: Path) -> None:
    with spoiled(path) as table:
        table.columns.full.internal_date[1] += 1
    assert "column internal_date differs" in texts(path)


def test_places_of_blobs_may_be_out_of_date(path: Path) -> None:
    mailbox = Mailbox(path)
    right = [mailbox.derived(np.array([row]), [0]) for row in (0, 1)]
    mailbox.close()
    with spoiled(path) as table:
        table.columns.full.derived[:2] = np.uint64(64)
    assert texts(path) == ""
    assert [Mailbox(path).derived(np.array([row]), [0]) for row in (0, 1)] == right


def test_unpublished_frames(path: Path) -> None:
    journal = (path / "journal.2").read_bytes()
    mailbox = Mailbox(path)
    append(mailbox, make_messages(1, 7))
    (path / "journal.2").write_bytes(journal)
    assert "unpublished" in texts(path)


def compacted(path: Path) -> Mailbox:
    mailbox = Mailbox(path)
    with mailbox.transaction() as tx:
        tx.expunge([1])
    mailbox.compact(thorough=True)
    assert texts(path) == ""
    return mailbox


def test_damaged_packed_segments(path: Path) -> None:
    compacted(path).close()
    packed = path / "packed.0"
    data = packed.read_bytes()
    packed.write_bytes(b"?" + data[1:])
    assert "packed.0 has a damaged or foreign header" in texts(path)
    packed.write_bytes(data[:-1] + b"?")
    assert "is damaged in packed.0" in texts(path)
    packed.unlink()
    assert "segment 2147483648 of UID" in texts(path)


def test_more_dead_than_the_table_knows(path: Path) -> None:
    mailbox = compacted(path)
    with mailbox.transaction() as tx:
        tx.expunge(mailbox.index.live_rows()[:1])
    mailbox.index.dead_bytes = 0
    with mailbox.transaction() as tx:
        tx.add(journals.swept(1))
    assert "bytes are dead in the segments; the table says 1" in texts(path)


def test_packed_segments_that_count_as_free(path: Path) -> None:
    compacted(path).close()
    with spoiled(path) as index:
        index.packed_next = PACKED
    assert "packed.0 is in use and yet counts as free" in texts(path)


def test_a_floor_above_uidnext(path: Path) -> None:
    mailbox = compacted(path)
    mailbox.segments.create(SegmentInfo(mailbox.index.tail_segment, mailbox.uid_validity, 1000, 0))
    assert "is below the floor of messages.2" in texts(path)
