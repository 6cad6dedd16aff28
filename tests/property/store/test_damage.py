"""Flipped and cut bytes in any file of a mailbox: an error or the truth, never wrong data, never a
traceback."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import MStoreError
from mstore.mail.summary import summarize
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_content, make_message, make_messages

EVER_SET = {1: 0x105, 3: 0x104}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mailbox of two generations with something of everything in it."""
    mailbox = Mailbox.create(tmp_path_factory.mktemp("damage") / "0123456789abcdef", 7)
    append(mailbox, [make_message(1), make_message(2), make_message(3, keywords=(b"work",))])
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 1)
    with mailbox.transaction() as tx:
        tx.expunge([1])
    mailbox.checkpoint()
    append(mailbox, make_messages(3, 4))
    with mailbox.transaction() as tx:
        tx.flags([0, 2], "add", 4)
    with mailbox.transaction() as tx:
        tx.expunge([4])
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 0x100)
    mailbox.close()
    return mailbox.path


def damages(path: Path, seed: int) -> Iterator[tuple[str, bytes]]:
    """Ways to damage the files, a few of each kind for each file."""
    rng = random.Random(seed)
    for name in ("index.1", "index.2", "journal.1", "journal.2", "messages.1", "derived"):
        data = (path / name).read_bytes()
        for _ in range(12):
            at = rng.randrange(len(data))
            yield name, data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        for _ in range(4):
            yield name, data[: rng.randrange(len(data))]
            start = rng.randrange(len(data))
            end = min(len(data), start + rng.choice((8, 64, 512)))
            yield name, data[:start] + bytes(end - start) + data[end:]
        yield name, data + rng.randbytes(100)


@pytest.mark.parametrize("seed", range(5))
def test_damage_never_passes_for_data(original: Path, tmp_path: Path, seed: int) -> None:
    for number, (name, data) in enumerate(damages(original, seed)):
        path = tmp_path / f"{number:016x}"
        shutil.copytree(original, path)
        (path / name).write_bytes(data)
        check_mailbox(path)
        try:
            mailbox = Mailbox(path)
        except MStoreError:
            continue
        assert mailbox.uid_validity == 7
        look(mailbox)
        try:
            uids = append(mailbox, [make_message(9)])
        except MStoreError:
            continue
        assert uids[0] >= 7, "no UID is used twice"
        assert mailbox.read(mailbox.index.row_of(uids[0])) == make_content(9)
        look(mailbox)
        mailbox.close()
        shutil.rmtree(path)


def look(mailbox: Mailbox) -> None:
    """All that can be read is true."""
    rows = mailbox.index.live_rows()
    uids = mailbox.columns.full.uid[rows].tolist()
    assert uids == sorted(set(uids))
    for row, uid in zip(rows.tolist(), uids, strict=True):
        number = 9 if uid >= 7 else uid
        try:
            assert mailbox.read(row) == make_content(number)
        except MStoreError:
            continue
        assert mailbox.columns.full.internal_date.item(row) == 1_700_000_000 + number
        assert mailbox.columns.full.flags.item(row) & ~EVER_SET.get(uid, 0) == 0
        assert mailbox.derived(np.array([row]), [0])[0][0] == summarize(make_content(number)).slots[0]
