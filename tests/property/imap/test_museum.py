"""Every exhibit and monster of the museum, asked for in every form: legal, soon, and in little memory.

Each is stored as it would be, and fetched as the command does it; the strict reader of the client's side
looks at every response. The one of a hundred megabytes is fetched from real daemons (``tests/system``).
"""

import re
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import parse_fetch_items
from mstore.imap.render.messages import Messages, Program
from mstore.mail.mime import DEPTH_LIMIT, PART_LIMIT, parse
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.view import View
from tests.kit import museum
from tests.kit.imapgrammar import check_response
from tests.kit.yardstick import allow

PEOPLE = b"(DATE FROM Subject TO X-Nothing)"
FORMS = (
    b"ENVELOPE",
    b"BODY",
    b"BODYSTRUCTURE",
    b"PREVIEW",
    b"RFC822",
    b"RFC822.HEADER",
    b"RFC822.TEXT",
    b"BODY.PEEK[]",
    b"BODY.PEEK[]<0.1000>",
    b"BODY.PEEK[]<1000000000.1000>",
    b"BODY.PEEK[HEADER]",
    b"BODY.PEEK[HEADER.FIELDS " + PEOPLE + b"]",
    b"BODY.PEEK[HEADER.FIELDS.NOT " + PEOPLE + b"]",
    b"BODY.PEEK[TEXT]",
    b"BINARY.PEEK[]",
    b"BINARY.SIZE[]",
)
OF_PARTS = (
    b"BODY.PEEK[%b]",
    b"BODY.PEEK[%b]<7.100>",
    b"BODY.PEEK[%b.MIME]",
    b"BODY.PEEK[%b.HEADER]",
    b"BODY.PEEK[%b.HEADER.FIELDS " + PEOPLE + b"]",
    b"BODY.PEEK[%b.HEADER.FIELDS.NOT " + PEOPLE + b"]",
    b"BODY.PEEK[%b.TEXT]",
    b"BINARY.PEEK[%b]",
    b"BINARY.SIZE[%b]",
)
MOST_S = 10.0
"""For one item of one monster; what is quadratic takes minutes."""
MOST_BYTES = 64 << 20
"""Above what the message itself takes: its structure, and the pieces under way."""
EMPTY = b"\r\n"
"""An empty message cannot be stored."""

KINDS = {
    "bad MIME": "cut-in-boundary",
    "no headers": "no-header",
    "8-bit everywhere": "eight-bit-everywhere",
    "10,000 parts": "ten-thousand-parts",
    "100 levels": "hundred-levels",
    "100 levels of messages": "hundred-messages",
    "NULs": "nul-lines",
    "bare LF": "bare-lf",
    "bare CR": "bare-cr",
    "empty": "empty",
    "lines of 1 MB": "long-line",
}


def large() -> dict[str, bytes]:
    """The monsters, and the deepest and widest that are looked into."""
    return {
        **dict(museum.monsters()),
        "ten-thousand-parts": museum.many_parts(PART_LIMIT - 1),
        "more-parts": museum.many_parts(PART_LIMIT + 5000),
        "hundred-levels": museum.nested_multiparts(DEPTH_LIMIT - 1),
        "more-levels": museum.nested_multiparts(DEPTH_LIMIT + 100),
        "hundred-messages": b"Content-Type: message/rfc822\r\n\r\n" * (DEPTH_LIMIT - 1) + b"\r\nend\r\n",
    }


LARGE = large()
SMALL = dict(museum.exhibits())


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    mailbox = Mailbox.create(tmp_path / "box", 7)
    yield mailbox
    mailbox.close()


def paths(message: bytes, most: int = 12) -> list[bytes]:
    """The numbers of some parts: the first, the last and the deepest, and of some that are not there."""
    found: list[tuple[int, ...]] = [(9,), (1, 1, 1)]

    def visit(part: object, path: tuple[int, ...]) -> None:
        inner = part.message if getattr(part, "message", None) else part  # type: ignore[attr-defined]
        children = list(inner.parts or ())
        if not children and inner is not part:
            found.append((*path, 1))
            visit(inner, (*path, 1))
        for number in {1, 2, len(children)}:
            if 0 < number <= len(children):
                found.append((*path, number))
                if len(path) < DEPTH_LIMIT:
                    visit(children[number - 1], (*path, number))

    root = parse(message)
    found.append((1,))
    visit(root, ())
    unique = sorted(set(found), key=lambda path: (len(path), path))
    chosen = unique if len(unique) <= most else [*unique[: most - 2], *unique[-2:]]
    return [b".".join(b"%d" % number for number in path) for path in chosen]


def fetch(view: View, item: bytes) -> bytes:
    sent: list[bytes] = []
    messages = Messages(Program(parse_fetch_items(Cursor(item))), view.mailbox, view, False)
    messages.send(view.seqs_of_rows(view.rows), view.rows, sent.append)
    if messages.failure is not None:
        # What cannot be decoded is left out, and the command says so.
        assert item.startswith(b"BINARY") and type(messages.failure).__name__ == "UnknownEncoding"
        assert not sent
        return b""
    return b"".join(sent)


def store(mailbox: Mailbox, message: bytes) -> View:
    append(mailbox, [NewMessage(message or EMPTY, 1_000_000_000, 0, ())])
    return mailbox.view()


def forms(message: bytes, most: int = 12) -> list[bytes]:
    return [*FORMS, *(form % path for path in paths(message, most) for form in OF_PARTS)]


def test_the_museum_has_every_kind() -> None:
    assert set(KINDS.values()) <= {*SMALL, *LARGE}
    assert not SMALL["empty"] and b"\0" in LARGE["nul-lines"]
    assert max(map(len, re.split(rb"\r\n", LARGE["long-line"]))) >= 1 << 20
    assert len(list(parse(LARGE["ten-thousand-parts"]).walk())) == PART_LIMIT == 10_000
    assert DEPTH_LIMIT == 100


@pytest.mark.parametrize("name", SMALL)
def test_exhibits_are_told_legally_in_every_form(mailbox: Mailbox, name: str) -> None:
    view = store(mailbox, SMALL[name])
    for form in forms(SMALL[name]):
        response = fetch(view, form)
        if response:
            check_response(response)


@pytest.mark.parametrize("name", LARGE)
def test_monsters_are_told_legally_and_soon_in_every_form(mailbox: Mailbox, name: str) -> None:
    most_s, begun = allow(MOST_S), time.process_time()
    view = store(mailbox, LARGE[name])
    assert time.process_time() - begun < most_s
    for form in forms(LARGE[name], 3):
        begun = time.process_time()
        response = fetch(view, form)
        assert time.process_time() - begun < most_s, form
        if response:
            check_response(response)


@pytest.mark.parametrize("name", LARGE)
def test_monsters_are_told_in_little_memory(mailbox: Mailbox, name: str) -> None:
    message = LARGE[name]
    view = store(mailbox, message)
    for form in (*FORMS, *(form % path for path in paths(message, 3)[-1:] for form in OF_PARTS)):
        program = Program(parse_fetch_items(Cursor(form)))
        tracemalloc.start()
        try:
            messages = Messages(program, view.mailbox, view, False)
            messages.send(view.seqs_of_rows(view.rows), view.rows, lambda data: None)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MOST_BYTES + 4 * len(message), f"{form!r} takes {peak >> 20} MB"
