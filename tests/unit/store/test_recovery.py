"""What a crash, a power cut or damage leaves, and what the next to open the mailbox makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Corrupt
from mstore.files import journal as journals
from mstore.files import raw
from mstore.store import generation, recovery
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.faults import Faults, faults
from tests.kit.mail import make_content, make_message, make_messages


@pytest.fixture
def closed(tmp_path: Path) -> Mailbox:
    """A mailbox with messages 1 to 5, 2 expunged, 3 seen, in its first generation; at rest."""
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    append(mailbox, make_messages(5))
    with mailbox.transaction() as tx:
        tx.expunge([1])
    with mailbox.transaction() as tx:
        tx.flags([2], "add", 1)
    mailbox.close()
    return mailbox


def contents(mailbox: Mailbox) -> list[bytes]:
    return [mailbox.read(row) for row in mailbox.index.live_rows().tolist()]


def wanted(*numbers: int) -> list[bytes]:
    return [make_content(number) for number in numbers]


def reboot(system: Faults) -> None:
    system.boot = os.urandom(16)


def test_after_a_reboot_modseq_moves_on_and_nothing_is_lost(closed: Mailbox) -> None:
    with faults() as system:
        reboot(system)
        mailbox = Mailbox(closed.path)
        assert contents(mailbox) == wanted(1, 3, 4, 5)
        assert mailbox.highest_modseq == closed.highest_modseq + recovery.MODSEQ_STEP
        assert mailbox.uid_next == 6
        assert mailbox.columns.flags[mailbox.index.live_rows()].tolist() == [0, 1, 0, 0]
        again = Mailbox(closed.path)
        assert again.highest_modseq == mailbox.highest_modseq
        assert check_mailbox(closed.path) == []


@pytest.mark.parametrize("lost", [1, 40, 120])
def test_after_a_power_cut_a_torn_journal_is_cut_and_frames_are_adopted(closed: Mailbox, lost: int) -> None:
    mailbox = Mailbox(closed.path)
    before = closed.journal.path.stat().st_size
    append(mailbox, make_messages(2, 6))
    mailbox.close()
    os.truncate(closed.journal.path, closed.journal.path.stat().st_size - lost)
    assert closed.journal.path.stat().st_size > before
    with faults() as system:
        reboot(system)
        survivor = Mailbox(closed.path)
        assert contents(survivor) == wanted(1, 3, 4, 5, 6, 7)
        assert survivor.uid_next == 8
        assert survivor.columns.sent_date[survivor.index.live_rows()].tolist() == [
            1704067200 + n for n in (1, 3, 4, 5, 6, 7)
        ]
        assert b"message 7" in survivor.derived(survivor.index.live_rows()[5:], [0])[0][0]
        assert check_mailbox(closed.path) == []


def test_a_torn_tail_in_the_same_boot_is_cut_by_the_next_writer(closed: Mailbox) -> None:
    reader = Mailbox(closed.path)
    with open(closed.journal.path, "ab") as file:
        file.write(b"MSgr" + bytes(20))
    assert not reader.refresh()
    assert contents(reader) == wanted(1, 3, 4, 5)
    writer = Mailbox(closed.path)
    append(writer, [make_message(6)])
    assert reader.refresh()
    assert contents(reader) == wanted(1, 3, 4, 5, 6)
    assert check_mailbox(closed.path) == []


def test_a_pending_expunge_whose_author_died_takes_effect(closed: Mailbox) -> None:
    record = journals.expunged(np.array([3], np.uint32), np.array([3], np.uint32))
    with open(closed.journal.path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.write(journals.format_group(1, end, closed.highest_modseq + 1, [record], pending=True))
    mailbox = Mailbox(closed.path)
    assert contents(mailbox) == wanted(1, 3, 4, 5), "not released yet"
    append(mailbox, [make_message(6)])
    assert contents(mailbox) == wanted(1, 4, 5, 6)
    assert check_mailbox(closed.path) == []


@pytest.mark.parametrize("finished", [False, True])
def test_a_checkpoint_whose_author_died(closed: Mailbox, finished: bool) -> None:
    mailbox = Mailbox(closed.path)
    reader = Mailbox(closed.path)
    old = mailbox.journal
    seal = journals.format_group(1, old.end, mailbox.highest_modseq, [journals.sealed(2)], pending=True)
    raw.pwrite(old.fd, seal, old.end)
    if finished:
        generation.begin(closed.path, mailbox.index, 2)
    append(reader, [make_message(6)])
    assert reader.index.generation == (2 if finished else 1)
    assert mailbox.refresh()
    assert contents(mailbox) == contents(reader) == contents(Mailbox(closed.path)) == wanted(1, 3, 4, 5, 6)
    assert check_mailbox(closed.path) == []


def test_a_missing_index_is_made_from_the_generation_before(closed: Mailbox) -> None:
    mailbox = Mailbox(closed.path)
    mailbox.checkpoint()
    append(mailbox, [make_message(6)])
    mailbox.close()
    os.unlink(closed.path / "index.2")
    again = Mailbox(closed.path)
    assert contents(again) == wanted(1, 3, 4, 5, 6)
    assert again.columns.flags[again.index.live_rows()].tolist() == [0, 1, 0, 0, 0]


def test_without_any_index_the_segments_tell(closed: Mailbox) -> None:
    mailbox = Mailbox(closed.path)
    mailbox.checkpoint()
    append(mailbox, [make_message(6, keywords=(b"work",))])
    mailbox.close()
    for name in ("index.1", "index.2", "journal.1"):
        os.unlink(closed.path / name)
    again = Mailbox(closed.path)
    assert contents(again) == wanted(1, 2, 3, 4, 5, 6), "better twice than never"
    assert (again.uid_validity, again.uid_next) == (7, 7)
    assert again.columns.uid.tolist() == [1, 2, 3, 4, 5, 6]
    assert again.keywords == [b"work"]
    assert append(again, [make_message(7)]) == [7]
    assert check_mailbox(closed.path) == []


def test_segments_alone_are_enough(closed: Mailbox) -> None:
    for path in [*closed.path.glob("index.*"), *closed.path.glob("journal.*"), closed.path / "derived"]:
        path.unlink()
    again = Mailbox(closed.path)
    assert contents(again) == wanted(1, 2, 3, 4, 5)
    assert again.uid_validity == 7
    assert check_mailbox(closed.path) == []


def test_a_damaged_segment_gives_up_what_is_sound(closed: Mailbox) -> None:
    segment = closed.path / "messages.1"
    data = bytearray(segment.read_bytes())
    at = int(closed.columns.offset.item(2)) - 60
    data[at] ^= 0xFF
    segment.write_bytes(data)
    for path in [*closed.path.glob("index.*"), *closed.path.glob("journal.*")]:
        path.unlink()
    again = Mailbox(closed.path)
    assert contents(again) == wanted(1, 2, 4, 5)
    assert append(again, [make_message(6)]) == [6]


def test_nothing_at_all_is_corrupt(closed: Mailbox) -> None:
    for path in closed.path.iterdir():
        if path.name != "lock":
            path.unlink()
    with pytest.raises(Corrupt):
        Mailbox(closed.path)


@pytest.mark.parametrize("opened", [False, True])
def test_damage_in_the_middle_of_a_journal_costs_only_what_was_damaged(closed: Mailbox, opened: bool) -> None:
    mailbox, reader = Mailbox(closed.path), Mailbox(closed.path)
    places = []
    for number in (6, 7, 8):
        places.append(mailbox.journal.end)
        append(mailbox, [make_message(number)])
    with mailbox.transaction() as tx:
        tx.expunge([0])
    mailbox.close()
    data = bytearray(closed.journal.path.read_bytes())
    data[places[1] + 40] ^= 0xFF
    closed.journal.path.write_bytes(data)
    assert reader.refresh()
    assert contents(reader) == wanted(1, 3, 4, 5, 6), "who has it open stops there"
    if opened:
        assert contents(Mailbox(closed.path)) == wanted(3, 4, 5, 6, 7, 8), "repaired with the frames' help"
        assert reader.refresh()
    append(reader, [make_message(9)])
    assert contents(reader) == wanted(3, 4, 5, 6, 7, 8, 9)
    assert check_mailbox(closed.path) == []
    assert contents(Mailbox(closed.path)) == wanted(3, 4, 5, 6, 7, 8, 9)


def test_a_damaged_journal_header_is_no_loss(closed: Mailbox) -> None:
    data = bytearray(closed.journal.path.read_bytes())
    data[20] ^= 1
    closed.journal.path.write_bytes(data)
    again = Mailbox(closed.path)
    assert contents(again) == wanted(1, 3, 4, 5)
    assert check_mailbox(closed.path) == []


def test_a_half_published_multi_append_is_cut_as_a_whole(closed: Mailbox) -> None:
    mailbox = Mailbox(closed.path)
    journal = closed.journal.path.read_bytes()
    append(mailbox, [make_message(6)])
    append(mailbox, make_messages(3, 7))
    mailbox.close()
    closed.journal.path.write_bytes(journal)
    segment = closed.path / "messages.1"
    os.truncate(segment, segment.stat().st_size - 1)
    with faults() as system:
        reboot(system)
        again = Mailbox(closed.path)
        assert contents(again) == wanted(1, 3, 4, 5, 6)
        assert again.uid_next == 7
        assert check_mailbox(closed.path) == []


def test_damaged_messages_are_never_passed_for_mail(closed: Mailbox) -> None:
    segment = closed.path / "messages.1"
    data = bytearray(segment.read_bytes())
    data[int(closed.columns.offset.item(3)) + 50] ^= 0x20
    segment.write_bytes(data)
    mailbox = Mailbox(closed.path)
    with pytest.raises(Corrupt):
        mailbox.read(3)
    assert mailbox.read(4) == make_content(5)
    assert any("damaged" in problem.text for problem in check_mailbox(closed.path))


def test_two_who_open_after_a_reboot_agree(closed: Mailbox) -> None:
    with faults() as system:
        reboot(system)
        first, second = Mailbox(closed.path), Mailbox(closed.path)
        append(first, [make_message(6)])
        append(second, [make_message(7)])
        first.refresh()
        assert contents(first) == contents(second) == wanted(1, 3, 4, 5, 6, 7)


def test_an_expunge_behind_damage_holds_for_a_message_that_the_damage_hid(closed: Mailbox) -> None:
    mailbox = Mailbox(closed.path)
    place = mailbox.journal.end
    append(mailbox, [make_message(6)])
    with mailbox.transaction() as tx:
        tx.expunge([5])
    mailbox.close()
    data = bytearray(closed.journal.path.read_bytes())
    data[place + 40] ^= 0xFF
    closed.journal.path.write_bytes(data)
    assert contents(Mailbox(closed.path)) == wanted(1, 3, 4, 5)


@pytest.mark.parametrize("left", [0, 100, 64])
def test_blobs_that_a_power_cut_took_are_forgotten(closed: Mailbox, left: int) -> None:
    """Their places are given to other messages' blobs."""
    os.truncate(closed.path / "derived", left)
    with faults() as system:
        reboot(system)
        mailbox = Mailbox(closed.path)
        append(mailbox, make_messages(4, 6))
        envelopes = mailbox.derived(mailbox.index.live_rows(), [0])[0]
        for number, envelope in zip((1, 3, 4, 5, 6), envelopes, strict=False):
            assert b"message %d" % number in envelope
        assert check_mailbox(closed.path) == []


def test_a_generation_whose_names_may_not_be_on_disk_is_recovered_from(closed: Mailbox) -> None:
    follower = Mailbox(closed.path)
    mailbox = Mailbox(closed.path)
    mailbox.checkpoint()
    mailbox.checkpoint()  # the follower's journal is gone
    info = mailbox.journal.info
    journals.settle_header(mailbox.journal.path, info._replace(boot=journals.NO_BOOT))
    with follower.transaction() as tx:
        tx.expunge(follower.index.live_rows()[:1])
    assert follower.index.generation == info.generation + 1
    assert follower.journal.info.boot == raw.boot_id()
    assert contents(Mailbox(closed.path)) == contents(follower) == wanted(3, 4, 5)
    assert check_mailbox(closed.path) == []
