"""LIST and LSUB over many names."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mstore.imap.commands.list import find_parents
from mstore.imap.commands.status import check_items
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.listrequest import ListRequest, parse_list
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


def request(arguments: bytes) -> ListRequest:
    return parse_list(Cursor(arguments), partial(check_items, rev2=False))


def test_reference_and_pattern_are_one_pattern() -> None:
    assert request(b' "a/" %') == ListRequest(("a/%",))
    assert request(b' "" inbox/*').patterns == ("INBOX/*",)
    assert request(b" inb ox").patterns == ("INBOX",)
    assert request(b' "" ""') == ListRequest((), separator_only=True)
    assert request(b' "" &AOQ-*').patterns == ("ä*",)
    assert request(b' "" &AO').patterns == ()
    assert request(b" user/Joe/ inbox").patterns == ("user/Joe/INBOX",)
    with pytest.raises(No):
        request(b' "" "' + b"a" * 3000 + b'"')


def test_extended_requests() -> None:
    asked = request(
        b' (Subscribed RECURSIVEMATCH remote) a/ ("" % "b" b &AO) '
        b"RETURN (CHILDREN STATUS (UNSEEN SIZE) myrights STATUS (UNSEEN))"
    )
    assert asked.extended
    assert asked.patterns == ("a/%", "a/b")
    assert asked.select == {b"SUBSCRIBED", b"RECURSIVEMATCH", b"REMOTE"}
    assert asked.returns == {b"SUBSCRIBED", b"CHILDREN", b"STATUS", b"MYRIGHTS"}
    assert asked.status_items == (b"UNSEEN", b"SIZE")
    assert request(b' () "" *') == ListRequest(("*",), extended=True)
    assert request(b' "" "" RETURN ()') == ListRequest((), extended=True)
    assert request(b' (SPECIAL-USE) "" *').returns == {b"SPECIAL-USE"}


@pytest.mark.parametrize(
    "arguments",
    [
        b' (RECURSIVEMATCH) "" *',
        b' (REMOTE RECURSIVEMATCH) "" *',
        b' (SPECIAL-USE RECURSIVEMATCH) "" *',
        b' (FROB) "" *',
        b'() "" *',
        b' () "" ()',
        b' "" * RETURN',
        b' "" * RETURN (FROB)',
        b' "" * RETURN (STATUS)',
        b' "" * RETURN (STATUS ())',
        b' "" * RETURN (STATUS (FROB))',
        b' "" * RETURN(CHILDREN)',
        b' "" * (CHILDREN)',
        b' "" * RETURN (CHILDREN) x',
        b' "" (a',
    ],
)
def test_what_is_no_list_is_bad(arguments: bytes) -> None:
    with pytest.raises(Bad):
        request(arguments)


def test_patterns_have_a_limit() -> None:
    assert len(request(b' "" (' + b" ".join(b"%d" % n for n in range(100)) + b")").patterns) == 100
    with pytest.raises(No):
        request(b' "" (' + b" ".join(b"%d" % n for n in range(101)) + b")")


def test_mailboxes_are_listed_in_order_and_quickly(host: MailHost) -> None:
    account = host.account("joe")
    for number in range(30):
        account.create(f"box {number:03d}/ä")
    names = len(account.mailboxes())
    transport = ScriptedTransport([b'a LOGIN joe secret\r\nb LIST "" *\r\nc LIST "" %\r\n'])
    start = time.process_time()
    Session(Stream(transport), host.service()).run()
    assert time.process_time() - start < 2
    lines = [line for line in b"".join(transport.sent).split(b"\r\n") if line.startswith(b"* LIST")]
    assert len(lines) == names + 31
    assert lines[0] == b'* LIST (\\HasNoChildren) "/" INBOX'
    assert lines[1:3] == [
        b'* LIST (\\HasChildren) "/" "box 000"',
        b'* LIST (\\HasNoChildren) "/" "box 000/&AOQ-"',
    ]
