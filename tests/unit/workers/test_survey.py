"""The survey of the store: what is counted, what is not known, and how little of the time it takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.base import blocking
from mstore.base.errors import Unavailable
from mstore.base.log import Log
from mstore.store.append import NewMessage, append
from tests.kit.mailhost import MAILSTORE, MailHost
from workers import survey as survey_module
from workers.scoreboard import STORE, Scoreboard
from workers.survey import (
    BATCH,
    REST,
    Found,
    batches,
    measure_account,
    measure_batch,
    note,
    survey,
    survey_often,
)

MESSAGE = b"Subject: x\r\n\r\n" + b"y" * 1000 + b"\r\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    host = MailHost(tmp_path)
    yield host
    host.close()


def fill(host: MailHost, name: str, messages: int) -> Any:
    host.add(name)
    account = host.account(name)
    mailbox = account.open("INBOX")
    append(mailbox, [NewMessage(MESSAGE, 0)] * messages)
    mailbox.release()
    return account


def test_all_accounts_are_summed(host: MailHost) -> None:
    joe = fill(host, "joe", 3)
    joe.create("other")
    fill(host, "ann", 2)
    joe.usage()  # Now all of joe's is counted.
    assert survey(host.store, MAILSTORE) == Found(5 * len(MESSAGE), 5, 3, 2, 1)


def test_an_account_without_usage_is_there_and_not_counted(host: MailHost) -> None:
    path = fill(host, "joe", 1).path
    (Path(path) / "quota").unlink()
    assert measure_account(Path(path)) == Found(0, 0, 1, 1, 0)
    (Path(path) / "quota").write_bytes(b"no usage file")
    assert measure_account(Path(path)) == Found(0, 0, 1, 1, 0)


def test_one_that_goes_away_is_passed_over(host: MailHost, tmp_path: Path) -> None:
    path = Path(fill(host, "joe", 1).path)
    assert measure_batch([tmp_path / "gone", path]).accounts == 1
    with pytest.raises(Unavailable):
        survey(host.store, "elsewhere")


def test_it_rests_for_most_of_the_time(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(host, "joe", 1)
    rests: list[float] = []
    monkeypatch.setattr(blocking, "sleep", rests.append)
    survey(host.store, MAILSTORE)
    assert rests and all(0 < seconds <= 10 for seconds in rests) and REST >= 99


def test_batches_hold_all_in_their_order() -> None:
    paths = [Path(str(number)) for number in range(2 * BATCH + 1)]
    found = list(batches(iter(paths)))
    assert [path for batch in found for path in batch] == paths
    assert [len(batch) for batch in found] == [BATCH, BATCH, 1]


def test_what_was_found_is_written_down() -> None:
    slot = Scoreboard(1, mailstores=["main"]).mailstores["main"]
    note(slot, Found(1, 2, 3, 4, 5))
    assert [slot.get(name) for name in STORE] == [1, 2, 3, 4, 5] and slot.heartbeat_s > 0


def test_a_mailstore_that_is_out_of_reach_keeps_none_of_the_others_back(
    host: MailHost, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(host, "joe", 2)
    slots = Scoreboard(1, mailstores=["elsewhere", MAILSTORE]).mailstores

    class Enough(BaseException):
        """A round is over."""

    def pause(seconds: float) -> None:
        raise Enough

    monkeypatch.setattr(survey_module.gevent, "sleep", pause)
    with pytest.raises(Enough):
        survey_often(host.store, slots, Log())
    assert slots[MAILSTORE].get("store_messages") == 2
    assert not slots["elsewhere"].heartbeat_s
    assert "event=survey-failed" in capfd.readouterr().err
