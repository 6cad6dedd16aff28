"""BINARY of parts that are too large to be decoded whole."""

from __future__ import annotations

import base64

import pytest

from mstore.imap.grammar.fetchitems import FetchItem, Section
from mstore.imap.render.binary import SMALL_BYTES, BinaryItem
from mstore.mail.parts import BASE64, TEXT, PartOffsets

UNIX = b"a line of text\n" * (SMALL_BYTES // 10)
MIXED = UNIX + b"the end\r\n"


def rendered(name: bytes, text: bytes, partial: tuple[int, int] | None = None) -> bytes:
    """The value of an item for a message that is one text in base64."""
    body = base64.encodebytes(text).replace(b"\n", b"\r\n")
    section = Section((1,))
    item = BinaryItem(FetchItem(name, section, partial=partial), section)
    root = PartOffsets(0, 0, len(body), TEXT, BASE64, b"", 0, 0, b"")

    def pieces(start: int, size: int) -> list[bytes]:
        return [body[at : at + 7001] for at in range(start, start + size, 7001)]

    value = item.render(root, pieces)
    whole = value.text + b"".join(value.rest)
    assert len(value.text) + value.size_bytes == len(whole)
    return whole


@pytest.mark.parametrize("text, sent", [(UNIX, UNIX.replace(b"\n", b"\r\n")), (MIXED, MIXED)])
def test_line_ends_of_a_large_text_are_those_of_a_small_one(text: bytes, sent: bytes) -> None:
    assert rendered(b"BINARY.SIZE[]", text) == b"%d" % len(sent)
    assert rendered(b"BINARY[]", text) == b"{%d}\r\n" % len(sent) + sent
    assert rendered(b"BINARY[]", text, (14, 100_000)) == b"{100000}\r\n" + sent[14:100_014]
