from __future__ import annotations

from pathlib import Path

import pytest

from mstore.base import blocking
from mstore.files import raw
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from mstore.store.pool import Pool
from tests.kit.faults import Faults
from tests.kit.mail import make_message


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
