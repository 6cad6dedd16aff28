"""Compaction beside real processes that read, write and compact one mailbox: nobody sees a wrong byte."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.base.errors import Busy, Expunged
from mstore.files import raw
from mstore.files.segment import HEADER_BYTES, every_segment, segment_name
from mstore.store import compact, frames
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.copy import copy
from mstore.store.mailbox import Mailbox
from tests.kit.dying import Quick
from tests.kit.mail import make_content, make_message, make_messages
from tests.kit.waiting import wait_for

FORK = multiprocessing.get_context("fork")
SEGMENT_BYTES = 16 << 10
SECONDS = 2.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small segments, and nobody waits for the disk."""
    monkeypatch.setattr(frames, "ROLL_BYTES", SEGMENT_BYTES)
    monkeypatch.setattr(compact, "ROLL_BYTES", SEGMENT_BYTES)
    before = raw.install(Quick())
    yield
    raw.install(before)


def read(path: Path, seed: int, done: Any, enough: Any) -> None:
    """Read in every way, from a view that is now and then out of date; count how often."""
    rng = random.Random(seed)
    mailbox = Mailbox(path)
    while not enough.is_set():
        if rng.random() < 0.3:
            mailbox.refresh()
        rows = mailbox.index.live_rows()
        if not len(rows):
            mailbox.refresh()
            continue
        columns = mailbox.index.columns
        chosen = rows[:: rng.randint(1, 4)]
        uids = columns.uid[chosen].tolist()
        try:
            if rng.random() < 0.5:
                found = [text for part in mailbox.read_many(chosen) for text in part]
            else:
                found = [b"".join(mailbox.chunks(row)) for row in chosen[-5:].tolist()]
                uids = uids[-5:]
            assert found == [make_content(uid) for uid in uids]
            row = rng.choice(rows.tolist())
            assert mailbox.read(row, 100, 50) == make_content(columns.uid.item(row))[100:150]
            done.value += 1
        except Expunged:
            mailbox.refresh()


def write(path: Path, seed: int, done: Any, enough: Any) -> None:
    rng = random.Random(seed)
    mailbox = Mailbox(path)
    while not enough.is_set():
        with mailbox.transaction() as tx:
            first = mailbox.index.uid_next
            tx.append([make_message(uid) for uid in range(first, first + rng.randint(1, 8))])
        with mailbox.transaction() as tx:
            rows = mailbox.index.live_rows().tolist()
            tx.expunge(sorted(rng.sample(rows, min(len(rows) - 1, rng.randint(1, 8)))))
        done.value += 1
        time.sleep(rng.random() * 0.01)


def pack(path: Path, seed: int, done: Any, enough: Any) -> None:
    rng = random.Random(seed)
    mailbox = Mailbox(path)
    while not enough.is_set():
        try:
            compact.compact(mailbox, True, 0.0)
            done.value += 1
        except Busy:
            pass
        time.sleep(rng.random() * 0.02)


def test_nobody_ever_sees_a_wrong_byte(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    append(mailbox, make_messages(100))
    jobs = [read, read, write, pack, pack]
    counts, enough = [FORK.Value("q", 0) for _ in jobs], FORK.Event()
    workers = [
        FORK.Process(target=job, args=(mailbox.path, number, counts[number], enough))
        for number, job in enumerate(jobs)
    ]
    for worker in workers:
        worker.start()

    def has_been_much() -> bool:
        reads, writes, packs = (sum(each.value for each in counts[a:b]) for a, b in ((0, 2), (2, 3), (3, 5)))
        return reads > 3 and writes > 20 and packs >= 5

    time.sleep(SECONDS)
    wait_for(lambda: has_been_much() or not all(worker.is_alive() for worker in workers), 60)
    enough.set()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    mailbox.refresh()
    mailbox.compact(thorough=True)
    held = sum((mailbox.path / segment_name(number)).stat().st_size - HEADER_BYTES
               for number in every_segment(mailbox.path))  # fmt: skip
    assert held == mailbox.index.size_bytes + HEADER_BYTES * mailbox.index.messages
    rows = mailbox.index.live_rows()
    uids = mailbox.columns.uid[rows].tolist()
    assert [mailbox.read(row) for row in rows.tolist()] == [make_content(uid) for uid in uids]
    mailbox.close()
    assert check_mailbox(mailbox.path) == []


def copier(path: Path, target: Path, end: float) -> None:
    source, mailbox = Mailbox(path), Mailbox(target)
    while time.monotonic() < end:
        source.refresh()
        try:
            copy(source.index.live_rows(), source, mailbox)
        except Expunged:
            continue
        with mailbox.transaction() as tx:
            rows = mailbox.index.live_rows()
            copies = [mailbox.read(row) for row in rows.tolist()]
            assert all(text.startswith(b"From: Ann Smith") for text in copies)
            tx.expunge(rows)


def test_copies_of_what_is_being_moved_are_right(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / "0123456789abcdef", 7)
    target = Mailbox.create(tmp_path / "0123456789abcdff", 8)
    append(mailbox, make_messages(100))
    end = time.monotonic() + SECONDS / 2
    worker = FORK.Process(target=copier, args=(mailbox.path, target.path, end))
    worker.start()
    number = 100
    while time.monotonic() < end:
        number += 1
        append(mailbox, [make_message(number)])
        with mailbox.transaction() as tx:
            tx.expunge(mailbox.index.live_rows()[:1])
        mailbox.compact(thorough=True)
    worker.join(60)
    assert worker.exitcode == 0
    assert check_mailbox(mailbox.path) == check_mailbox(target.path) == []
