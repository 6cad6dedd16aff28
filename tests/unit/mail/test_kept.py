"""Which fields of a header are put aside, and how."""

import struct
from itertools import pairwise

import pytest

from mstore.mail.header import header_end
from mstore.mail.kept import KEPT, LIMIT_BYTES, MOST_FIELDS, format_kept, mark_numbers


def kept(message: bytes) -> list[tuple[bytes, bytes]]:
    """Name and text of each field that is kept."""
    slot = format_kept(message, header_end(message))
    count = slot[0]
    places = struct.unpack_from(f"<{count + 1}H", slot, 1 + count)
    assert places[0] == 1 + count + 2 * (count + 1) and places[-1] == len(slot)
    texts = [slot[begin:end] for begin, end in pairwise(places)]
    return [(KEPT[number], text) for number, text in zip(slot[1 : 1 + count], texts, strict=True)]


def test_fields_are_kept_as_they_stand_in_the_order_of_the_header() -> None:
    message = (
        b"Received: one\r\n\ttwo\r\nSUBJECT : a\r\n b\r\n\t\r\nno field\r\n from: lost\r\nX-From: c\r\n"
        b"from: \xe4\nFrom:\r\nDate: d\r\n\r\nTo: body\r\n"
    )
    assert kept(message) == [
        (b"subject", b"SUBJECT : a\r\n b\r\n\t\r\n"),
        (b"from", b"from: \xe4\n"),
        (b"from", b"From:\r\n"),
        (b"date", b"Date: d\r\n"),
    ]


def test_that_there_is_none_is_kept_too() -> None:
    assert kept(b"Received: one\r\n\r\n") == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\r\n",
        b"From: a\r\n",
        b"From: a\n\n",
        b"From: a\n\r\n",
        b"From: a\0\r\n\r\n",
        b"From: %b\r\n\r\n" % (b"a" * LIMIT_BYTES),
        b"To: a\r\n" * (MOST_FIELDS + 1) + b"\r\n",
    ],
)
def test_what_is_unusual_is_left_in_its_header(message: bytes) -> None:
    assert format_kept(message, header_end(message)) == b""


def test_as_much_as_fits_is_kept() -> None:
    assert len(kept(b"To: a\r\n" * MOST_FIELDS + b"\r\n")) == MOST_FIELDS
    value = b"a" * (LIMIT_BYTES - 8)
    assert kept(b"To: %b \r\nX: \0\r\n\r\n" % value[:-1]) == [(b"to", b"To: %b \r\n" % value[:-1])]


def test_names_are_numbered_in_any_case_or_not_at_all() -> None:
    marks = mark_numbers([b"Subject", b"DATE", b"date"])
    assert marks is not None and len(marks) == 256
    assert {KEPT[number] for number in range(256) if marks[number]} == {b"date", b"subject"}
    assert mark_numbers([b"Subject", b"Received"]) is None
    assert len(set(KEPT)) == len(KEPT) and all(name == name.lower() for name in KEPT)
