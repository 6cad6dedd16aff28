"""Compaction: what is dead is given back, and nobody notices."""

from __future__ import annotations

import contextvars
import os
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Busy, Expunged, StorageFailed
from mstore.files import raw, segment
from mstore.files.segment import HEADER_BYTES, PACKED, every_segment, packed_numbers, segment_numbers
from mstore.store import compact, diskuse
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.copy import copy
from mstore.store.mailbox import Mailbox
from tests.kit.faults import faults
from tests.kit.mail import make_content, make_messages
from tests.unit.store.conftest import MakeMailbox


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> int:
    """Segments of a few messages, so that a small mailbox has many."""
    for module in ("mstore.store.frames", "mstore.store.compact", "mstore.store.copy"):
        monkeypatch.setattr(f"{module}.ROLL_BYTES", 4000)
    monkeypatch.setattr(compact, "_SMALL_BYTES", 1000)
    return 4000


def expunge(mailbox: Mailbox, *uids: int) -> None:
    mailbox.refresh()
    with mailbox.transaction() as tx:
        tx.expunge([mailbox.index.row_of(uid) for uid in uids])


def contents(mailbox: Mailbox) -> list[bytes]:
    mailbox.refresh()
    return [mailbox.read(row) for row in mailbox.index.live_rows().tolist()]


def wanted(*numbers: int) -> list[bytes]:
    return [make_content(number) for number in numbers]


def disk_bytes(mailbox: Mailbox) -> int:
    return sum((mailbox.path / segment.segment_name(number)).stat().st_size
               for number in every_segment(mailbox.path))  # fmt: skip


def live_bytes(mailbox: Mailbox) -> int:
    return mailbox.index.size_bytes + HEADER_BYTES * mailbox.index.messages


def test_a_thorough_compaction_leaves_nothing_dead(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(10))
    expunge(mailbox, 1, 4, 5, 10)
    modseq, version = mailbox.highest_modseq, mailbox.version
    assert mailbox.index.dead_bytes == disk_bytes(mailbox) - HEADER_BYTES - live_bytes(mailbox) > 0
    before = disk_bytes(mailbox)
    given = mailbox.compact(thorough=True)
    assert given == before - disk_bytes(mailbox) + HEADER_BYTES, "but for the new tail"
    assert contents(mailbox) == wanted(2, 3, 6, 7, 8, 9)
    assert disk_bytes(mailbox) == live_bytes(mailbox) + 2 * HEADER_BYTES
    assert mailbox.index.dead_bytes == 0
    assert (packed_numbers(mailbox.path), segment_numbers(mailbox.path)) == ([PACKED], [2])
    assert (mailbox.highest_modseq, mailbox.version) == (modseq, version), "no client is told anything"
    assert append(mailbox, make_messages(2, 11)) == [11, 12]
    assert contents(mailbox) == wanted(2, 3, 6, 7, 8, 9, 11, 12)
    again = Mailbox(mailbox.path)
    assert contents(again) == contents(mailbox)
    assert check_mailbox(mailbox.path) == []


def test_an_empty_mailbox_keeps_its_uids(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    expunge(mailbox, 1, 2, 3)
    mailbox.compact(thorough=True)
    assert every_segment(mailbox.path) == [2]
    for name in os.listdir(mailbox.path):
        if name.startswith(("index", "journal")):
            (mailbox.path / name).unlink()
    survivor = Mailbox(mailbox.path)
    assert survivor.uid_next == 4
    assert append(survivor, make_messages(1)) == [4]
    mailbox.refresh()


def test_the_worst_go_first_and_small_ones_are_merged(
    make_mailbox: MakeMailbox, small_segments: int
) -> None:
    mailbox = make_mailbox()
    for number in range(1, 31):
        append(mailbox, make_messages(1, number))
    assert len(segment_numbers(mailbox.path)) >= 3
    expunge(mailbox, *range(1, 31, 3))
    mailbox.compact(thorough=True)
    left = [number for number in range(1, 31) if number % 3 != 1]
    assert contents(mailbox) == wanted(*left)
    assert mailbox.index.dead_bytes == 0
    numbers = packed_numbers(mailbox.path)
    assert len(numbers) >= 2
    expunge(mailbox, *left[2:])
    mailbox.compact(thorough=True)
    assert contents(mailbox) == wanted(2, 3)
    assert len(packed_numbers(mailbox.path)) == 1
    assert min(packed_numbers(mailbox.path)) > max(numbers), "no number is used twice"


def test_it_runs_by_itself_when_half_is_dead(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (diskuse, compact):
        monkeypatch.setattr(module, "LEAST_DEAD_BYTES", 2000)
    append(mailbox, make_messages(30))
    for uid in range(1, 26):
        expunge(mailbox, uid)
        live = live_bytes(mailbox)
        assert disk_bytes(mailbox) <= 2 * live + 2000 + 2 * HEADER_BYTES
    assert contents(mailbox) == wanted(26, 27, 28, 29, 30)
    assert packed_numbers(mailbox.path)


def test_a_reader_of_another_process_follows(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(10))
    other = Mailbox(mailbox.path)
    other.rest()
    expunge(mailbox, *range(1, 10, 2))
    mailbox.compact(thorough=True)
    rows = np.arange(10)
    assert other.index.messages == 10, "it was told nothing yet"
    assert other.read(1) == make_content(2)
    assert b"".join(other.chunks(3)) == make_content(4)
    assert [text for part in other.read_many(rows[1::2]) for text in part] == wanted(2, 4, 6, 8, 10)
    for row in rows[::2].tolist():
        with pytest.raises(Expunged):
            other.read(row)
    with pytest.raises(Expunged):
        list(other.read_many(rows))


def test_a_sweep_of_many_goes_on_where_they_lie_now(
    mailbox: Mailbox, small_segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstore.store.reader._WINDOW_ROWS", 3)
    for number in range(1, 31):
        append(mailbox, make_messages(1, number))
    other = Mailbox(mailbox.path)
    rows = np.arange(5, 30)
    found: list[bytes] = []
    for part in other.read_many(rows):
        found += part
        if len(found) == 3:
            expunge(mailbox, 1, 2, 3, 4, 5)
        if len(found) in (6, 15):
            expunge(mailbox, len(found))
            mailbox.compact(thorough=True)
    assert found == wanted(*range(6, 31))


def test_a_copy_goes_on_where_they_lie_now(
    make_mailbox: MakeMailbox, small_segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox, target = make_mailbox(), make_mailbox()
    for number in range(1, 31):
        append(mailbox, make_messages(1, number))
    other = Mailbox(mailbox.path)
    expunge(mailbox, 1, 14)
    pauses = []

    def breathe() -> None:
        pauses.append(1)
        if len(pauses) == 2:
            contextvars.Context().run(mailbox.compact, True)  # as another process does

    monkeypatch.setattr("mstore.store.copy.blocking.breathe", breathe)
    with pytest.raises(Expunged):
        copy(np.arange(0, 30), other, target)
    monkeypatch.undo()
    assert target.index.messages == 0
    expunge(mailbox, 2)
    monkeypatch.setattr("mstore.store.copy.blocking.breathe", breathe)
    pauses.clear()
    monkeypatch.setattr("mstore.store.copy._WINDOW_ROWS", 3)
    pairs = copy(np.array([2, 3, *range(20, 30)]), other, target)
    assert len(pauses) > 2
    monkeypatch.undo()
    assert contents(target) == wanted(3, 4, *range(21, 31))
    assert len(pairs) == 12


def test_a_segment_that_is_being_read_is_read_to_its_end(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    pinned = mailbox.segments.pin(1)
    expunge(mailbox, 2)
    mailbox.compact(thorough=True)
    assert os.fstat(pinned).st_nlink == 0
    assert make_content(1) in os.pread(pinned, 10_000, 0)
    mailbox.segments.unpin(1)
    with pytest.raises(OSError):
        os.fstat(pinned)
    assert contents(mailbox) == wanted(1, 3)


def test_messages_expunged_and_added_while_it_copies(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(mailbox, make_messages(20))
    expunge(mailbox, 1, 2)
    other = Mailbox(mailbox.path)
    pack = compact._pack

    def slow(*args: object) -> tuple[int, int]:
        done = pack(*args)  # type: ignore[arg-type]
        expunge(other, 5)
        append(other, make_messages(3, 21))
        return done

    monkeypatch.setattr(compact, "_pack", slow)
    goal = 400  # what is expunged meanwhile may stay
    assert compact._pass(mailbox, goal, {1}, 0.0)[1]
    monkeypatch.undo()
    left = [number for number in range(3, 24) if number != 5]
    assert contents(mailbox) == contents(other) == wanted(*left)
    assert mailbox.index.dead_bytes == disk_bytes(mailbox) - 2 * HEADER_BYTES - live_bytes(mailbox) > 0
    assert check_mailbox(mailbox.path) == []
    mailbox.compact(thorough=True)
    assert mailbox.index.dead_bytes == 0


def test_one_at_a_time(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(3))
    expunge(mailbox, 1)
    other = Mailbox(mailbox.path)
    with other.upkeep.hold(), pytest.raises(Busy):
        contextvars.Context().run(compact.compact, mailbox, True, 0.0)
    assert segment_numbers(mailbox.path) == [1]
    mailbox.compact(thorough=True)
    assert other.compact(thorough=True) == 0
    assert contents(other) == wanted(2, 3)


@pytest.mark.parametrize("first", [True, False])
def test_a_move_across_the_mark_is_not_disturbed(
    make_mailbox: MakeMailbox, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    from mstore.store.copy import move

    boxes = [make_mailbox(), make_mailbox()]
    source, target = boxes if first else reversed(boxes)
    append(source, make_messages(10))
    for module in (diskuse, compact):
        monkeypatch.setattr(module, "LEAST_DEAD_BYTES", 500)
    move(np.arange(9), source, target)
    assert contents(source) == wanted(10)
    assert contents(target) == wanted(*range(1, 10))
    with source.transaction() as tx:
        tx.flags([9], "add", 1)
    assert source.index.dead_bytes == 0, "the next commit sees to it"


def test_what_a_dead_compactor_left_is_swept(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    (mailbox.path / "packed.7").write_bytes(b"x" * 100)
    (mailbox.path / "packed.9.new").write_bytes(b"x")
    (mailbox.path / "derived.new").write_bytes(b"x")
    expunge(mailbox, 1)
    mailbox.compact(thorough=True)
    assert packed_numbers(mailbox.path) == [PACKED + 8], "numbers that were taken are not used again"
    assert not [name for name in os.listdir(mailbox.path) if name.endswith(".new")]


def test_damage_is_carried_along_and_a_wrong_copy_is_none(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(mailbox, make_messages(6))
    expunge(mailbox, 1)
    copy_range = raw.copy_range

    def bad(source: int, target: int, count: int, source_at: int, target_at: int) -> None:
        copy_range(source, target, count, source_at + 1, target_at)

    monkeypatch.setattr(raw, "copy_range", bad)
    with pytest.raises(StorageFailed):
        mailbox.compact(thorough=True)
    monkeypatch.undo()
    assert contents(mailbox) == wanted(2, 3, 4, 5, 6)
    assert os.listdir(mailbox.path).count("packed.0.new") == 0
    path = mailbox.path / "messages.1"
    place = int(mailbox.columns.offset[3]) + 200
    original = path.read_bytes()
    path.write_bytes(original[:place] + b"?" + original[place + 1 :])
    mailbox.segments.close()
    mailbox.compact(thorough=True)
    rows = [row for row in mailbox.index.live_rows().tolist() if row != 3]
    assert [mailbox.read(row) for row in rows] == wanted(2, 3, 5, 6)
    problems = check_mailbox(mailbox.path)
    assert len(problems) == 1 and "UID 4 is damaged" in problems[0].text
    expunge(mailbox, 4)


def test_meanwhile_the_disk_holds_no_more_than_it_may(
    mailbox: Mailbox, small_segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 61):
        append(mailbox, make_messages(1, number))
    expunge(mailbox, *(number for number in range(1, 61) if number % 15 % 2 < 1))
    publish, held = compact._publish, []

    def watch(*args: object) -> None:
        held.append(disk_bytes(mailbox))
        publish(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(compact, "_publish", watch)
    mailbox.compact(thorough=True)
    assert len(held) > 3
    assert max(held) <= 2 * live_bytes(mailbox) + small_segments
    assert mailbox.index.dead_bytes == 0


def test_a_victim_that_is_cut_short_stays(mailbox: Mailbox, small_segments: int) -> None:
    for number in range(1, 21):
        append(mailbox, make_messages(1, number))
    expunge(mailbox, 1, 12)
    first = mailbox.path / "messages.1"
    data = first.read_bytes()
    first.write_bytes(data[:-1])
    mailbox.rest()
    mailbox.compact(thorough=True)
    assert first.exists() and 2 not in segment_numbers(mailbox.path)
    rows = mailbox.index.live_rows()
    assert [mailbox.read(row) for row in rows[mailbox.columns.segment[rows] != 1].tolist()] == wanted(
        *(number for number in range(int(mailbox.columns.uid[mailbox.columns.segment == 1].max()) + 1, 21)
          if number != 12)
    )  # fmt: skip
    first.write_bytes(data)
    mailbox.rest()
    mailbox.compact(thorough=True)
    assert not first.exists()
    assert contents(mailbox) == wanted(*(number for number in range(2, 21) if number != 12))


@pytest.mark.parametrize("name", ["open", "pwrite", "copy_range", "sync", "rename", "sync_directory"])
def test_a_refused_call_changes_nothing(mailbox: Mailbox, name: str) -> None:
    append(mailbox, make_messages(6))
    expunge(mailbox, 2, 3)
    with faults() as system:
        for at in range(12):
            system.fail(name, at)
            try:
                mailbox.compact(thorough=True)
            except StorageFailed:
                system.heal()
                assert contents(mailbox) == wanted(1, 4, 5, 6)
                assert contents(Mailbox(mailbox.path)) == wanted(1, 4, 5, 6)
                continue
            break
        else:
            pytest.fail("it never came through")
        assert at >= 1
        system.heal()
    assert contents(mailbox) == wanted(1, 4, 5, 6)
    assert append(mailbox, make_messages(1, 7)) == [7]


def test_derived_is_written_anew_when_most_of_it_is_dead(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstore.store.compactderived.LEAST_BYTES", 1000)
    monkeypatch.setattr("mstore.store.compactderived._RECORD_ROWS", 3)
    append(mailbox, make_messages(20))
    other = Mailbox(mailbox.path)
    envelopes = other.derived(np.arange(12, 20), [0])
    path = mailbox.path / "derived"
    before = path.stat()
    expunge(mailbox, *range(1, 13))
    mailbox.compact(thorough=True)
    after = path.stat()
    assert after.st_ino != before.st_ino and after.st_size < before.st_size / 2
    monkeypatch.setattr("mstore.store.derived.summary_of", lambda buffer: pytest.fail("computed again"))
    for box in (mailbox, other):
        box.refresh()
        assert box.derived(np.arange(12, 20), [0]) == envelopes
    append(other, make_messages(1, 21))
    mailbox.refresh()
    assert b"message 21" in mailbox.derived(np.array([20]), [0])[0][0]
    inode = path.stat().st_ino
    mailbox.compact(thorough=True)
    assert path.stat().st_ino == inode, "there is nothing to gain"


def test_a_directory_gone_meanwhile(tmp_path: Path) -> None:
    from mstore.base.errors import NotFound

    mailbox = Mailbox.create(tmp_path / "00000000000000aa", 7)
    append(mailbox, make_messages(2))
    mailbox.rest()
    mailbox.path.rename(tmp_path / "trash")
    with pytest.raises(NotFound):
        mailbox.compact(thorough=True)
