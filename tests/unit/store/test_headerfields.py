"""Fields of many headers at once, out of what is kept beside the messages."""

from __future__ import annotations

import os

import numpy as np

from mstore.mail.kept import mark_numbers
from mstore.store.append import NewMessage, append
from mstore.store.copy import copy
from mstore.store.mailbox import Mailbox

NAMES = (b"from", b"to", b"subject")
MARKS = mark_numbers(NAMES) or b""


def content(number: int) -> bytes:
    """A message whose fields asked for are apart from each other or not, and lack at times."""
    middle = b"Date: d\r\n" if number % 2 else b""
    cc = b"To: t\r\n" * (number % 3)
    return b"X: y\r\nFrom: %d\r\n%bSubject: s%d\r\n s\r\n%b\r\nbody\r\n" % (number, middle, number, cc)


def expected(number: int) -> bytes:
    return b"From: %d\r\nSubject: s%d\r\n s\r\n%b" % (number, number, b"To: t\r\n" * (number % 3))


def fill(mailbox: Mailbox, count: int) -> None:
    append(mailbox, [NewMessage(content(number), 0) for number in range(count)])


def read(mailbox: Mailbox, rows: list[int]) -> tuple[list[bytes], list[int]]:
    """The texts of rows, and which are absent."""
    found = mailbox.header_fields(np.array(rows, np.int32), MARKS)
    texts = [b"".join(column[place] for column in found.pieces) for place in range(len(rows))]
    for place, text in enumerate(texts):
        assert found.lengths[place] == (-1 if place in found.absent else len(text))
    return texts, found.absent


def test_fields_are_cut_in_the_order_of_the_rows(mailbox: Mailbox) -> None:
    fill(mailbox, 3000)
    rows = [*range(3000)]
    assert read(mailbox, rows) == ([expected(row) for row in rows], [])
    rows = [2999, 0, 7, 8, 5, 1500]
    assert read(mailbox, rows) == ([expected(row) for row in rows], [])
    assert read(mailbox, []) == ([], [])


def test_nothing_is_cut_where_nothing_is_asked_for(mailbox: Mailbox) -> None:
    fill(mailbox, 3)
    found = mailbox.header_fields(np.arange(3), mark_numbers([b"bcc"]) or b"")
    assert (found.pieces, found.lengths, found.absent) == ([], [0, 0, 0], [])


def test_unusual_headers_are_absent_between_others(mailbox: Mailbox) -> None:
    odd = [NewMessage(b"From: no end\r\n", 0), NewMessage(b"From: \0\r\n\r\n", 0)]
    append(mailbox, [odd[0], NewMessage(content(1), 0), odd[1], NewMessage(content(2), 0)])
    assert read(mailbox, [0, 1, 2, 3]) == ([b"", expected(1), b"", expected(2)], [0, 2])
    assert read(mailbox, [2]) == ([b""], [0])


def test_fields_of_copies_are_kept(mailbox: Mailbox) -> None:
    fill(mailbox, 4)
    copy(np.array([1, 3]), mailbox, mailbox)
    assert read(mailbox, [4, 5]) == ([expected(1), expected(3)], [])


def test_a_missing_file_is_made_again(mailbox: Mailbox) -> None:
    fill(mailbox, 5)
    mailbox.rest()
    os.unlink(mailbox.path / "derived")
    assert read(mailbox, [0, 1, 2, 3, 4]) == ([b""] * 5, [0, 1, 2, 3, 4])
    assert read(mailbox, [0, 1, 2, 3, 4]) == ([expected(number) for number in range(5)], [])


def test_damage_anywhere_is_noticed(mailbox: Mailbox) -> None:
    fill(mailbox, 4)
    path = mailbox.path / "derived"
    sound = path.read_bytes()
    for at in range(0, len(sound), 13):
        mailbox.rest()
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x11]) + sound[at + 1 :])
        damaged = Mailbox(mailbox.path)
        texts, absent = read(damaged, [0, 1, 2, 3])
        assert all(texts[place] == (b"" if place in absent else expected(place)) for place in range(4))
        assert read(damaged, [0, 1, 2, 3]) == ([expected(number) for number in range(4)], [])
        damaged.close()
