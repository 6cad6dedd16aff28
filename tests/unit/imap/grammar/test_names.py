"""Mailbox names on the wire, and LIST patterns."""

import re
import time
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mstore.base.errors import Invalid
from mstore.imap.grammar.names import (
    compile_pattern,
    fold_inbox,
    format_mailbox,
    format_utf7,
    parse_name,
    parse_utf7,
)

PAIRS = [
    (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
    (b"&Jjo-!", "☺!"),
    (b"&U,BTF2XlZyyKng-", "台北日本語"),
    (b"a&-b", "a&b"),
    (b"&-", "&"),
    (b"&2D3eAA-", "\U0001f600"),
    (b"Entw&APw-rfe &- &AOQ-", "Entwürfe & ä"),
    (b"", ""),
]


@pytest.mark.parametrize(("wire", "name"), PAIRS)
def test_modified_utf7_both_ways(wire: bytes, name: str) -> None:
    assert parse_utf7(wire) == name
    assert format_utf7(name) == wire


@pytest.mark.parametrize(
    "wire",
    [
        b"&Jjo!",  # no shift back
        b"&U,BTFw-&ZeVnLIqe-",  # superfluous shift
        b"&AGE-",  # printable ASCII in base64
        b"&",
        b"a&b-",
        b"&AOQ",
        b"&AO-",  # odd number of octets
        b"&AOR-",  # stray bits
        b"&AOQ=-",
        b"&AO/-",
        b"&2D0-",  # half a surrogate pair
        b"&3gA-",
        b"\xc3\xa4",
        b"a\x00b",
        b"a\tb",
        b"\x7f",
    ],
)
def test_any_other_spelling_is_refused(wire: bytes) -> None:
    with pytest.raises(Invalid):
        parse_utf7(wire)


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=30))
def test_parse_undoes_format(name: str) -> None:
    assert parse_utf7(format_utf7(name)) == name


@given(st.binary(max_size=20))
def test_what_is_accepted_is_the_one_spelling(wire: bytes) -> None:
    try:
        name = parse_utf7(wire)
    except Invalid:
        return
    assert format_utf7(name) == wire


def test_inbox_is_folded_as_first_level_only() -> None:
    assert [fold_inbox(n) for n in ("inbox", "InBox/a", "inboxes", "a/inbox")] == [
        "INBOX",
        "INBOX/a",
        "inboxes",
        "a/inbox",
    ]


def test_names_are_atoms_or_quoted() -> None:
    assert format_mailbox("INBOX", False) == b"INBOX"
    assert format_mailbox("a b", False) == b'"a b"'
    assert format_mailbox('q"\\', False) == b'"q\\"\\\\"'
    assert format_mailbox("ä", False) == b'"&AOQ-"'
    assert format_mailbox("", False) == b'""'
    assert format_mailbox("nil", False) == b'"nil"'
    assert format_mailbox("a/b", False) == b"a/b"
    assert format_mailbox("a&b", False) == b'"a&-b"'


def test_names_in_utf8_are_as_they_are() -> None:
    assert format_mailbox("INBOX", True) == b"INBOX"
    assert format_mailbox("a&b", True) == b'"a&b"'
    assert format_mailbox('ä"', True) == '"ä\\""'.encode()
    assert parse_name("ä".encode(), True) == "ä"
    assert parse_name(b"&AOQ-", True) == "&AOQ-"
    assert parse_name(b"&AOQ-", False) == "ä"
    for wrong in (b"\xe4", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"):
        with pytest.raises(Invalid):
            parse_name(wrong, True)


def slow_match(pattern: str, name: str) -> bool:
    source = "".join({"*": ".*", "%": "[^/]*"}.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(source, name, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "a/b", True),
        ("%", "a/b", False),
        ("%", "a", True),
        ("a/%", "a/b", True),
        ("a/%", "a/b/c", False),
        ("a/*", "a/b/c", True),
        ("a/*", "a", False),
        ("a*", "a", True),
        ("%/%", "a/b", True),
        ("*b", "a/b", True),
        ("*%", "a/b", True),
        ("a.c", "abc", False),
        ("INBOX", "INBOX", True),
    ],
)
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    assert compile_pattern(pattern)(name) is expected


@given(st.text("ab/%*", max_size=10), st.text("ab/", max_size=12))
def test_patterns_match_what_the_plain_expression_matches(pattern: str, name: str) -> None:
    assert compile_pattern(pattern)(name) is slow_match(pattern, name)


@given(st.text("iNX/%*", max_size=8), st.sampled_from(["", "/", "/i", "/N/x", "X"]))
@example("inbox%", "")
@example("%box/i", "/i")
def test_patterns_match_inbox_in_any_spelling(pattern: str, rest: str) -> None:
    """RFC 3501 §5.1: INBOX alone or as first level; other names, and further levels, have one spelling."""
    pattern = fold_inbox(pattern)
    spellings = ["INBOX"] if rest == "X" else map("".join, product(*zip("INBOX", "inbox", strict=True)))
    expected = any(slow_match(pattern, spelling + rest) for spelling in spellings)
    if "%" in pattern or "*" in pattern:
        assert compile_pattern(pattern)("INBOX" + rest) is expected
    assert not compile_pattern("i*")("Ideas")


def test_no_pattern_takes_for_ever() -> None:
    name = "a" * 900
    start = time.process_time()
    assert not compile_pattern("*a" * 400 + "*b")(name)
    assert not compile_pattern("%a" * 400 + "%b")(name)
    assert not compile_pattern("*a%" * 300 + "b")(name)
    assert time.process_time() - start < 2
