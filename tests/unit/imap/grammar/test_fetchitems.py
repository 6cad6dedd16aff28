"""FETCH items: the grammar of RFC 3501 §9, and the names under which answers carry them."""

import pytest

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import (
    MAX_HEADER_NAMES,
    MAX_ITEMS,
    FetchItem,
    Section,
    format_item,
    parse_fetch_items,
)


def parse(text: bytes, *literals: bytes) -> tuple[FetchItem, ...]:
    cursor = Cursor(text, literals)
    items = parse_fetch_items(cursor)
    cursor.end()
    return items


def section(text: bytes) -> FetchItem:
    (item,) = parse(text)
    return item


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"ALL", [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"]),
        (b"fast", [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"]),
        (b"Full", [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"]),
        (b"uid", [b"UID"]),
        (b"(uid Flags BODYSTRUCTURE)", [b"UID", b"FLAGS", b"BODYSTRUCTURE"]),
        (b"(FLAGS FLAGS UID FLAGS)", [b"FLAGS", b"UID"]),
        (b"BODY", [b"BODY"]),
    ],
)
def test_words_and_macros(text: bytes, names: list[bytes]) -> None:
    assert parse(text) == tuple(FetchItem(name) for name in names)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        (b"BODY[]", FetchItem(b"BODY[]", Section(), peek=False)),
        (b"body.peek[]", FetchItem(b"BODY[]", Section(), peek=True)),
        (b"BODY[1.2.3]", FetchItem(b"BODY[]", Section((1, 2, 3)), peek=False)),
        (b"BODY[1.mime]", FetchItem(b"BODY[]", Section((1,), b"MIME"), peek=False)),
        (b"BODY.PEEK[TEXT]<5.10>", FetchItem(b"BODY[]", Section((), b"TEXT"), True, (5, 10))),
        (
            b"BODY.PEEK[2.header.fields.not (Date \"x-y\")]<0.1>",
            FetchItem(b"BODY[]", Section((2,), b"HEADER.FIELDS.NOT", (b"Date", b"x-y")), True, (0, 1)),
        ),
        (b"RFC822", FetchItem(b"RFC822", Section(), peek=False)),
        (b"RFC822.HEADER", FetchItem(b"RFC822.HEADER", Section((), b"HEADER"), peek=True)),
        (b"RFC822.text", FetchItem(b"RFC822.TEXT", Section((), b"TEXT"), peek=False)),
    ],
)
def test_sections(text: bytes, item: FetchItem) -> None:
    assert section(text) == item


def test_header_names_may_be_literals() -> None:
    (item,) = parse(b"BODY[HEADER.FIELDS ({4}\r\n TO)]", b"From")
    assert item.section == Section((), b"HEADER.FIELDS", (b"From", b"TO"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"()",
        b"(ALL)",
        b"NOTHING",
        b"UID FLAGS",
        b"(UID  FLAGS)",
        b"(UID FLAGS",
        b"( UID)",
        b"ENVELOPE[]",
        b"BODYSTRUCTURE[1]",
        b"RFC822[]",
        b"BODY.PEEK",
        b"BODY[",
        b"BODY[MIME]",
        b"BODY[0]",
        b"BODY[01]",
        b"BODY[1.]",
        b"BODY[1..2]",
        b"BODY[1.2.FOO]",
        b"BODY[HEADER.1]",
        b"BODY[HEADER.FIELDS]",
        b"BODY[HEADER.FIELDS ()]",
        b"BODY[HEADER.FIELDS (a:b)]",
        b"BODY[HEADER.FIELDS (\"\")]",
        b"BODY[HEADER.FIELDS (\"a b\")]",
        b"BODY[HEADER (DATE)]",
        b"BODY[]<0>",
        b"BODY[]<0.0>",
        b"BODY[]<1.2",
        b"BODY[]<-1.2>",
        b"BODY[]<0.4294967296>",
        b"BODY[4294967296]",
        b"BODY[" + b"1." * 101 + b"1]",
        b"(" + b" ".join(b"BODY[%d]" % number for number in range(1, MAX_ITEMS + 3)) + b")",
        b"BODY[HEADER.FIELDS (" + b" ".join([b"a"] * (MAX_HEADER_NAMES + 1)) + b")]",
    ],
)
def test_what_is_no_item_is_refused(text: bytes) -> None:
    with pytest.raises(Bad):
        parse(text)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (b"UID", b"UID"),
        (b"RFC822.TEXT", b"RFC822.TEXT"),
        (b"body.peek[]", b"BODY[]"),
        (b"BODY[1.2.text]<3.4>", b"BODY[1.2.TEXT]<3>"),
        (b"body.peek[header.fields (Date \"From\")]", b"BODY[HEADER.FIELDS (Date From)]"),
        (b"BODY[HEADER.FIELDS (\"a(b\\\"c\")]", b'BODY[HEADER.FIELDS ("a(b\\"c")]'),
        (b"BODY[]<0.2048>", b"BODY[]<0>"),
    ],
)
def test_the_answer_repeats_section_and_origin(asked: bytes, told: bytes) -> None:
    assert format_item(section(asked)) == told
