"""``pop3d-retr-marks-seen``: what POP3 has fetched IMAP shows as seen, from the end of the session on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.flags import SEEN
from mstore.pop3.session import Session
from mstore.store.append import NewMessage, append
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse

LOGIN = b"USER joe\r\nPASS secret\r\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    host = MailHost(tmp_path, pop3d_retr_marks_seen=True)
    host.add("joe")
    mailbox = host.account("joe").open("INBOX")
    append(mailbox, [NewMessage(b"Subject: %d\r\n\r\nx\r\n" % n, 1_000_000_000) for n in range(3)])
    mailbox.release()
    yield host
    host.close()


def seen(host: MailHost) -> list[bool]:
    """Of the messages that are there still."""
    mailbox = host.account("joe").open("INBOX")
    mailbox.refresh()
    index = mailbox.index
    flags = index.columns.full.flags[index.live_rows()]
    mailbox.release()
    return [bool(int(bits) & SEEN) for bits in flags]


def test_fetched_messages_are_seen_after_quit(host: MailHost) -> None:
    converse(Session, host.service(), LOGIN + b"RETR 2\r\nTOP 1 0\r\nQUIT\r\n")
    assert seen(host) == [False, True, False]


def test_and_after_a_session_that_breaks_off(host: MailHost) -> None:
    converse(Session, host.service(), LOGIN + b"RETR 1\r\nRETR 3\r\nDELE 2\r\n")
    assert seen(host) == [True, False, True]


def test_removed_ones_go_and_the_others_are_seen_at_once(host: MailHost) -> None:
    converse(Session, host.service(), LOGIN + b"RETR 1\r\nDELE 1\r\nRETR 2\r\nQUIT\r\n")
    assert seen(host) == [True, False]


def test_without_the_option_nothing_is_marked(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    host = MailHost(tmp_path / "plain")
    host.add("joe")
    mailbox = host.account("joe").open("INBOX")
    append(mailbox, [NewMessage(b"Subject: 1\r\n\r\nx\r\n", 1_000_000_000)])
    mailbox.release()
    converse(Session, host.service(), LOGIN + b"RETR 1\r\nQUIT\r\n")
    assert seen(host) == [False]
    host.close()
