"""Header fields of many messages are those that stand in the headers, whatever these look like."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import parse_fetch_items
from mstore.imap.render import messages as rendering
from mstore.imap.render.messages import Messages, Program
from mstore.mail.header import header_end, pick_fields
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox

KEPT = [b"From", b"TO", b"subject", b"Date", b"Message-ID", b"In-Reply-To", b"References", b"X-Priority"]
OTHERS = [b"Received", b"X-Nothing", b"Dat", b"Dates", b"X"]
MORE_THAN_A_FEW = 8


def _in_case(name: bytes, seed: int) -> bytes:
    return bytes(
        octet ^ 0x20 if seed >> place & 1 and octet > 64 else octet for place, octet in enumerate(name)
    )


names = st.builds(_in_case, st.sampled_from(KEPT + OTHERS), st.integers(0, 15))
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
values = st.binary(max_size=12) | st.sampled_from([b"", b" a", b" \xc3\xa4 <a@b>", b"\r", b" a: b", b"\0"])
folds = st.lists(
    st.builds(bytes.__add__, st.sampled_from([b"\r\n ", b"\n\t", b"\r\n \r\n\t"]), values), max_size=2
)
fields = st.builds(
    lambda name, colon, value, more, end: name + colon + value + b"".join(more) + end,
    names,
    st.sampled_from([b":", b": ", b" :", b"\t : "]),
    values,
    folds,
    ends,
)
lines = (
    fields | fields | st.sampled_from([b"no field\r\n", b" lost\r\n", b":\r\n", b"From\r\n", b"A B: c\r\n"])
)
messages = st.builds(
    lambda head, rest: b"".join(head) + rest,
    st.lists(lines, max_size=8),
    st.sampled_from([b"\r\n", b"\r\nFrom: body\r\n", b"\r\n\0", b"\n", b"\nx", b"", b"To: x", b"To: x\r\n"]),
)
asked = st.lists(st.sampled_from(KEPT), min_size=1, max_size=5) | st.lists(names, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    path: Path = tmp_path_factory.mktemp("fields") / "box"
    mailbox = Mailbox.create(path, 7)
    yield mailbox
    mailbox.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(messages, min_size=MORE_THAN_A_FEW, max_size=MORE_THAN_A_FEW + 4),
    asked=st.lists(
        st.tuples(asked, st.sampled_from([b"", b"", b".NOT"]), st.booleans()), min_size=1, max_size=2
    ),
    many=st.sampled_from([1, 1, 1, rendering.MANY_ROWS]),
)
def test_the_fields_of_many_headers_are_those_of_each(
    mailbox: Mailbox, contents: list[bytes], asked: list[tuple[list[bytes], bytes, bool]], many: int
) -> None:
    append(mailbox, [NewMessage(content, 0) for content in contents])
    view = mailbox.view()
    rows = view.rows[-len(contents) :]
    labels = [
        b"BODY[HEADER.FIELDS%b (%b)]" % (exclude, b" ".join(names)) + (b"<0>" if cut else b"")
        for names, exclude, cut in asked
    ]
    items = [
        label.replace(b"BODY[", b"BODY.PEEK[").replace(b"<0>", b"<0.10>") for label in dict.fromkeys(labels)
    ]
    sent: list[bytes] = []
    program = Program(parse_fetch_items(Cursor(b"(" + b" ".join(items) + b")")))
    with patch.object(rendering, "MANY_ROWS", many):
        Messages(program, mailbox, view, uid=False).send(view.seqs_of_rows(rows), rows, sent.append)
    told = b"".join(sent)
    for seq, content in zip(view.seqs_of_rows(rows).tolist(), contents, strict=True):
        texts = []
        for label, (names, exclude, cut) in dict(zip(labels, asked, strict=True)).items():
            text = pick_fields(content[: header_end(content)], names, bool(exclude))[: 10 if cut else None]
            texts.append(b"%b {%d}\r\n" % (label, len(text)) + text.replace(b"\0", b"\x80"))
        response = b"* %d FETCH (%b)\r\n" % (seq, b" ".join(texts))
        assert told.startswith(response)
        told = told[len(response) :]
    assert told == b""
