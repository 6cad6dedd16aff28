"""LIST and LSUB over many names."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import Invalid
from mstore.imap.commands.list import find_parents, parse_pattern
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.session import Session
from mstore.net.stream import Stream
from tests.kit.dialogue import site
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with site(tmp_path, {}) as host:
        yield host


def test_parents_are_all_levels_above() -> None:
    assert find_parents(["a/b/c", "a/x", "d"]) == {"a", "a/b"}
    assert find_parents([]) == set()


def test_reference_and_pattern_are_one_pattern() -> None:
    assert parse_pattern(Cursor(b' "a/" %')) == "a/%"
    assert parse_pattern(Cursor(b' "" inbox/*')) == "INBOX/*"
    assert parse_pattern(Cursor(b' inb ox')) == "INBOX"
    assert parse_pattern(Cursor(b' "" ""')) is None
    assert parse_pattern(Cursor(b' "" &AOQ-*')) == "ä*"
    with pytest.raises(Invalid):
        parse_pattern(Cursor(b' "" &AO'))
    with pytest.raises(No):
        parse_pattern(Cursor(b' "" "' + b"a" * 3000 + b'"'))
    with pytest.raises(Bad):
        parse_pattern(Cursor(b' "" (a)'))


def test_mailboxes_are_listed_in_order_and_quickly(host: MailHost) -> None:
    account = host.account("joe")
    for number in range(30):
        account.create(f"box {number:03d}/ä")
    names = len(account.mailboxes())
    transport = ScriptedTransport([b'a LOGIN joe secret\r\nb LIST "" *\r\nc LIST "" %\r\n'])
    start = time.process_time()
    Session(Stream(transport), host.service()).run()
    assert time.process_time() - start < 0.5
    lines = [line for line in b"".join(transport.sent).split(b"\r\n") if line.startswith(b"* LIST")]
    assert len(lines) == names + 31
    assert lines[0] == b'* LIST (\\HasNoChildren) "/" INBOX'
    assert lines[1:3] == [
        b'* LIST (\\HasChildren) "/" "box 000"',
        b'* LIST (\\HasNoChildren) "/" "box 000/&AOQ-"',
    ]
