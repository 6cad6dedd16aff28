"""What the administrator is told of maildrops that cannot be had."""

import os
from pathlib import Path

import pytest

from mstore.base.errors import Moved, MStoreError, NotFound, StorageFailed
from mstore.base.log import Log
from mstore.pop3.session import Session
from mstore.store.store import Store
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (Moved("it was moved"), "maildrop-gone", "info"),
        (NotFound("it was deleted"), "maildrop-gone", "info"),
        (StorageFailed("disk on fire"), "maildrop-failed", "error"),
    ],
)
def test_what_somebody_wanted_is_no_error(
    host: MailHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: MStoreError,
    event: str,
    level: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Store, "account", fail)
    lines = os.open(tmp_path / "lines", os.O_CREAT | os.O_WRONLY)
    converse(Session, host.service(log=Log(lines)), b"USER joe\r\nPASS secret\r\nQUIT\r\n")
    os.close(lines)
    assert f"level={level} event={event} " in (tmp_path / "lines").read_text()
