"""SEARCH keys: the grammar of RFC 3501 §9, and the tree it becomes."""

import itertools

import pytest

from mstore.base.numset import NumSet
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.searchkeys import MAX_DEPTH, MAX_KEYS, parse_search
from mstore.store.searchkeys import (
    All,
    And,
    Flag,
    Header,
    InternalDate,
    Keyword,
    Not,
    Or,
    Recent,
    SearchKey,
    SentDay,
    Seqs,
    Size,
    Text,
    Uids,
)

DAY_S = 86_400


def parse(text: bytes, *literals: bytes) -> SearchKey:
    return parse_search(Cursor(text, literals), None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"ALL", All()),
        (b"answered", Flag(2)),
        (b"SEEN", Flag(1)),
        (b"UNSEEN", Not(Flag(1))),
        (b"FLAGGED", Flag(4)),
        (b"UNDELETED", Not(Flag(8))),
        (b"DRAFT", Flag(16)),
        (b"RECENT", Recent()),
        (b"OLD", Not(Recent())),
        (b"NEW", And((Recent(), Not(Flag(1))))),
        (b"KEYWORD $Junk", Keyword(b"$Junk")),
        (b"UNKEYWORD a", Not(Keyword(b"a"))),
        (b"BEFORE 2-Jan-1970", InternalDate(None, DAY_S)),
        (b'ON "1-Jan-1970"', InternalDate(0, DAY_S)),
        (b"since 01-feb-1970", InternalDate(31 * DAY_S, None)),
        (b"SENTBEFORE 3-Jan-1970", SentDay(None, 2)),
        (b"SENTON 3-Jan-1970", SentDay(2, 3)),
        (b"SENTSINCE 31-Dec-1969", SentDay(-1, None)),
        (b"LARGER 10", Size(11, None)),
        (b"SMALLER 10", Size(None, 10)),
        (b"FROM Joe", Header(b"from", "JOE")),
        (b'SUBJECT ""', Header(b"subject", "")),
        (b'HEADER X-Foo "Bar baz"', Header(b"x-foo", "BAR BAZ")),
        (b"BODY Hello", Text("HELLO", False)),
        (b"TEXT nil", Text("NIL", True)),
        (b"2,4:7,*", Seqs(NumSet([(2, 2), (4, 7), (0, 0)]))),
        (b"UID 5:*", Uids(NumSet([(5, 0)]))),
        (b"NOT NOT SEEN", Not(Not(Flag(1)))),
        (b"(SEEN)", Flag(1)),
        (b"(SEEN DRAFT) 1", And((And((Flag(1), Flag(16))), Seqs(NumSet([(1, 1)]))))),
        (b"OR SEEN DRAFT", Or((Flag(1), Flag(16)))),
        (b"OR OR SEEN DRAFT OR FLAGGED DELETED", Or((Flag(1), Flag(16), Flag(4), Flag(8)))),
        (b"OR (SEEN DRAFT) NOT 1", Or((And((Flag(1), Flag(16))), Not(Seqs(NumSet([(1, 1)])))))),
        (b"UNSEEN FROM a", And((Not(Flag(1)), Header(b"from", "A")))),
    ],
)
def test_keys(text: bytes, key: SearchKey) -> None:
    assert parse(text) == key


@pytest.mark.parametrize(
    ("text", "literal", "wanted"),
    [
        (b"CHARSET UTF-8 SUBJECT {5}\r\n", "grün".encode(), "GRU\u0308N"),
        (b"charset iso-8859-1 SUBJECT {4}\r\n", "GRÜN".encode("latin-1"), "GRU\u0308N"),
        (b"CHARSET US-ASCII SUBJECT {3}\r\n", b"abc", "ABC"),
        (b"CHARSET KOI8-R SUBJECT {6}\r\n", "ПРИВЕТ".encode("koi8-r"), "ПРИВЕТ"),
        (b"SUBJECT {7}\r\n", "straße".encode(), "STRAßE"),
    ],
)
def test_texts_are_decoded_and_mapped(text: bytes, literal: bytes, wanted: str) -> None:
    assert parse(text, literal) == Header(b"subject", wanted)


@pytest.mark.parametrize("name", [b"x-no-such", b"base64", b"rot13", b"idna", b"\"\"", b"zlib", b"punycode"])
def test_an_unknown_charset_is_refused_with_the_known_ones(name: bytes) -> None:
    with pytest.raises(No) as failure:
        parse(b"CHARSET " + name + b" ALL")
    assert failure.value.code == b"BADCHARSET (US-ASCII UTF-8)"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ALL",
        b"ALL ",
        b"ALL  SEEN",
        b"()",
        b"(ALL",
        b"ALL)",
        b"NOPE",
        b"NOT",
        b"OR SEEN",
        b"OR SEEN ",
        b"FROM",
        b"HEADER X",
        b"KEYWORD",
        b"KEYWORD \\Seen",
        b"BEFORE 30-Feb-2020",
        b"BEFORE yesterday",
        b"LARGER -1",
        b"LARGER 4294967296",
        b"UID x",
        b"1:",
        b"0",
        b"CHARSET UTF-8",
        b"CHARSET UTF-8 CHARSET UTF-8 ALL",
        b"(" * (MAX_DEPTH + 2) + b"ALL" + b")" * (MAX_DEPTH + 2),
        b"NOT " * (MAX_DEPTH + 2) + b"ALL",
        b" ".join([b"ALL"] * (MAX_KEYS + 1)),
        b"OR " * (MAX_KEYS + 1) + b"ALL",
        b"NOT (" * 100_000,
    ],
)
def test_what_is_no_search_is_refused(text: bytes) -> None:
    with pytest.raises(Bad):
        parse(text)


def test_bytes_that_are_not_in_the_charset_are_refused() -> None:
    with pytest.raises(Bad):
        parse(b"CHARSET UTF-8 BODY {2}\r\n", b"\xff\xfe")


def test_a_chain_of_hundreds_of_or_is_one_flat_node() -> None:
    key = parse(b"OR FROM a " * 500 + b"FROM b")
    assert isinstance(key, Or) and len(key.keys) == 501


def test_all_ages_of_a_command_are_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a message might be neither older nor younger than a second."""
    times = itertools.count(1_700_000_000, 5)
    monkeypatch.setattr("mstore.base.clock.now", lambda: float(next(times)))
    (older, younger) = parse(b"OR OLDER 1 YOUNGER 1").keys  # type: ignore[attr-defined]
    assert older.high_s == younger.low_s + 1
