"""Expunged messages that are retained: their bytes stay for the time, and no longer; they can come back."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from mstore.files.layout import INDEX
from mstore.files.segment import HEADER_BYTES, every_segment
from mstore.store import compact, diskuse, recovery
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.copy import move
from mstore.store.generation import index_path
from mstore.store.mailbox import Mailbox
from mstore.store.undelete import open_expunged
from tests.kit.mail import make_content, make_messages
from tests.unit.store.conftest import MakeMailbox
from tests.unit.store.test_compact import contents, disk_bytes, expunge, live_bytes, wanted

DAY_S = 86400


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What has passed since now, in seconds; the time of everything."""
    passed = [0.0]
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + passed[0])
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(passed[0] * 1e9))
    return passed


@pytest.fixture
def keeping(mailbox: Mailbox) -> Mailbox:
    """A mailbox that keeps what is expunged for a week."""
    mailbox.retain_s = 7 * DAY_S
    return mailbox


def recoverable(mailbox: Mailbox) -> list[int]:
    mailbox.refresh()
    with open_expunged(mailbox) as found:
        return [int(uid) for uid in found.entries["uid"]]


def bring_back(mailbox: Mailbox, target: Mailbox, *uids: int) -> list[tuple[int, int]]:
    with open_expunged(mailbox) as found:
        rows = np.flatnonzero(np.isin(found.entries["uid"], uids)).tolist()
        pairs: list[tuple[int, int]] = []
        found.bring_back(rows, target, pairs.extend)
        return pairs


def test_a_compaction_keeps_what_is_retained(keeping: Mailbox, clock: list[float]) -> None:
    append(keeping, make_messages(6))
    expunge(keeping, 2, 5)
    clock[0] += 3 * DAY_S
    expunge(keeping, 3)
    before = disk_bytes(keeping)
    assert keeping.compact(thorough=True) == 0
    assert (disk_bytes(keeping), every_segment(keeping.path)) == (before, [1]), "there is nothing to be had"
    clock[0] += 4.5 * DAY_S
    assert keeping.compact(thorough=True) > 0
    assert contents(keeping) == wanted(1, 4, 6)
    assert recoverable(keeping) == [3], "the others' time was over"
    assert check_mailbox(keeping.path) == []
    clock[0] += 3 * DAY_S
    keeping.compact(thorough=True)
    assert recoverable(keeping) == []
    assert disk_bytes(keeping) <= live_bytes(keeping) + 2 * HEADER_BYTES
    assert keeping.index.dead_bytes == 0


def test_a_message_comes_back_as_it_was(keeping: Mailbox, make_mailbox: MakeMailbox) -> None:
    content = make_content(7)
    append(keeping, [NewMessage(content, 1_600_000_000, 4, (b"blue", b"red"), email_id=99)])
    with keeping.transaction() as tx:
        tx.flags([0], "add", tx.keyword_bits([b"later"]) | 1 | 8)
        tx.flags([0], "remove", tx.keyword_bits([b"red"]))
    expunge(keeping, 1)
    keeping.checkpoint()
    append(keeping, make_messages(1))
    keeping.compact(thorough=True)
    listeners: list[int] = []
    keeping.listen(lambda: listeners.append(keeping.index.messages))
    assert bring_back(keeping, keeping, 1) == [(1, 3)]
    assert listeners, "sessions are told"
    row = keeping.index.row_of(3)
    full = keeping.index.columns.full
    assert keeping.read(row) == content
    assert (full.internal_date.item(row), full.email_id.item(row)) == (1_600_000_000, 99)
    names = [keeping.keywords[bit - 8] for bit in range(8, 64) if full.flags.item(row) >> bit & 1]
    assert full.flags.item(row) & 0xFF == 1 | 4, "all but \\Deleted"
    assert sorted(names) == [b"blue", b"later"]
    other = make_mailbox()
    assert bring_back(keeping, other, 1) == [(1, 1)]
    assert other.keywords[0] in (b"blue", b"later")
    assert contents(other) == [content]


def test_what_is_moved_is_not_retained(keeping: Mailbox, make_mailbox: MakeMailbox) -> None:
    append(keeping, make_messages(4))
    move(np.array([1, 2]), keeping, make_mailbox())
    expunge(keeping, 4)
    assert recoverable(keeping) == [4]
    assert keeping.compact(thorough=True) > 0
    assert recoverable(keeping) == [4]
    assert contents(keeping) == wanted(1)


def test_it_survives_checkpoints_and_recoveries(keeping: Mailbox, make_mailbox: MakeMailbox) -> None:
    append(keeping, make_messages(6))
    expunge(keeping, 1, 2)
    keeping.checkpoint()
    expunge(keeping, 4)
    keeping.checkpoint()
    keeping.checkpoint()
    expunge(keeping, 6)
    keeping.close()
    recovery.rebuild(keeping.path)
    assert recoverable(keeping) == [1, 2, 4, 6]
    assert contents(Mailbox(keeping.path)) == wanted(3, 5)
    recovery.rebuild(keeping.path, from_segments=True, retains=True)
    again = Mailbox(keeping.path, retain_s=7 * DAY_S)
    assert (contents(again), recoverable(again)) == (wanted(3, 5), [1, 2, 4, 6]), "none is live again"
    assert check_mailbox(keeping.path) == []


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_column_brings_nothing_back(keeping: Mailbox, damaged: int) -> None:
    append(keeping, make_messages(6))
    expunge(keeping, 1, 2)
    keeping.checkpoint()
    keeping.checkpoint()
    generation = keeping.journal.info.generation
    expunge(keeping, 5)
    keeping.close()
    for number in range(generation, generation - damaged, -1):
        path = index_path(keeping.path, number)
        data = bytearray(path.read_bytes())
        head = INDEX.read(data)
        data[head.header_bytes + 3] ^= 0xFF
        path.write_bytes(bytes(data))
    recovery.rebuild(keeping.path)
    again = Mailbox(keeping.path)
    assert contents(again) == wanted(3, 4, 6)
    assert recoverable(again) == [1, 2, 5]


def test_what_is_expunged_while_it_is_packed_is_retained(
    keeping: Mailbox, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    append(keeping, make_messages(8))
    expunge(keeping, 1, 2)
    clock[0] += 8 * DAY_S
    other = Mailbox(keeping.path)
    pack = compact._pack

    def slow(*args: object) -> tuple[int, int]:
        done = pack(*args)  # type: ignore[arg-type]
        monkeypatch.setattr(compact, "_pack", pack)
        expunge(other, 5)
        return done

    monkeypatch.setattr(compact, "_pack", slow)
    keeping.compact(thorough=True)
    assert contents(keeping) == wanted(3, 4, 6, 7, 8)
    assert 5 in recoverable(keeping)
    assert bring_back(keeping, keeping, 5) == [(5, 9)]
    assert contents(keeping)[-1] == make_content(5)
    assert check_mailbox(keeping.path) == []


def test_no_compaction_for_nothing(
    keeping: Mailbox, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    for module in (diskuse, compact):
        monkeypatch.setattr(module, "LEAST_DEAD_BYTES", 500)
    passes: list[int] = []
    real = compact._pass
    monkeypatch.setattr(compact, "_pass", lambda *args: passes.append(1) or real(*args))  # type: ignore[func-returns-value]
    append(keeping, make_messages(20))
    for uid in range(1, 15):
        expunge(keeping, uid)
    assert not passes
    again = Mailbox(keeping.path, retain_s=7 * DAY_S)
    keeping.checkpoint()
    later = Mailbox(keeping.path, retain_s=7 * DAY_S)
    for each in (again, later):
        each.refresh()
        assert not diskuse.is_due(each.index, each.retain_s)
    clock[0] += 9 * DAY_S
    assert diskuse.is_due(later.index, later.retain_s)
    expunge(later, 15)
    assert passes
    assert recoverable(later) == [15]
    assert contents(keeping) == wanted(16, 17, 18, 19, 20)


def test_switched_off_all_is_given_back(keeping: Mailbox) -> None:
    append(keeping, make_messages(5))
    expunge(keeping, 1, 2)
    keeping.checkpoint()
    assert keeping.compact(thorough=True) == 0
    assert keeping.compact(thorough=True, retain_s=0) > 0
    assert recoverable(keeping) == []
    assert check_mailbox(keeping.path) == []
    keeping.checkpoint()
    assert keeping.index.dead_bytes == 0
    assert len(keeping.index.retained_days) == 0 or Mailbox(keeping.path).index.retained_days.since(0) == 0


def test_a_clock_that_was_wrong_keeps_nothing_for_ever(keeping: Mailbox, clock: list[float]) -> None:
    append(keeping, make_messages(3))
    clock[0] += 1000 * DAY_S
    expunge(keeping, 1)
    clock[0] = 0
    keeping.checkpoint()
    assert recoverable(keeping) == [1]
    clock[0] += 7.5 * DAY_S
    keeping.compact(thorough=True)
    assert recoverable(keeping) == []


def test_an_index_without_the_record_is_read(tmp_path: Path, mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    expunge(mailbox, 1)
    mailbox.checkpoint()
    data = index_path(mailbox.path, mailbox.journal.info.generation).read_bytes()
    assert INDEX.read(data).retained == 0, "where nothing is retained"
