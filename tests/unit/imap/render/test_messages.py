"""Bodies: large ones in pieces, damaged ones left out, and none with a gap in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.base.errors import Corrupt, Expunged, StorageFailed
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import parse_fetch_items
from mstore.imap.render import messages
from mstore.imap.render.messages import PIECE_BYTES, Messages, Program
from mstore.net.stream import StreamFailed
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.view import View

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * (PIECE_BYTES // 8)
SMALL = b"Subject: small\r\n\r\nsmall\r\n"


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    mailbox = Mailbox.create(tmp_path / "box", 7)
    append(mailbox, [NewMessage(message, 0) for message in (SMALL, LARGE, SMALL)])
    yield mailbox.view()
    mailbox.close()


class Failing:
    """A mailbox in which reading one row fails, at once or behind some bytes."""

    def __init__(self, mailbox: Mailbox, row: int, error: Exception, good_bytes: int = 0) -> None:
        self._mailbox, self._row, self._error, self._good_bytes = mailbox, row, error, good_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mailbox, name)

    def read(self, row: int, offset: int = 0, length: int | None = None) -> bytes:
        if row == self._row and not self._good_bytes:
            raise self._error
        return self._mailbox.read(row, offset, length)

    def views(self, row: int, offset: int = 0, length: int | None = None) -> Iterator[memoryview]:
        for piece in self._mailbox.views(row, offset, length):
            if row == self._row:
                yield piece[: self._good_bytes]
                raise self._error
            yield piece

    def derived(self, rows: Any, slots: Any) -> Any:
        if self._row in np.asarray(rows).tolist():
            raise self._error
        return self._mailbox.derived(rows, slots)

    def read_many(self, rows: Any, header_only: bool) -> Any:
        raise self._error


def answer(mailbox: Any, view: View, items: bytes) -> tuple[Messages, list[bytes]]:
    sent: list[bytes] = []
    result = Messages(Program(parse_fetch_items(Cursor(items))), mailbox, view, uid=False)
    result.send(view.seqs_of_rows(view.rows), view.rows, lambda data: sent.append(bytes(data)))
    return result, sent


def test_a_large_body_is_sent_in_pieces(view: View) -> None:
    _, sent = answer(view.mailbox, view, b"(BODY.PEEK[] RFC822.SIZE)")
    assert max(map(len, sent)) <= PIECE_BYTES
    told = b"* 2 FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%b)\r\n* 3" % (len(LARGE), len(LARGE), LARGE)
    assert told in b"".join(sent)


def test_a_part_of_a_large_body_is_cut_exactly(view: View) -> None:
    size = PIECE_BYTES + 5
    _, sent = answer(view.mailbox, view, b"BODY.PEEK[TEXT]<7.%d>" % size)
    assert b"* 2 FETCH (BODY[TEXT]<7> {%d}\r\n%b)\r\n" % (size, LARGE[18 + 7 :][:size]) in b"".join(sent)


@pytest.mark.parametrize("error", [Corrupt("damaged"), Expunged("gone"), StorageFailed("I/O error")])
@pytest.mark.parametrize("items", [b"BODY.PEEK[]", b"(UID BODY.PEEK[1])", b"(ENVELOPE)"])
def test_a_damaged_message_is_left_out(view: View, items: bytes, error: Exception) -> None:
    result, sent = answer(Failing(view.mailbox, 0, error), view, items)
    text = b"".join(sent)
    assert result.failure is error
    assert b"* 1 FETCH" not in text and b"* 2 FETCH" in text and b"* 3 FETCH" in text


def test_a_damaged_message_does_not_spoil_a_sweep(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "FEW_ROWS", 1)
    error = Corrupt("damaged")
    result, sent = answer(Failing(view.mailbox, 0, error), view, b"BODY.PEEK[HEADER]")
    assert result.failure is error
    assert b"".join(sent).count(b"FETCH (BODY[HEADER] {18}\r\n") == 2


@pytest.mark.parametrize("error", [Corrupt("damaged"), Expunged("gone"), StorageFailed("I/O error")])
def test_a_body_that_breaks_off_ends_the_connection(view: View, error: Exception) -> None:
    with pytest.raises(StreamFailed):
        answer(Failing(view.mailbox, 1, error, good_bytes=10), view, b"BODY.PEEK[]")


def test_windows_are_bounded_by_bytes(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "WINDOW_BYTES", 2000)
    _, sent = answer(view.mailbox, view, b"(ENVELOPE BODY.PEEK[TEXT]<0.1>)")
    assert [piece.count(b" FETCH ") for piece in sent] == [1, 1, 1]
