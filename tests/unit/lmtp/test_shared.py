"""Mail to shared mailboxes: what may happen between the recipient's acceptance and the message's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.lmtp import deliver
from mstore.lmtp.session import Session
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse, whole

SCRIPT = (
    b"LHLO client.example\r\nMAIL FROM:<sender@example.net>\r\n"
    b"RCPT TO:<news+bugs@example.org>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n"
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    made = MailHost(tmp_path, lmtp_shared_name="news")
    root = made.superuser()
    root.create("shared/bugs")
    root.set_acl("shared/bugs", "anyone", "=", frozenset("p"))
    yield made
    made.close()


def last_replies(host: MailHost, script: bytes = SCRIPT) -> list[bytes]:
    return [line[:9] for line in converse(Session, host.service(), script, whole).split(b"\r\n")[-4:-1]]


def count(host: MailHost) -> int:
    opened = host.superuser().open("shared/bugs")
    opened.mailbox.refresh()
    messages = int(opened.mailbox.status().messages)
    opened.mailbox.release()
    return messages


def test_the_option_names_the_local_part_and_not_the_namespace(host: MailHost) -> None:
    assert last_replies(host) == [b"250 2.1.5", b"354 send ", b"250 2.1.5"]
    assert count(host) == 1
    said = converse(Session, host.service(), SCRIPT.replace(b"news+bugs", b"shared+bugs"), whole)
    assert b"\r\n550 5.1.1 <shared+bugs@example.org> no such user here\r\n" in said
    assert count(host) == 1


@pytest.mark.parametrize(("what", "reply"), [("rights", b"550 5.7.1"), ("mailbox", b"451 4.3.0")])
def test_what_goes_while_the_message_comes_is_found_missing(
    host: MailHost, monkeypatch: pytest.MonkeyPatch, what: str, reply: bytes
) -> None:
    real = deliver.make_trace

    def late(*arguments: Any) -> bytes:
        root = host.superuser()
        if what == "rights":
            root.delete_acl("shared/bugs", "anyone")
        else:
            root.delete("shared/bugs")
        return real(*arguments)

    monkeypatch.setattr("mstore.lmtp.incoming.make_trace", late)
    assert last_replies(host)[-1] == reply
    if what == "rights":
        assert count(host) == 0


def test_a_user_called_like_it_gets_his_mail(host: MailHost) -> None:
    host.add("news")
    script = SCRIPT.replace(b"news+bugs", b"news")
    assert last_replies(host, script)[-1] == b"250 2.1.5"
    assert len(host.messages("news")) == 1
    assert count(host) == 0


def test_two_addresses_of_one_shared_mailbox_are_one_message(host: MailHost) -> None:
    script = SCRIPT.replace(b"DATA", b"RCPT TO:<NEWS+bugs@example.net>\r\nDATA")
    assert last_replies(host, script)[-2:] == [b"250 2.1.5", b"250 2.1.5"]
    assert count(host) == 1


def test_an_account_has_no_door_to_the_shared_ones(host: MailHost) -> None:
    host.add("joe")
    assert last_replies(host, SCRIPT.replace(b"news+bugs", b"joe+shared/bugs"))[-1] == b"250 2.1.5"
    assert len(host.messages("joe")) == 1
    assert count(host) == 0
