"""Lines of columns: a vector of rows is told like each row alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mstore.imap.render.lines import FEW_ROWS, WINDOW_ROWS, FlagTexts, Lines, format_lines
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.view import View

ALL = (b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE")
LATER = (b"MODSEQ", b"EMAILID", b"THREADID", b"SAVEDATE")
LONG = [b"k%02d-" % number + b"x" * 200 for number in range(8)]


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    mailbox = Mailbox.create(tmp_path / "box", 7)
    messages = [
        NewMessage(b"x" * (number * 37 % 200), number * 10_000_019, number % 32, (b"$Odd",) * (number % 2))
        for number in range(100)
    ]
    append(mailbox, messages[:60])
    mailbox.view(recent=True)
    append(mailbox, messages[60:])
    with mailbox.transaction() as tx:
        tx.expunge([0, 10, 11])
    yield mailbox.view(recent=True)
    mailbox.close()


def each(lines: Lines, view: View) -> bytes:
    rows = view.rows
    seqs = view.seqs_of_rows(rows)
    return b"".join(lines.one(s, r) + b")\r\n" for s, r in zip(seqs.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize(
    "items", [ALL, ALL + LATER, LATER, (b"FLAGS",), (b"UID",), (b"RFC822.SIZE", b"INTERNALDATE"), ()]
)
def test_a_vector_is_told_like_each_row_alone(view: View, items: tuple[bytes, ...]) -> None:
    lines = Lines(items, view.mailbox, view)
    rows, seqs = view.rows, view.seqs_of_rows(view.rows)
    view.mailbox.columns.full.modseq[rows[5:]] += np.uint64(1 << 62)
    assert b"".join(lines.whole(seqs, rows)) == each(lines, view)
    beginnings = lines.beginnings(seqs, rows)
    assert b"".join(text + b")\r\n" for text in beginnings) == each(lines, view)
    some = slice(20, 20 + FEW_ROWS)
    assert lines.beginnings(seqs[some], rows[some]) == beginnings[some]
    assert len(rows) == 97 and lines.empty == (not items)


def test_the_exact_form(view: View) -> None:
    rows = view.rows[70:71]
    (line,) = Lines(ALL, view.mailbox, view).whole(view.seqs_of_rows(rows), rows)
    assert line == (
        rb"* 71 FETCH (UID 74 FLAGS (\Seen \Deleted \Recent $Odd) "
        b'INTERNALDATE "18-Feb-1993 02:09:47 +0000" RFC822.SIZE 101)\r\n'
    )


def test_recent_is_told_of_those_that_are(view: View) -> None:
    rows, seqs = view.rows, view.seqs_of_rows(view.rows)
    lines = b"".join(format_lines(view.mailbox, view, seqs, rows, b"UID", b"FLAGS")).splitlines()
    assert [b"\\Recent" in line for line in lines] == [False] * 57 + [True] * 40


def test_flag_lists_of_any_length_are_told(view: View) -> None:
    mailbox = view.mailbox
    with mailbox.transaction() as tx:
        bits = tx.keyword_bits(LONG, create=True)
        tx.flags(view.rows[::3], "add", bits)
        tx.flags(view.rows[1::3], "add", 1 << 9)
    lines = Lines((b"FLAGS",), mailbox, view)
    told = b"".join(lines.whole(view.seqs_of_rows(view.rows), view.rows))
    assert told == each(lines, view)
    assert told.count(LONG[7]) == len(view.rows[::3])


def test_bits_without_a_meaning_are_not_told() -> None:
    texts = FlagTexts([b"a"])
    assert texts[1 << 9] == b""
    assert texts[0b1_0011_1111] == b"\\Seen \\Answered \\Flagged \\Deleted \\Draft \\Recent a"


def test_windows_join_without_a_seam(tmp_path: Path) -> None:
    count = WINDOW_ROWS * 2 + FEW_ROWS
    mailbox = Mailbox.create(tmp_path / "box", 7)
    append(mailbox, [NewMessage(b"", number) for number in range(count)])
    view = mailbox.view()
    pieces = list(Lines((b"UID",), mailbox, view).whole(np.arange(1, count + 1), view.rows))
    assert len(pieces) == 3
    assert b"".join(pieces) == b"".join(b"* %d FETCH (UID %d)\r\n" % (n, n) for n in range(1, count + 1))
    mailbox.close()
