"""However many messages a FETCH asks for, each is answered as if it were alone, and legally."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import parse_fetch_items
from mstore.imap.render.messages import Messages, Program
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.view import View
from tests.kit.imapgrammar import check_response
from tests.kit.museum import exhibits

LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")
ITEMS = [
    b"UID",
    b"FLAGS",
    b"INTERNALDATE",
    b"MODSEQ",
    b"EMAILID",
    b"SAVEDATE",
    b"RFC822.SIZE",
    b"ENVELOPE",
    b"BODY",
    b"BODYSTRUCTURE",
    b"RFC822.HEADER",
    b"RFC822.TEXT",
    b"RFC822",
    b"BODY.PEEK[]",
    b"BODY.PEEK[]<3.40>",
    b"BODY.PEEK[HEADER]<5.1>",
    b"BODY.PEEK[TEXT]<0.10>",
    b"BODY.PEEK[1]",
    b"BODY.PEEK[1.MIME]",
    b"BODY.PEEK[2.HEADER]",
    b"BODY.PEEK[1.1]<0.4294967295>",
    b"BODY.PEEK[1.TEXT]",
    b"BODY.PEEK[HEADER.FIELDS (DATE FROM Subject X-Nothing)]",
    b"BODY.PEEK[HEADER.FIELDS (from TO Subject Date Message-ID)]",
    b"BODY.PEEK[HEADER.FIELDS (References Content-Type In-Reply-To X-Priority)]",
    b"BODY.PEEK[HEADER.FIELDS.NOT (RECEIVED to)]",
    b"BODY.PEEK[HEADER.FIELDS (Content-Type)]<2.20>",
    b"BODY.PEEK[1.HEADER.FIELDS (SUBJECT)]",
]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    path: Path = tmp_path_factory.mktemp("fetch") / "box"
    mailbox = Mailbox.create(path, 7)
    for number, (_, message) in enumerate(exhibits()):
        keywords = (b"$K%d" % (number % 5),) if number % 3 == 0 else ()
        append(mailbox, [NewMessage(message, 1_000_000_000 + number * 86_461, number % 32, keywords)])
    yield mailbox.view(recent=True)
    mailbox.close()


def fetch(
    view: View,
    rows: "np.ndarray[tuple[int], np.dtype[np.int32]]",
    items: bytes,
    uid: bool,
    uid_only: bool = False,
) -> bytes:
    sent: list[bytes] = []
    program = Program(parse_fetch_items(Cursor(items)))
    Messages(program, view.mailbox, view, uid, uid_only).send(view.seqs_of_rows(rows), rows, sent.append)
    return b"".join(sent)


def split(data: bytes) -> list[bytes]:
    """Whole responses, literals included."""
    responses = []
    start = at = 0
    while at < len(data):
        end = data.index(b"\r\n", at) + 2
        literal = LITERAL.search(data, at, end)
        if literal is not None:
            at = end + int(literal[1])
            continue
        responses.append(data[start:end])
        start = at = end
    return responses


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=6, unique=True).map(
        lambda names: b"(" + b" ".join(names) + b")"
    ),
    uid=st.booleans(),
    uid_only=st.booleans(),
    step=st.integers(1, 9),
)
def test_many_messages_are_answered_like_each_alone(
    view: View, items: bytes, uid: bool, uid_only: bool, step: int
) -> None:
    rows = view.rows[::step]
    together = split(fetch(view, rows, items, uid, uid_only))
    assert len(together) == len(rows)
    for place, response in enumerate(together):
        check_response(response)
        assert response == fetch(view, rows[place : place + 1], items, uid, uid_only)


@pytest.mark.parametrize("item", ITEMS)
def test_every_item_of_every_exhibit_is_legal(view: View, item: bytes) -> None:
    responses = split(fetch(view, view.rows, b"(" + item + b")", uid=False))
    assert len(responses) == view.count > 50
    for response in responses:
        check_response(response)


def test_whole_messages_are_sent_byte_for_byte(view: View) -> None:
    for place, (name, message) in enumerate(exhibits()):
        told = fetch(view, view.rows[place : place + 1], b"BODY.PEEK[]", uid=False)
        expected = message.replace(b"\0", b"\x80")  # NUL is no CHAR8 (RFC 3501 §9)
        assert told == b"* %d FETCH (BODY[] {%d}\r\n%b)\r\n" % (place + 1, len(message), expected), name
