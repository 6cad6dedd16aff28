from __future__ import annotations

from pathlib import Path

import pytest

from mstore.base import blocking
from mstore.files import raw
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from mstore.store.pool import Pool
from tests.kit.dying import open_files
from tests.kit.faults import Faults
from tests.kit.mail import make_content, make_message


@pytest.mark.parametrize("in_use", [True, False])
def test_closing_syncs_the_flags_of_the_last_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_use: bool
) -> None:
    monkeypatch.setattr(blocking, "later", lambda *_: None)
    Mailbox.create(tmp_path / "0123456789abcdef", 7).close()
    pool = Pool()
    mailbox = pool.open(tmp_path / "0123456789abcdef")
    append(mailbox, [make_message(1)])
    with mailbox.transaction() as tx:
        tx.flags([0], "add", 1)
    if not in_use:
        mailbox.release()
    faults = Faults()
    before = raw.install(faults)
    try:
        pool.close()
    finally:
        raw.install(before)
    assert faults.calls.count("sync") == 1


def test_mailboxes_in_use_rest_and_nobody_notices(tmp_path: Path) -> None:
    pool = Pool()
    mailboxes, told = [], []
    for number in range(20):
        path = tmp_path / f"{number:016x}"
        Mailbox.create(path, 7).close()
        mailbox = pool.open(path)
        append(mailbox, [make_message(number)])
        mailbox.listen(lambda number=number: told.append(number))
        mailboxes.append(mailbox)
    assert len(open_files(f"{tmp_path}/")) > 40
    pool.rest()
    assert not open_files(f"{tmp_path}/")
    for mailbox in mailboxes:
        assert not mailbox.refresh()
    assert not open_files(f"{tmp_path}/"), "looking whether something is new opens nothing"
    other = Mailbox(mailboxes[3].path)
    append(other, [make_message(77)])
    pool.notifier.poll_all()  # what there is where inotify has no instance left
    assert told == [3]
    assert mailboxes[3].read(1) == make_content(77)
    other.checkpoint()
    other.checkpoint()
    other.close()
    pool.rest()
    with mailboxes[3].transaction() as tx:
        assert tx.expunge([0]).tolist() == [1]
    assert append(mailboxes[4], [make_message(78)]) == [2]
    for mailbox in mailboxes:
        mailbox.release()
    pool.close()
    assert not open_files(f"{tmp_path}/")


def test_those_opened_in_great_number_rest_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstore.store.pool.MOST_OPENED", 5)
    pool = Pool()
    for number in range(30):
        Mailbox.create(tmp_path / f"{number:016x}", 7).close()
        mailbox = pool.open(tmp_path / f"{number:016x}")
        mailbox.view(True)
        assert len(open_files(f"{tmp_path}/")) <= 12
    pool.close()
