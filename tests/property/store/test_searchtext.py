"""The short ways through plain messages find what decoding all of each message finds."""

import base64
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstore.mail.casemap import casemap
from mstore.mail.decode import decode_words
from mstore.mail.summary import PARTS, summarize
from mstore.store.searchtext import Message, Needle, in_header

WORDS = [
    "Alpha",
    "bETA",
    "a",
    "=?",
    "?=",
    "{x}",
    "-",
    "utf-8",
    "Q?",
    "=41",
    "\r\n",
    " ",
    "\t",
    ":",
    "Größe",
    "é",
]
ENCODED = [
    "=?utf-8?q?al=C3=A9?=",
    "=?utf-8?B?QmV0YQ==?=",
    "=?us-ascii?q?a=0Ab?=",
    "=?latin1?q?=E9?=",
    "=?x?=?=",
]
CHARSETS = ["utf-8", "us-ascii", "iso-2022-jp", "utf-16", "utf-7", "latin1"]
TEXTS = st.lists(st.sampled_from([*WORDS, *ENCODED]), max_size=9).map("".join)
LINES = st.lists(st.sampled_from([*WORDS, *ENCODED, "\r\n ", "\n\t", "\r\n\f", "\v"]), max_size=9).map(
    "".join
)


def as_value(line: str) -> str:
    """A field's value: no line in it is empty."""
    return re.sub(r"\r?\n(?=\r?\n|$)", "", line.strip("\r\n"))


HEADERS = st.lists(LINES.map(as_value), max_size=4).map(
    lambda lines: "".join(f"{line[:1] and 'Name: '}{line}\r\n" for line in lines if line)
)
NEEDLES = st.one_of(
    st.sampled_from(
        [
            "alpha",
            "beta",
            "utf",
            "al",
            "a",
            "BET",
            "GRÖ",
            "alé",
            "e",
            "NAME: A",
            " ",
            "\r\n",
            "e\nN",
            "{X}",
            "[x]",
        ]
    ),
    TEXTS.filter(bool),
)


@st.composite
def messages(draw: Any, depth: int = 2) -> bytes:
    header = draw(HEADERS)
    kind = draw(st.sampled_from(["text", "text", "multipart", "message", "image"])) if depth else "text"
    if kind == "multipart":
        parts = [draw(messages(depth - 1)) for _ in range(draw(st.integers(1, 3)))]
        line = b"--=_b%d" % depth
        head = f'{header}Content-Type: multipart/mixed; boundary="=_b{depth}"\r\n\r\n'.encode()
        return head + b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--"
    if kind == "message":
        return (header + "Content-Type: message/rfc822\r\n\r\n").encode() + draw(messages(depth - 1))
    charset = draw(st.sampled_from(CHARSETS))
    data = draw(TEXTS).encode(charset, "replace")
    encoding = draw(st.sampled_from(["7bit", "8bit", "base64", "quoted-printable", "x-odd"]))
    if encoding == "base64":
        data = base64.encodebytes(data)
    kind = "image/png" if kind == "image" else f"text/plain; charset={charset}"
    return f"{header}Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + data


def plainly_in_header(needle: Needle, header: bytes) -> bool:
    """All of a header unfolded and decoded as one."""
    return needle.text in casemap(decode_words(re.sub(rb"\r?\n(?=[ \t])", b"", header)))


def contains(content: bytes, needle: Needle, with_header: bool) -> bool:
    message = Message(len(content), summarize(content).slots[PARTS], lambda at, size: content[at : at + size])
    return message.contains(needle, with_header)


@settings(max_examples=400, deadline=None)
@given(content=messages(), text=NEEDLES, with_header=st.booleans())
def test_a_plain_message_is_found_as_any_other(content: bytes, text: str, with_header: bool) -> None:
    needle = Needle(casemap(text))
    found = contains(content, needle, with_header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Message, "_survey", lambda self: None)
        patch.setattr("mstore.store.searchtext.in_header", plainly_in_header)
        assert found == contains(content, needle, with_header)


@settings(max_examples=400, deadline=None)
@given(header=HEADERS, text=NEEDLES)
def test_a_header_is_searched_line_by_line_as_it_is_as_a_whole(header: str, text: str) -> None:
    needle = Needle(casemap(text))
    assert in_header(needle, header.encode()) == plainly_in_header(needle, header.encode())
