"""Sections: where they lie, and which header fields are picked."""

import pytest

from mstore.imap.grammar.fetchitems import FetchItem, Section
from mstore.imap.render.section import MANY_END, Fields, SectionItem, legal_bytes, legal_view
from mstore.mail.header import pick_fields
from tests.kit.museum import exhibits

HEADER = (
    b"Received: one\r\n\tfolded\r\nDATE : today\r\nFrom: a\r\nX-From: no\r\nfrom: b\r\n c\r\n"
    b"Subject:\r\nTo: date: x\r\n\r\n"
)


@pytest.mark.parametrize(
    ("names", "picked"),
    [
        ([b"from"], b"From: a\r\nfrom: b\r\n c\r\n\r\n"),
        ([b"Date", b"SUBJECT"], b"DATE : today\r\nSubject:\r\n\r\n"),
        ([b"Received"], b"Received: one\r\n\tfolded\r\n\r\n"),
        ([b"nothing", b"fro", b"x"], b"\r\n"),
        ([b"To", b"to", b"TO"], b"To: date: x\r\n\r\n"),
        ([b"x-from"], b"X-From: no\r\n\r\n"),
        ([b"a.c", b"]", b"-", b"^", b"\\"], b"\r\n"),
    ],
)
def test_fields_are_picked_by_name(names: list[bytes], picked: bytes) -> None:
    fields = Fields(names, exclude=False)
    assert fields.pick(HEADER) == picked == pick_fields(HEADER, names)
    many = fields.pick_many([HEADER, b"Other: x\r\n\r\n", HEADER])
    assert many is not None
    assert [(text + MANY_END)[1:] for text in many] == [picked, b"\r\n", picked]


def test_other_fields_are_picked_by_exclusion() -> None:
    fields = Fields([b"received", b"from", b"to"], exclude=True)
    assert fields.pick(HEADER) == b"DATE : today\r\nX-From: no\r\nSubject:\r\n\r\n"
    assert fields.pick_many([HEADER]) is None


ODD = [b"", b"From: x", b"From: x\r\n", b"From: x\n\n", b"From: \0\r\n\r\n", b"\r\n"]


@pytest.mark.parametrize("odd", ODD)
def test_unusual_headers_are_left_to_the_careful_way(odd: bytes) -> None:
    assert Fields([b"from"], exclude=False).pick_many([HEADER, odd]) is None


def test_both_ways_agree_over_the_museum() -> None:
    names = [b"from", b"Subject", b"content-type"]
    fields = Fields(names, exclude=False)
    compared = 0
    for name, message in exhibits():
        header = message[: message.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in message else message
        assert fields.pick(header) == pick_fields(header, names), name
        many = fields.pick_many([header, header])
        if many is not None:
            compared += 1
            assert (many[1] + MANY_END)[1:] == fields.pick(header), name
    assert compared > 20


@pytest.mark.parametrize(
    ("section", "place"),
    [
        (Section(), (0, 100)),
        (Section((), b"HEADER"), (0, 30)),
        (Section((), b"TEXT"), (30, 100)),
        (Section((), b"HEADER.FIELDS", (b"To",)), (0, 30)),
    ],
)
def test_sections_of_the_message_follow_from_two_numbers(section: Section, place: tuple[int, int]) -> None:
    assert SectionItem(FetchItem(b"BODY[]", section), section).find(30, 100, b"") == place


@pytest.mark.parametrize(
    ("partial", "cut"),
    [
        (None, (10, 50)),
        ((0, 5), (10, 15)),
        ((38, 9), (48, 50)),
        ((40, 1), (50, 50)),
        ((4294967295, 4), (50, 50)),
    ],
)
def test_partials_are_truncated(partial: tuple[int, int] | None, cut: tuple[int, int]) -> None:
    item = SectionItem(FetchItem(b"BODY[]", Section(), partial=partial), Section())
    assert item.cut(10, 50) == cut


def test_nul_is_never_sent_in_a_literal() -> None:
    assert legal_bytes(b"a\0b\0") == b"a\x80b\x80"
    assert legal_view(memoryview(b"a\0b\0")[1:]) == b"\x80b\x80"
    untouched = memoryview(b"\0ab\xff")[1:]
    assert legal_view(untouched) is untouched
