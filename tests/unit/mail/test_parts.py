"""The PARTS slot, and body sections found from it alone (RFC 3501 §6.4.5)."""

import pytest

from mstore.mail import parts
from mstore.mail.mime import parse
from mstore.mail.parts import decode_parts, encode_parts, find_part, find_section
from tests.kit import museum
from tests.kit.museum import crlf, multipart

INNER_MIXED = "Subject: three\n" + multipart("i", "Content-Type: text/plain\n\n3.1", "X: 3.2\n\n3.2")
SUBJECT_422 = multipart("a", "X: 4.2.2.1\n\n4.2.2.1", "X: 4.2.2.2\n\n4.2.2.2", kind="alternative")
INNER_42 = "Subject: four two\n" + multipart("j", "X: 4.2.1\n\n4.2.1", SUBJECT_422)
# The complex message of RFC 3501 §6.4.5, each leaf saying its own number.
MESSAGE = crlf(
    "Subject: whole\n"
    + multipart(
        "o",
        "X: 1\n\n1",
        "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n2",
        "Content-Type: message/rfc822\n\n" + INNER_MIXED,
        multipart("m", "Content-Type: image/gif\n\n4.1", "Content-Type: message/rfc822\n\n" + INNER_42),
    )
)
ROOT = decode_parts(encode_parts(parse(MESSAGE)))


def section(path: str, text: bytes = b"", message: bytes = MESSAGE) -> bytes | None:
    root = decode_parts(encode_parts(parse(message)))
    found = find_section(root, tuple(int(digits) for digits in path.split(".") if digits), text)
    return None if found is None else message[slice(*found)]


@pytest.mark.parametrize("path", ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2"])
def test_leaves_of_the_example(path: str) -> None:
    assert section(path) == path.encode()
    assert section(path, b"HEADER") is None
    assert section(path, b"TEXT") is None
    assert section(path + ".1") is None


@pytest.mark.parametrize("path", ["5", "0", "3.3", "4.2.3", "4.2.2.3", "4.3", "4.1.1", "1.1"])
def test_parts_that_do_not_exist(path: str) -> None:
    for text in (b"", b"MIME", b"HEADER", b"TEXT"):
        assert section(path, text) is None


def test_whole_messages_and_their_halves() -> None:
    assert section("") == MESSAGE
    assert section("", b"MIME") is None
    header = section("", b"HEADER")
    text = section("", b"TEXT")
    assert header is not None
    assert text is not None
    assert header + text == MESSAGE
    for path, inner in (("3", INNER_MIXED), ("4.2", INNER_42)):
        assert section(path) == crlf(inner)
        assert section(path, b"MIME") == b"Content-Type: message/rfc822\r\n\r\n"
        header, text = section(path, b"HEADER"), section(path, b"TEXT")
        assert header is not None
        assert text is not None
        assert header.endswith(b"\r\n\r\n")
        assert header + text == crlf(inner)
    assert section("4.2.2", b"MIME") == crlf(SUBJECT_422).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert section("4", b"HEADER") is None


def test_a_message_of_one_part() -> None:
    message = b"Subject: x\r\n\r\nbody"
    assert section("1", b"", message) == b"body"
    assert section("1", b"MIME", message) == b"Subject: x\r\n\r\n"
    assert section("1", b"TEXT", message) is None
    assert section("2", b"", message) is None
    assert section("1.1", b"", message) is None


def test_a_message_that_is_a_message() -> None:
    head = b"Content-Type: message/rfc822\r\n\r\n"
    message = head + head + b"Subject: x\r\n\r\nbody"
    assert section("1", b"", message) == message[len(head) :]
    assert section("1", b"HEADER", message) == head
    assert section("1.1", b"", message) == b"Subject: x\r\n\r\nbody"
    assert section("1.1", b"HEADER", message) == b"Subject: x\r\n\r\n"
    assert section("1.1.1", b"", message) == b"body"
    assert section("1.1.1.1", b"", message) is None


def test_rows_tell_kind_encoding_and_charset() -> None:
    first = find_part(ROOT, (1,))
    second = find_part(ROOT, (2,))
    assert first is not None
    assert second is not None
    assert (first.kind, first.encoding, first.charset) == (parts.TEXT, parts.IDENTITY, b"US-ASCII")
    assert (second.kind, second.encoding, second.charset) == (parts.LEAF, parts.BASE64, b"")
    assert [part.kind for part in ROOT.parts] == [parts.TEXT, parts.LEAF, parts.MESSAGE, parts.MULTIPART]
    assert ROOT.message is None
    assert ROOT.parts[2].message is not None
    other = decode_parts(
        encode_parts(parse(b"Content-Type: text/x; charset=k\r\nContent-Transfer-Encoding: u\r\n\r\n"))
    )
    assert (other.kind, other.encoding, other.charset) == (parts.TEXT, parts.UNKNOWN, b"k")
    image = decode_parts(encode_parts(parse(b"Content-Type: a/b; charset=k\r\n\r\nx")))
    assert (image.kind, image.charset, image.parts, image.message) == (parts.LEAF, b"", [], None)


def test_many_charsets_and_strange_ones() -> None:
    texts = [f"Content-Type: text/plain; charset=c{number % 400}\n\n{number}" for number in range(600)]
    texts += [
        f'Content-Type: text/plain; charset="{"x" * 100}"\n\n',
        'Content-Type: text/plain; charset="a\0b"\n\n',
    ]
    root = decode_parts(encode_parts(parse(crlf(multipart("b", *texts)))))
    names = [part.charset for part in root.parts]
    assert names[:255] == [b"c%d" % number for number in range(255)]
    assert set(names[255:400]) == {b""}
    assert names[400:600] == names[:200]
    assert names[600:] == [b"", b""]


def test_every_part_of_a_large_tree_is_found() -> None:
    message = museum.many_parts(5000)
    root = decode_parts(encode_parts(parse(message)))
    assert root.child_count == 5000
    assert section("5000", b"", message) == b"x"
    assert section("5001", b"", message) is None
