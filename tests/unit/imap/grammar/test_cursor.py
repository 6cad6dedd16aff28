"""The cursor: each element of the grammar, taken exactly or refused."""

import datetime
from pathlib import Path

import pytest

from mstore.base.numset import NumSet
from mstore.files.spool import Spool
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor


def test_a_command_is_taken_from_left_to_right() -> None:
    cursor = Cursor(b'a1 STORE 1:2,* +FLAGS.SILENT (\\Seen key) "q\\"x" nil')
    assert cursor.tag() == b"a1"
    cursor.space()
    assert cursor.word() == b"STORE"
    cursor.space()
    assert cursor.sequence_set() == NumSet([(1, 2), (0, 0)])
    cursor.space()
    assert cursor.take(b"+")
    assert cursor.word() == b"FLAGS.SILENT"
    cursor.space()
    assert cursor.flag_list() == [b"\\Seen", b"key"]
    cursor.space()
    assert cursor.string() == b'q"x'
    cursor.space()
    assert cursor.nstring() is None
    cursor.end()


def test_exactly_one_space_separates() -> None:
    for data in (b"", b"x", b"\tx"):
        with pytest.raises(Bad):
            Cursor(data).space()
    cursor = Cursor(b"  x")
    cursor.space()
    with pytest.raises(Bad):
        cursor.atom()


@pytest.mark.parametrize("data", [b"(", b"]", b"{", b'"', b"\\x", b"%", b"*", b" ", b"", b"\x7f", b"\xe4"])
def test_what_is_no_atom(data: bytes) -> None:
    with pytest.raises(Bad):
        Cursor(data).atom()


def test_an_astring_may_hold_a_bracket_and_an_atom_not() -> None:
    assert Cursor(b"a]b").astring() == b"a]b"
    assert Cursor(b"a]b").atom() == b"a"
    assert Cursor(b'""').astring() == b""


@pytest.mark.parametrize("data", [b'"', b'"a', b'"a\\n"', b'"a\r\n"', b'"\0"', b'"\\"'])
def test_what_is_no_quoted_string(data: bytes) -> None:
    with pytest.raises(Bad):
        Cursor(data).string()


def test_literals_are_taken_in_their_order() -> None:
    cursor = Cursor(b"{3}\r\n {2+}\r\n x", [b"abc", b"de"])
    assert cursor.astring() == b"abc"
    cursor.space()
    assert cursor.nstring() == b"de"
    cursor.space()
    assert cursor.atom() == b"x"
    with pytest.raises(Bad):
        Cursor(b"{3}", [b"abc"]).string()
    with pytest.raises(Bad):
        Cursor(b"{3}\r\n", []).string()


def test_nul_is_refused_in_strings_and_left_to_messages() -> None:
    with pytest.raises(Bad):
        Cursor(b"{3}\r\n", [b"a\0b"]).string()
    assert Cursor(b"{3}\r\n", [b"a\0b"]).literal() == b"a\0b"


def test_a_small_spool_serves_as_string(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"INBOX")
        assert Cursor(b"{5}\r\n", [spool]).mailbox() == "INBOX"


@pytest.mark.parametrize(("data", "value"), [(b"0", 0), (b"007", 7), (b"4294967295", 4294967295)])
def test_numbers(data: bytes, value: int) -> None:
    assert Cursor(data).number() == value


def test_numbers_have_bounds() -> None:
    for data in (b"4294967296", b"9" * 5000, b"-1", b"a", b""):
        with pytest.raises(Bad):
            Cursor(data).number()
    for data in (b"0", b"01"):
        with pytest.raises(Bad):
            Cursor(data).nz_number()


def test_lists_need_something_in_them_unless_they_need_not() -> None:
    cursor = Cursor(b"(a b c)")
    assert cursor.list_of(cursor.atom) == [b"a", b"b", b"c"]
    empty = Cursor(b"()")
    assert empty.flag_list() == []
    for data in (b"()", b"(a", b"(a b", b"( a)", b"(a )", b"a"):
        cursor = Cursor(data)
        with pytest.raises(Bad):
            cursor.list_of(cursor.atom)


def test_mailbox_names_are_decoded_and_inbox_folded() -> None:
    assert Cursor(b"iNbOx").mailbox() == "INBOX"
    assert Cursor(b'"inbox/a b"').mailbox() == "INBOX/a b"
    assert Cursor(b"Entw&APw-rfe").mailbox() == "Entwürfe"
    assert Cursor(b"Inboxes").mailbox() == "Inboxes"
    with pytest.raises(No) as caught:
        Cursor(b"a&b").mailbox()
    assert caught.value.code == b"CANNOT"


def test_flags_become_bits_and_keywords() -> None:
    assert Cursor(b"(\\seen \\DELETED $Fwd a A)").flags() == (9, (b"$Fwd", b"a"))
    assert Cursor(b"\\Draft x").flags() == (16, (b"x",))
    assert Cursor(b"()").flags() == (0, ())
    for data in (b"(\\Recent)", b"(\\Unheard)", b"\\", b"", b"(\\Seen", b"(\\*)"):
        with pytest.raises(Bad):
            Cursor(data).flags()


def test_dates_may_be_quoted() -> None:
    assert Cursor(b"1-Feb-1994").date() == datetime.date(1994, 2, 1)
    assert Cursor(b'"01-feb-1994"').date() == datetime.date(1994, 2, 1)
    for data in (b"1-Feb-94", b"30-Feb-1994", b"'1-Feb-1994'", b"1 Feb 1994", b""):
        with pytest.raises(Bad):
            Cursor(data).date()


def test_date_times_are_quoted() -> None:
    assert Cursor(b'"17-Jul-1996 02:44:25 -0700"').date_time() == 837596665
    with pytest.raises(Bad):
        Cursor(b"17-Jul-1996 02:44:25 -0700").date_time()


def test_list_patterns_may_hold_wildcards_bare() -> None:
    assert Cursor(b"a/%*] x").list_mailbox() == b"a/%*]"
    assert Cursor(b'"a b%"').list_mailbox() == b"a b%"


def test_the_end_is_the_end() -> None:
    cursor = Cursor(b"a b")
    cursor.atom()
    with pytest.raises(Bad):
        cursor.end()
    assert cursor.rest() == b" b"
    assert cursor.at_end()
    assert cursor.peek() is None
