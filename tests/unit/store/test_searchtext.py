"""Texts in messages as a person reads them: encodings, charsets, folding, nested parts, any size."""

import base64
import quopri
from collections.abc import Callable

import pytest

from mstore.mail.casemap import casemap
from mstore.mail.summary import PARTS, summarize
from mstore.store import searchtext
from mstore.store.searchtext import Message, Needle, header_matcher, in_header


def message_of(content: bytes) -> Message:
    def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    return Message(len(content), summarize(content).slots[PARTS], read)


def contains(content: bytes, text: str, with_header: bool = False) -> bool:
    return message_of(content).contains(Needle(casemap(text)), with_header)


def part(kind: str, data: bytes, encoding: str = "8bit") -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + data


@pytest.mark.parametrize(
    "content",
    [
        part("text/plain", b"See the HELLO here"),
        part("text/plain; charset=utf-16", base64.b64encode("well, Hello".encode("utf-16")), "base64"),
        part("text/plain; charset=utf-7", "häHellohä".encode("utf-7")),
        part("text/html", b"<p>hel=\r\nlo", "quoted-printable"),
        part("multipart/mixed; boundary=B", b"--B\r\n\r\nno\r\n--B\r\n\r\nhello\r\n--B--"),
        part("message/rfc822", b"Subject: hello\r\n\r\nno"),
        part("message/rfc822", b"Subject: no\r\n\r\nhello"),
        part("multipart/mixed; boundary=B", b"--B\r\nContent-Type: a/b; name=HELLO.png\r\n\r\nno\r\n--B--"),
        b"\r\nhello",
    ],
)
def test_found_in_the_body(content: bytes) -> None:
    assert contains(content, "Hello")
    assert not contains(content, "hellooo")


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: hello\r\n\r\nno",
        part("image/png", b"hello"),
        part("multipart/mixed; boundary=B", b"hello\r\n--B\r\n\r\nno\r\n--B--\r\nhello"),
        part("text/plain; charset=utf-16", b"hello hello"),
    ],
)
def test_not_found_in_the_body(content: bytes) -> None:
    assert not contains(content, "hello")


def test_texts_are_compared_by_unicode_casemap() -> None:
    assert contains(part("text/plain; charset=utf-8", "Die ÉCOLE".encode()), "école")
    assert contains(part("text/plain; charset=utf-8", "Die e\u0301cole".encode()), "éCole")
    assert contains(part("text/plain; charset=utf-8", "Die Straße".encode()), "STRAßE")
    assert not contains(part("text/plain; charset=utf-8", "Die Straße".encode()), "STRASSE")
    assert contains(part("text/plain; charset=iso-2022-jp", "これは日本語".encode("iso2022_jp")), "日本")


def test_header_counts_when_asked_for() -> None:
    content = b"Subject: =?utf-8?b?SMOkbGxv?= wor\r\n ld\r\n\r\nbody"
    assert contains(content, "hällo wor ld", with_header=True)
    assert not contains(content, "hällo", with_header=False)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("8bit", bytes), ("quoted-printable", quopri.encodestring), ("base64", base64.encodebytes)],
)
@pytest.mark.parametrize("place", [0, 500, 995, 1000, 1003, 2500, 5990])
def test_a_large_part_is_searched_in_pieces(
    monkeypatch: pytest.MonkeyPatch, encoding: str, encode: Callable[[bytes], bytes], place: int
) -> None:
    monkeypatch.setattr(searchtext, "PIECE_BYTES", 1000)
    text = b"".join(b"%05d\r\n" % number for number in range(1000))
    text = text[:place] + "die Nädel".encode() + text[place:]
    content = part("text/plain; charset=utf-8", encode(text), encoding)
    assert contains(content, "DIE NÄDEL")
    assert not contains(content, "die nadel")
    assert not contains(content, "x" * 3000)


def test_field_values_are_matched_unfolded_and_decoded() -> None:
    header = b"To: x\r\nX-Note: First\r\n\tSecond\r\nx-note: =?utf-8?q?Gr=C3=BCn?=\r\n\r\n"
    for text in ("first\tsecond", "irst", "grün", "GRÜN"):
        assert header_matcher(b"x-note", casemap(text))(header)
    for text in ("firstsecond", "x", "second grün", "to"):
        assert not header_matcher(b"x-note", casemap(text))(header)
    assert header_matcher(b"to", "")(header)
    assert not header_matcher(b"note", "")(header)
    assert not header_matcher(b"x-note: first", "")(header)


def test_a_text_across_a_fold_is_found() -> None:
    header = b"Received: by mail\r\n\tfor <joe@example.org>;\r\n Sun\r\n\r\n"
    assert header_matcher(b"received", "MAIL\tFOR <JOE")(header)
    assert header_matcher(b"received", ">; SUN")(header)
    assert not header_matcher(b"received", "MAIL FOR")(header)


def test_a_name_and_its_value_are_one_text() -> None:
    assert in_header(Needle("SUBJECT: HEL"), b"Subject: Hello\r\n\r\n")
