"""A message that comes twice is stored once, for as long as that was asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import OverQuota
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.once import LOOKED_AT, append_once
from tests.kit.mailhost import MailHost

NOW = int(time.time())


def message(message_id: str | None, date: int = NOW, text: str = "x") -> NewMessage:
    field = "" if message_id is None else f"Message-ID: {message_id}\r\n"
    return NewMessage(f"{field}Subject: {text}\r\n\r\n{text}\r\n".encode(), date)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    host = MailHost(tmp_path)
    host.add("joe")
    yield host
    host.close()


@pytest.fixture
def mailbox(host: MailHost) -> Iterator[Mailbox]:
    mailbox = host.account("joe").open("INBOX")
    yield mailbox
    mailbox.release()


def test_the_second_one_is_not_stored(mailbox: Mailbox) -> None:
    assert append_once(mailbox, message("<a@b>"), NOW - 10)
    assert not append_once(mailbox, message("<a@b>", text="again"), NOW - 10)
    assert append_once(mailbox, message("<c@d>"), NOW - 10)
    assert mailbox.status().messages == 2


def test_what_came_by_other_ways_counts(mailbox: Mailbox) -> None:
    append(mailbox, [message("<a@b>")])
    assert not append_once(mailbox, message("<a@b>"), NOW - 10)


def test_what_came_before_the_window_does_not(mailbox: Mailbox) -> None:
    append(mailbox, [message("<a@b>", NOW - 100)])
    assert append_once(mailbox, message("<a@b>"), NOW - 99)


def test_messages_without_an_id_are_always_stored(mailbox: Mailbox) -> None:
    assert append_once(mailbox, message(None), NOW - 10)
    assert append_once(mailbox, message(None), NOW - 10)
    assert append_once(mailbox, message("no id at all"), NOW - 10)
    assert append_once(mailbox, message("no id at all"), NOW - 10)


def test_what_was_removed_meanwhile_counts(mailbox: Mailbox) -> None:
    append_once(mailbox, message("<a@b>"), NOW - 10)
    with mailbox.transaction() as tx:
        tx.expunge(mailbox.view().rows)
    assert not append_once(mailbox, message("<a@b>"), NOW - 10)


def test_only_the_last_messages_are_compared(mailbox: Mailbox) -> None:
    append(mailbox, [message("<a@b>"), *[message(f"<{n}@x>") for n in range(LOOKED_AT - 1)]])
    assert not append_once(mailbox, message("<a@b>"), NOW - 10)
    append(mailbox, [message("<last@x>")])
    assert append_once(mailbox, message("<a@b>"), NOW - 10)


def test_derived_data_that_is_lost_is_computed_anew(host: MailHost, mailbox: Mailbox) -> None:
    append(mailbox, [message("<a@b>")])
    (path,) = host.store.path_of(host.accounts.find("joe")).glob("*/derived")
    path.write_bytes(b"")
    assert not append_once(mailbox, message("<a@b>"), NOW - 10)


def test_a_quota_is_obeyed(host: MailHost, mailbox: Mailbox) -> None:
    record = host.accounts.find("joe")
    host.accounts.set_quota(record, 10, None)
    host.store.account(host.accounts.find("joe"))
    with pytest.raises(OverQuota):
        append_once(mailbox, message("<a@b>"), NOW - 10)
    assert append_once(mailbox, message("<a@b>"), NOW - 10, over_quota=True)
