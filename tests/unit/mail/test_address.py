"""Address lists: RFC 5322 §3.4, §4.4, and what is found instead of them."""

import pytest

from mstore.mail.address import (
    ADDRESS_LIMIT,
    GROUP_END,
    MISSING_DOMAIN,
    MISSING_MAILBOX,
    Address,
    parse_addresses,
)


@pytest.mark.parametrize(
    ("value", "name", "route", "mailbox", "host"),
    [
        (b"a@b.c", None, None, b"a", b"b.c"),
        (b"<a@b.c>", None, None, b"a", b"b.c"),
        (b"Name <a@b.c>", b"Name", None, b"a", b"b.c"),
        (b"Full  Long\tName <a@b.c>", b"Full Long Name", None, b"a", b"b.c"),
        (b'"Name, Quoted" <a@b.c>', b"Name, Quoted", None, b"a", b"b.c"),
        (b'"a \\"b\\" \\\\c" <a@b.c>', b'a "b" \\c', None, b"a", b"b.c"),
        (b'J. "R." <a@b>', b"J. R.", None, b"a", b"b"),
        (b'"" <a@b>', None, None, b"a", b"b"),
        (
            b"=?utf-8?Q?J=C3=B6rg?= =?utf-8?Q?x?= <j@x>",
            b"=?utf-8?Q?J=C3=B6rg?= =?utf-8?Q?x?=",
            None,
            b"j",
            b"x",
        ),
        (b"\xc3\xa4 <\xc3\xb6@x>", b"\xc3\xa4", None, b"\xc3\xb6", b"x"),
        (b"a@b (Real Name)", b"Real Name", None, b"a", b"b"),
        (b"a@b (Real (the) Name)", b"Real (the) Name", None, b"a", b"b"),
        (b"Name <a@b> (comment)", b"Name", None, b"a", b"b"),
        (b"<@r:u@d>", None, b"@r", b"u", b"d"),
        (b"N <@r1,@r2:u@d>", b"N", b"@r1,@r2", b"u", b"d"),
        (b"<@r1 , @r2 : u@d>", None, b"@r1,@r2", b"u", b"d"),
        (b'"quoted local"@d', None, None, b"quoted local", b"d"),
        (b'"q@q"@d', None, None, b"q@q", b"d"),
        (b"john . doe @ example . com", None, None, b"john.doe", b"example.com"),
        (b"a@[1.2.3.4]", None, None, b"a", b"[1.2.3.4]"),
        (b"Some Body a@b", b"Some Body", None, b"a", b"b"),
        (b"a@b <c@d>", b"a@b", None, b"c", b"d"),
        (b"a@b@c", None, None, b"a@b", b"c"),
        (b"a", None, None, b"a", MISSING_DOMAIN),
        (b"<a>", None, None, b"a", MISSING_DOMAIN),
        (b"<a@>", None, None, b"a", MISSING_DOMAIN),
        (b"<@b>", None, None, MISSING_MAILBOX, b"b"),
        (b"<>", None, None, MISSING_MAILBOX, MISSING_DOMAIN),
        (b"N <a@b", b"N", None, b"a", b"b"),
        (b'"never closed <a@b>', None, None, b"never closed <a@b>", MISSING_DOMAIN),
        (b"A <a@b> trailing words", b"A", None, b"a", b"b"),
    ],
)
def test_one_address(
    value: bytes, name: bytes | None, route: bytes | None, mailbox: bytes, host: bytes
) -> None:
    expected = Address(name, route, mailbox, host)
    assert parse_addresses(value) == [expected]
    plain = Address(None, None, b"x", b"y")
    assert parse_addresses(b"x@y, " + value)[0] == plain
    assert parse_addresses(b"x@y, " + value)[1:] == [expected]


@pytest.mark.parametrize("value", [b"", b" ", b",", b" , ,, ", b";", b"(only a comment", b">"])
def test_no_address(value: bytes) -> None:
    assert parse_addresses(value) == []


def test_groups_are_marks_around_their_members() -> None:
    """RFC 3501 §7.4.2; the last group is closed though the field is not."""
    found = parse_addresses(b'a group: a@b, c@d;, undisclosed-recipients:;, e@f, "q g": g@h')
    assert found == [
        Address(None, None, b"a group", None),
        Address(None, None, b"a", b"b"),
        Address(None, None, b"c", b"d"),
        GROUP_END,
        Address(None, None, b"undisclosed-recipients", None),
        GROUP_END,
        Address(None, None, b"e", b"f"),
        Address(None, None, b"q g", None),
        Address(None, None, b"g", b"h"),
        GROUP_END,
    ]


def test_semicolons_separate_as_some_clients_think() -> None:
    assert [address.mailbox for address in parse_addresses(b"a@b; c@d;e@f")] == [b"a", b"c", b"e"]


@pytest.mark.parametrize("unit", [b"a@b,", b"(x) a@b,", b"g:a@b;"])
def test_no_more_addresses_than_the_limit(unit: bytes) -> None:
    found = parse_addresses(unit * (ADDRESS_LIMIT + 100))
    assert 3000 < len(found) <= ADDRESS_LIMIT + 1
    assert [mark for mark in found if mark.host is None][-1:] in ([], [GROUP_END])
