"""RETURN (…): its grammar, and what SAVE saves."""

import pytest

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.returnoptions import PartialRange, parse_partial_range, parse_return


def test_nothing_there() -> None:
    cursor = Cursor(b"ALL")
    assert parse_return(cursor) is None
    assert cursor.pos == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"()", {b"ALL"}),
        (b"(min MAX)", {b"MIN", b"MAX"}),
        (b"(SAVE)", {b"SAVE"}),
        (b"(UPDATE CONTEXT)", {b"UPDATE", b"CONTEXT", b"ALL"}),
        (b"(PARTIAL 1:5 COUNT)", {b"PARTIAL", b"COUNT"}),
    ],
)
def test_words(text: bytes, words: set[bytes]) -> None:
    cursor = Cursor(b"return " + text + b" ALL")
    found = parse_return(cursor)
    assert found is not None and found.words == words
    assert cursor.rest() == b"ALL"


@pytest.mark.parametrize(
    "text",
    [b"", b"ALL", b"(ALL", b"(ALL )", b"( ALL)", b"(ALL ALL)", b"(X)", b"(PARTIAL 1:2 ALL)", b"(PARTIAL)"],
)
def test_what_is_no_list_of_options(text: bytes) -> None:
    with pytest.raises(Bad):
        parse_return(Cursor(b"RETURN " + text + b" ALL"))


@pytest.mark.parametrize(
    ("text", "found", "of_ten"),
    [
        (b"1:3", PartialRange(1, 3), [0, 1, 2]),
        (b"3:1", PartialRange(3, 1), [0, 1, 2]),
        (b"9:20", PartialRange(9, 20), [8, 9]),
        (b"11:20", PartialRange(11, 20), []),
        (b"-1:-3", PartialRange(1, 3, True), [7, 8, 9]),
        (b"-3:-2", PartialRange(3, 2, True), [7, 8]),
        (b"-9:-20", PartialRange(9, 20, True), [0, 1]),
        (b"-11:-20", PartialRange(11, 20, True), []),
    ],
)
def test_partial_ranges(text: bytes, found: PartialRange, of_ten: list[int]) -> None:
    assert parse_partial_range(Cursor(text)) == found
    assert found.format() == {b"3:1": b"1:3", b"-3:-2": b"-2:-3"}.get(text, text)
    assert list(range(10))[found.cut(10)] == of_ten
    assert list(range(0))[found.cut(0)] == []


@pytest.mark.parametrize("text", [b"1", b"0:1", b"1:0", b"1:*", b"-1:1", b"1:-1", b"-0:-1", b"--1:-2", b":"])
def test_what_is_no_range(text: bytes) -> None:
    with pytest.raises(Bad):
        cursor = Cursor(text)
        parse_partial_range(cursor)
        cursor.end()


@pytest.mark.parametrize(
    ("words", "saved"),
    [
        (b"SAVE", [0, 1, 2, 3, 4]),
        (b"SAVE MIN", [0]),
        (b"SAVE MAX", [4]),
        (b"SAVE MIN MAX", [0, 4]),
        (b"SAVE MIN COUNT", [0, 1, 2, 3, 4]),
        (b"SAVE MAX ALL", [0, 1, 2, 3, 4]),
        (b"SAVE PARTIAL 2:3", [1, 2]),
        (b"SAVE PARTIAL 2:3 MIN MAX", [0, 1, 2, 4]),
        (b"SAVE PARTIAL -1:-2 MIN", [0, 3, 4]),
        (b"SAVE PARTIAL 2:3 COUNT MIN", [0, 1, 2, 3, 4]),
    ],
)
def test_what_is_saved(words: bytes, saved: list[int]) -> None:
    """The tables of RFC 5182 §2.4 and RFC 9394 §3.2."""
    options = parse_return(Cursor(b"RETURN (" + words + b") ALL"))
    assert options is not None and options.saves
    assert options.pick(5).tolist() == saved
    assert options.pick(0).tolist() == []
