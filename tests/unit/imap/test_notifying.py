"""NOTIFY at its limits: too much to watch, and news beside a command of which only a part has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.imap.session import Session
from mstore.store import watching
from mstore.store.append import append
from tests.kit.mail import make_message
from tests.kit.mailhost import MailHost, following
from tests.kit.transport import Client, Served
from tests.kit.waiting import waiting_by_threads


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    made = MailHost(tmp_path)
    made.add("joe")
    with waiting_by_threads(), following(made):
        yield made
    made.close()


@pytest.fixture
def client(host: MailHost) -> Iterator[Client]:
    client = Client(Served(lambda stream: Session(stream, host.service())))
    client.receive()
    client.command(b"a LOGIN joe secret")
    yield client
    client.close()
    client.served.join()


def test_too_much_is_refused_and_leaves_what_was_wanted_before(
    host: MailHost, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_MAILBOXES", 2)
    account = host.account("joe")
    account.create("one")
    client.command(b"b NOTIFY SET (personal (MessageNew MessageExpunge))")
    account.create("two")
    assert client.receive().startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
    (answer,) = client.command(b"c NOTIFY SET (personal (MessageNew MessageExpunge))")
    assert answer.startswith(b"c NO [NOTIFICATIONOVERFLOW] ")
    client.command(b"d NOTIFY SET (mailboxes one (MessageNew MessageExpunge))")
    client.command(b"e NOTIFY SET (personal (MessageNew MessageExpunge))")
    mailbox = account.open("one")
    append(mailbox, [make_message(1)])
    mailbox.release()
    assert client.receive().startswith(b"* STATUS one (MESSAGES 1 UIDNEXT 2 ")


def test_numbers_do_not_change_while_a_part_of_a_command_is_here(host: MailHost, client: Client) -> None:
    mailbox = host.account("joe").open("INBOX")
    append(mailbox, [make_message(number) for number in range(3)])
    client.command(b"b SELECT INBOX")
    client.command(b"c NOTIFY SET (selected (MessageNew MessageExpunge))")
    client.send(b"d UID FETCH 3 (U")
    assert client.is_silent(0.2)
    with mailbox.transaction() as tx:
        tx.expunge([0])
    append(mailbox, [make_message(4)])
    mailbox.release()
    assert client.receive() == b"* 4 EXISTS"
    assert client.receive() == b"* 4 RECENT"
    assert client.is_silent(0.2)
    client.send(b"ID)\r\n")
    assert client.receive() == b"* 3 FETCH (UID 3)"
    assert client.receive() == b"* 1 EXPUNGE"
    assert client.receive().startswith(b"d OK ")


def test_a_session_that_is_stopped_says_so_between_its_news(host: MailHost, client: Client) -> None:
    client.command(b"b NOTIFY SET (personal (MailboxName))")
    while not client.served.session.idle:
        time.sleep(0.001)
    client.served.session.stop()
    assert [line[:8] for line in client.rest()] == [b"* BYE [U"]
