"""Headers: their end, their fields, unfolding, picking."""

import itertools
import re
import time

import pytest

from mstore.mail.header import fields, header_end, pick_fields, strip_comments, unescape, unfold


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (b"", 0),
        (b"\r\n", 2),
        (b"\n", 1),
        (b"\r\nbody", 2),
        (b"A: b", 4),
        (b"A: b\r\n", 6),
        (b"A: b\r\n\r\n", 8),
        (b"A: b\r\n\r\nbody\r\n\r\n", 8),
        (b"A: b\n\nbody", 6),
        (b"A: b\n\r\nbody", 7),
        (b"A: b\r\n\nbody", 7),
        (b"A: b\r\n \r\n\r\nbody", 11),
        (b"A: b\r\rbody", 10),
    ],
)
def test_header_ends_behind_the_first_empty_line(message: bytes, end: int) -> None:
    assert header_end(message) == end


def test_header_end_within_a_range() -> None:
    message = b"A: b\r\n\r\nC: d\r\n\r\nbody"
    assert header_end(message, 8) == 16
    assert header_end(message, 8, 12) == 12


def test_fields_have_names_values_and_places() -> None:
    message = b"A: one\r\nno field\r\nB :two\r\n\tfolded\r\n: nameless\r\nC:\r\n\r\nD: body\r\n"
    found = fields(message, header_end(message))
    assert [(field.name, field.value) for field in found] == [
        (b"A", b" one\r"),
        (b"B", b"two\r\n\tfolded\r"),
        (b"C", b"\r"),
    ]
    assert message[found[1].start : found[1].end] == b"B :two\r\n\tfolded\r\n"


def test_unfolding_removes_line_ends_only() -> None:
    assert unfold(b" a\r\n b\n\tc  d \r") == b"a b\tc  d"


@pytest.mark.parametrize(
    ("names", "exclude", "picked"),
    [
        ([b"b", b"A"], False, b"A: 1\r\nB: 2\r\n 3\r\na: 4\r\n\r\n"),
        ([b"b", b"A"], True, b"C: 5\r\n\r\n"),
        ([b"D"], False, b"\r\n"),
        ([], True, b"A: 1\r\nB: 2\r\n 3\r\na: 4\r\nC: 5\r\n\r\n"),
    ],
)
def test_picked_fields_end_with_the_empty_line(names: list[bytes], exclude: bool, picked: bytes) -> None:
    """RFC 3501 §6.4.5."""
    assert pick_fields(b"A: 1\r\nB: 2\r\n 3\r\na: 4\r\nC: 5\r\n\r\n", names, exclude) == picked


def test_picked_fields_of_a_header_without_empty_line_have_none() -> None:
    assert pick_fields(b"A: 1\r\nB: 2", [b"b"]) == b"B: 2\r\n"
    assert pick_fields(b"A: 1\r\nB: 2", [b"c"]) == b""


@pytest.mark.parametrize(
    ("value", "stripped"),
    [
        (b"a (b) c", b"a   c"),
        (b"a (b (c) d) e", b"a   e"),
        (b'"a (b)" (c)', b'"a (b)"  '),
        (b"a (b", b"a  "),
        (b"a \\(b", b"a \\(b"),
        (b"(a\\)b)c", b" c"),
    ],
)
def test_comments_are_stripped_outside_quotes(value: bytes, stripped: bytes) -> None:
    assert strip_comments(value) == stripped


def test_each_backslash_goes_and_what_stands_behind_it_stays() -> None:
    for count in range(8):
        for octets in itertools.product(b"\\ab", repeat=count):
            value = bytes(octets)
            assert unescape(value) == re.sub(rb"\\([\s\S])", rb"\1", value), value
    every = bytes(range(256)) + b"\\\\\\x"
    assert unescape(every) == re.sub(rb"\\([\s\S])", rb"\1", every)
    begun = time.process_time()
    assert unescape(b"\\" * 2_000_001) == b"\\" * 1_000_001
    assert time.process_time() - begun < 2
