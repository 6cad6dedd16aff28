"""Deliveries into accounts that hold, or may hold, only so much."""

from __future__ import annotations

from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse
from tests.unit.lmtp.test_session import LHLO, MESSAGE, Session, ask, replies, transaction


def limit(host: MailHost, name: str, size_bytes: int | None, messages: int | None = None) -> None:
    record = host.accounts.find(name)
    assert record is not None
    host.accounts.set_quota(record, size_bytes, messages)


def test_each_recipient_has_his_own_answer(host: MailHost) -> None:
    limit(host, "joe", None, 1)
    limit(host, "ann", 20)
    to_all = transaction(b"joe", b"ann", b"pat")
    assert ask(host, to_all)[5:] == [b"250 2.1.5", b"552 5.2.2", b"250 2.1.5"]
    assert ask(host, to_all)[5:] == [b"452 4.2.2", b"552 5.2.2", b"250 2.1.5"]
    assert [len(host.messages(name)) for name in ("joe", "ann", "pat")] == [1, 0, 2]


def test_a_full_mailbox_is_full_to_the_byte_and_room_that_is_made_is_used(host: MailHost) -> None:
    assert ask(host, transaction(b"joe"))[-1] == b"250 2.1.5"
    size = len(host.messages("joe")[0])
    limit(host, "joe", 2 * size - 1)
    assert ask(host, transaction(b"joe"))[-1] == b"452 4.2.2"
    limit(host, "joe", 2 * size)
    assert ask(host, transaction(b"joe"))[-1] == b"250 2.1.5"
    assert ask(host, transaction(b"joe"))[-1] == b"452 4.2.2"
    inbox = host.account("joe").open("INBOX")
    with inbox.transaction() as tx:
        tx.expunge([0])
    inbox.release()
    assert ask(host, transaction(b"joe"))[-1] == b"250 2.1.5"
    assert host.account("joe").usage() == (2 * size, 2)


def test_a_full_mailbox_named_in_the_address_is_no_reason_for_another(host: MailHost) -> None:
    host.account("joe").create("lists")
    limit(host, "joe", None, 0)
    assert ask(host, transaction(b"joe+lists"))[-1] == b"552 5.2.2"
    assert host.messages("joe") == []


def test_the_other_socket_delivers_regardless_of_quotas(host: MailHost) -> None:
    limit(host, "joe", 10, 0)
    script = LHLO + transaction(b"joe") + transaction(b"joe")
    found = replies(converse(Session, host.service(over_quota=True), script))
    assert found.count(b"250 2.1.5") == 4
    assert [message.endswith(MESSAGE) for message in host.messages("joe")] == [True, True]
    assert host.account("joe").usage().messages == 2
    assert ask(host, transaction(b"joe"))[-1] == b"552 5.2.2"
