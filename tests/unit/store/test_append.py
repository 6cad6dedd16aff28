from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Invalid, StorageFailed
from mstore.mail.summary import ENVELOPE, SLOT_COUNT
from mstore.store import append as append_module
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.derived import read_sound
from mstore.store.mailbox import Mailbox
from tests.kit.faults import faults
from tests.kit.mail import make_content, make_message, make_messages


def test_one_append_costs_one_sync_before_the_journal_is_written(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(1)])
    with faults() as system:
        append(mailbox, make_messages(3, 2))
    assert system.calls.count("sync") == 1
    assert system.calls.index("pwritev") < system.calls.index("sync")
    assert "pwrite" in system.calls[system.calls.index("sync") :], "the journal comes after the sync"


def test_a_message_for_several_mailboxes_has_its_summary_in_each(mailbox: Mailbox, tmp_path: Path) -> None:
    other = Mailbox.create(tmp_path / "other", 7)
    append(other, make_messages(3))
    message, slots = make_message(9), range(SLOT_COUNT)
    for target in (mailbox, other, mailbox):
        (uid,) = append(target, [message])
        row = target.index.row_of(uid)
        assert read_sound(target, np.array([row]), ENVELOPE) == [message.slots[ENVELOPE]]
        assert [value for (value,) in target.derived(np.array([row]), slots)] == list(message.slots)
    assert check_mailbox(other.path) == []


def test_what_is_too_large_a_summary_is_not_kept(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_module, "MOST_BLOB_BYTES", 10)
    message = make_message(1)
    for _ in range(2):
        (uid,) = append(mailbox, [message])
        assert mailbox.index.columns.full.derived.item(mailbox.index.row_of(uid)) == 0


def test_nothing_is_appended_for_nothing(mailbox: Mailbox) -> None:
    assert append(mailbox, []) == []
    assert mailbox.highest_modseq == 1


def test_many_sessions_at_once_share_syncs_and_groups(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(0)])
    before = mailbox.highest_modseq
    found: dict[int, int] = {}
    gate = threading.Barrier(16)

    def session(number: int) -> None:
        gate.wait()
        for turn in range(5):
            (uid,) = append(mailbox, [make_message(number * 100 + turn)])
            found[number * 100 + turn] = uid

    threads = [threading.Thread(target=session, args=(number,)) for number in range(16)]
    with faults() as system:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found.values()) == list(range(2, 82))
    assert system.calls.count("sync") < 80
    assert mailbox.highest_modseq - before == system.calls.count("sync")
    fresh = Mailbox(mailbox.path)
    for number, uid in found.items():
        assert fresh.read(fresh.index.row_of(uid)) == make_content(number)


@pytest.mark.parametrize("call", ["pwritev", "sync", "pwrite"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_leaves_nothing_and_the_next_append_works(
    mailbox: Mailbox, call: str, code: int
) -> None:
    append(mailbox, [make_message(1)])
    other = Mailbox(mailbox.path)
    with faults() as system:
        system.fail(call, code=code)
        with pytest.raises(StorageFailed, match=os.strerror(code)):
            append(mailbox, make_messages(2, 2))
    assert not mailbox.lock.is_held
    assert not other.refresh()
    assert other.status() == mailbox.status()
    assert append(mailbox, [make_message(5)]) == [2]
    assert other.refresh()
    assert other.read(1) == make_content(5)


def test_when_even_cutting_fails_the_next_writer_repairs(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(1)])
    with faults() as system:
        system.fail("pwrite")
        original = system._fail
        system._fail = lambda name, number: errno.EIO if name == "truncate" else original(name, number)
        with pytest.raises(StorageFailed):
            append(mailbox, make_messages(2, 2))
    uids = append(mailbox, [make_message(9)])
    fresh = Mailbox(mailbox.path)
    assert fresh.read(fresh.index.row_of(uids[0])) == make_content(9)
    assert fresh.status() == mailbox.status()
    assert fresh.columns.count in (2, 4), "the others are there as a whole, or not at all"


def test_the_derived_cache_may_fail(mailbox: Mailbox) -> None:
    append(mailbox, [make_message(1)])
    os.truncate(mailbox.path / "derived", 0)
    with faults() as system:
        system._fail = lambda name, number: errno.EIO if name == "pwrite" and number == 0 else None
        assert append(mailbox, [make_message(2)]) == [2]
    assert mailbox.columns.derived.item(1) == 0
    envelopes = mailbox.derived(np.array([0, 1]), [0])[0]
    assert b"message 1" in envelopes[0] and b"message 2" in envelopes[1]


def test_a_bad_keyword_fails_alone(mailbox: Mailbox) -> None:
    results: list[object] = []
    gate = threading.Barrier(8)

    def session(number: int) -> None:
        gate.wait()
        keywords = (b"\\Wrong",) if number == 3 else ()
        try:
            results.append(append(mailbox, [make_message(number, keywords=keywords)]))
        except Invalid as error:
            results.append(error)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, Invalid) for result in results) == 1
    assert mailbox.status().messages == 7


def test_a_message_for_many_is_computed_once(make_mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    from mstore.store import derived

    original = derived.summarize
    monkeypatch.setattr(derived, "summarize", lambda buffer: calls.append(1) or original(buffer))
    message = make_message(1)
    mailboxes = [make_mailbox() for _ in range(3)]
    for mailbox in mailboxes:
        append(mailbox, [message])
    assert len(calls) == 1
    assert len({mailbox.columns.email_id.item(0) for mailbox in mailboxes}) == 1


@pytest.mark.parametrize("cut", [0, 30, 64, 100])
def test_frames_that_nobody_published_are_adopted_whole_or_cut(mailbox: Mailbox, cut: int) -> None:
    append(mailbox, [make_message(1)])
    journal = mailbox.journal.path.read_bytes()
    append(mailbox, make_messages(2, 2))
    mailbox.close()
    mailbox.journal.path.write_bytes(journal)
    segment = mailbox.path / "messages.1"
    os.truncate(segment, segment.stat().st_size - cut)
    survivor = Mailbox(mailbox.path)
    assert survivor.columns.count == 1
    assert append(survivor, [make_message(9)]) == ([4] if cut == 0 else [2])
    wanted = [1, 2, 3, 9] if cut == 0 else [1, 9]
    assert [survivor.read(row) for row in range(survivor.columns.count)] == [make_content(n) for n in wanted]
    survivor.close()
    assert check_mailbox(mailbox.path) == []
