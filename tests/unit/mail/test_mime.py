"""The MIME tree: RFC 2046 §5.1 and its corners."""

import mmap
import tempfile
import time
from typing import Any

import pytest

from mstore.mail.header import HEADER_LIMIT_BYTES
from mstore.mail.mime import DEPTH_LIMIT, HEADERS_LIMIT_BYTES, PART_LIMIT, Part, collect_fields, parse
from tests.kit import museum
from tests.kit.museum import crlf, multipart


def shape(part: Part) -> Any:
    """Nested (TYPE/SUBTYPE, children) of a tree."""
    children = [part.message] if part.message is not None else part.parts
    kind = b"/".join((part.type, part.subtype)).decode()
    return (kind, *[shape(child) for child in children]) if children else kind


def bodies(message: bytes) -> list[bytes]:
    """The bodies of all leaves, in order."""
    return [
        message[part.body_start : part.end]
        for part in parse(message).walk()
        if not part.parts and part.message is None
    ]


EXHIBITS = dict(museum.exhibits())
TEXT = "TEXT/PLAIN"
MIXED = "MULTIPART/MIXED"
RFC822 = "MESSAGE/RFC822"


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("empty", TEXT),
        ("no-header", TEXT),
        ("unclosed", (MIXED, TEXT, TEXT)),
        ("no-boundary-line", (MIXED, TEXT)),
        ("only-close", (MIXED, TEXT)),
        ("cut-in-boundary", (MIXED, TEXT)),
        ("boundary-at-end", (MIXED, TEXT)),
        ("empty-parts", (MIXED, TEXT, TEXT, TEXT)),
        ("headers-only-parts", (MIXED, "TEXT/HTML", TEXT)),
        ("outer-prefix-of-inner", (MIXED, (MIXED, TEXT, TEXT), TEXT)),
        ("inner-prefix-of-outer", (MIXED, (MIXED, TEXT, TEXT), TEXT)),
        ("same-boundary", (MIXED, (MIXED, TEXT, TEXT), TEXT)),
        ("outer-ends-inner", (MIXED, (MIXED, TEXT), TEXT)),
        ("boundary-ends-in-dashes", (MIXED, TEXT, (MIXED, TEXT))),
        ("boundary-with-spaces", (MIXED, TEXT)),
        ("boundary-line-with-more", (MIXED, TEXT)),
        ("boundary-folded", (MIXED, TEXT)),
        ("boundary-8bit", (MIXED, TEXT)),
        ("boundary-long", (MIXED, TEXT)),
        ("preamble-epilogue", (MIXED, TEXT)),
        ("lf-boundaries", (MIXED, TEXT, TEXT)),
        ("rfc822", (RFC822, TEXT)),
        ("rfc822-empty", (RFC822, TEXT)),
        ("rfc822-no-body", (RFC822, TEXT)),
        ("rfc822-in-rfc822", (RFC822, (RFC822, (RFC822, TEXT)))),
        ("rfc822-in-mixed", (MIXED, (RFC822, TEXT), (RFC822, (MIXED, TEXT)), TEXT)),
        ("rfc822-cut", (MIXED, (RFC822, TEXT))),
        ("digest", ("MULTIPART/DIGEST", (RFC822, TEXT), TEXT, (RFC822, TEXT))),
        ("digest-bad-type", ("MULTIPART/DIGEST", (RFC822, TEXT))),
    ],
)
def test_trees_of_the_museum(name: str, tree: Any) -> None:
    assert shape(parse(EXHIBITS[name])) == tree


@pytest.mark.parametrize(
    ("name", "leaves"),
    [
        ("outer-prefix-of-inner", [b"leaf", b"leaf", b"leaf"]),
        ("inner-prefix-of-outer", [b"leaf", b"leaf", b"leaf"]),
        ("outer-ends-inner", [b"leaf\r\n", b"leaf"]),
        ("boundary-with-spaces", [b"x"]),
        ("preamble-epilogue", [b"leaf"]),
        ("lf-boundaries", [b"leaf", b"leaf"]),
        ("empty-parts", [b"", b"", b""]),
        ("unclosed", [b"leaf", b"leaf\r\n"]),
        ("no-boundary-line", [b"nothing\r\nof the kind\r\n"]),
        ("only-close", [b"--b--\r\n"]),
        ("rfc822-in-mixed", [b"hello\r\n", b"hello\r\n", b"last"]),
    ],
)
def test_line_ends_before_boundaries_belong_to_them(name: str, leaves: list[bytes]) -> None:
    """RFC 2046 §5.1.1."""
    assert bodies(EXHIBITS[name]) == leaves


def test_the_example_of_the_rfc() -> None:
    """RFC 2046 §5.1.1: one part ends with a line break, the other does not; text around parts is ignored."""
    message = crlf(
        'From: n\nContent-type: multipart/mixed; boundary="simple boundary"\n\nThis is the preamble.\n\n'
        "--simple boundary\n\nImplicitly typed. It does NOT end with a linebreak.\n"
        "--simple boundary\nContent-type: text/plain; charset=us-ascii\n\nIt DOES end with a linebreak.\n\n"
        "--simple boundary--\n\nThis is the epilogue.  It is also to be ignored.\n"
    )
    root = parse(message)
    first, second = root.parts
    assert message[first.header_start : first.body_start] == b"\r\n"
    assert message[first.body_start : first.end] == b"Implicitly typed. It does NOT end with a linebreak."
    assert message[second.body_start : second.end] == b"It DOES end with a linebreak.\r\n"
    assert (first.lines, second.lines) == (0, 1)
    assert root.end == len(message)


def test_an_inner_part_spans_its_own_epilogue() -> None:
    message = crlf(multipart("o", multipart("i", "\nx") + "epilogue", "\ny"))
    inner = parse(message).parts[0]
    assert message[inner.body_start : inner.end] == b"--i\r\n\r\nx\r\n--i--\r\nepilogue"


def test_defaults_and_attributes() -> None:
    part = parse(
        crlf(
            "Content-Type: text/html\nContent-Transfer-Encoding: Base64 (x)\nContent-ID: <a@b>\n"
            "Content-Description: a\n b\nContent-MD5: Q2hlY2s=\nContent-Location: http://x/\n"
            "Content-Disposition: inline; filename=f\nContent-Language: en\n\n"
        )
    )
    assert (part.type, part.subtype, part.params) == (b"TEXT", b"HTML", ())
    assert (part.encoding, part.id, part.description) == (b"BASE64", b"<a@b>", b"a b")
    assert (part.md5, part.location, part.language) == (b"Q2hlY2s=", b"http://x/", (b"en",))
    assert part.disposition == (b"INLINE", ((b"FILENAME", b"f"),))
    bare = parse(b"\r\n")
    assert (bare.type, bare.params, bare.encoding) == (b"TEXT", ((b"CHARSET", b"US-ASCII"),), b"7BIT")
    assert (bare.id, bare.disposition, bare.language) == (None, None, ())
    assert parse(b"Content-Type: text/plain; x=y\r\n\r\n").params == ((b"X", b"y"), (b"CHARSET", b"US-ASCII"))
    extended = parse(b"Content-Type: text/plain; charset*=''koi8-r\r\n\r\n")
    assert extended.params == ((b"CHARSET*", b"''koi8-r"),)


def test_the_same_header_says_another_thing_elsewhere() -> None:
    """What the headers of parts say is remembered, for each kind of multipart by itself."""
    body = b"\r\n--b\r\nX-One: 1\r\n\r\nSubject: within\r\n\r\nx\r\n--b--\r\n"
    for _ in range(2):
        mixed = parse(b"Content-Type: multipart/mixed; boundary=b\r\n" + body).parts[0]
        digest = parse(b"Content-Type: multipart/digest; boundary=b\r\n" + body).parts[0]
        assert (mixed.type, mixed.subtype, mixed.message) == (b"TEXT", b"PLAIN", None)
        assert (digest.type, digest.subtype, digest.params) == (b"MESSAGE", b"RFC822", ())
        assert digest.message is not None and digest.message.fields == {b"subject": b" within\r"}
        assert mixed.fields == digest.fields == {b"x-one": b" 1\r"}


def test_repeated_fields_take_linear_time() -> None:
    def seconds_for(count: int) -> float:
        header = b"To: a\n" * count
        times = []
        for _ in range(3):
            begun = time.thread_time()
            collect_fields(header)
            times.append(time.thread_time() - begun)
        return min(times)

    few_s, many_s = seconds_for(20_000), seconds_for(160_000)
    assert many_s < 24 * few_s, "eight times as many"


def test_repeated_fields() -> None:
    fields = parse(EXHIBITS["doubled"]).fields
    assert fields[b"subject"].strip() == b"one"
    assert fields[b"to"].split() == [b"a@b,", b"c@d"]


def test_too_deep_is_a_leaf() -> None:
    root = parse(museum.nested_multiparts(DEPTH_LIMIT + 20))
    depth, part = 1, root
    while part.parts:
        part, depth = part.parts[0], depth + 1
    assert depth == DEPTH_LIMIT
    assert (part.type, part.subtype, part.params) == (b"APPLICATION", b"OCTET-STREAM", ())
    fits = parse(museum.nested_multiparts(DEPTH_LIMIT - 1))
    assert [part.type for part in fits.walk()] == [b"MULTIPART"] * (DEPTH_LIMIT - 1) + [b"TEXT"]
    messages = parse(b"Content-Type: message/rfc822\r\n\r\n" * (DEPTH_LIMIT + 50))
    assert len(list(messages.walk())) == DEPTH_LIMIT


def test_too_many_parts_end_up_in_the_last() -> None:
    message = museum.many_parts(PART_LIMIT + 50)
    root = parse(message)
    assert len(list(root.walk())) == PART_LIMIT
    assert root.parts[-1].end == root.end == len(message)
    assert len(parse(museum.many_parts(PART_LIMIT - 1)).parts) == PART_LIMIT - 1


def test_headers_beyond_the_limit_are_not_read() -> None:
    part = "Content-Type: image/png\nX: " + "x" * 900_000 + "\n\nbody"
    found = parse(crlf(multipart("b", *[part] * 12))).parts
    read = HEADERS_LIMIT_BYTES // 900_040
    assert [one.type for one in found] == [b"IMAGE"] * (read + 1) + [b"TEXT"] * (12 - read - 1)
    one = parse(b"X: " + b"x" * HEADER_LIMIT_BYTES + b"\r\nContent-Type: image/png\r\n\r\nbody")
    assert one.type == b"TEXT"
    assert one.end - one.body_start == 4


@pytest.mark.parametrize("size", [10, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_an_mmap_gives_the_same_tree(size: int) -> None:
    text = "Content-Type: text/plain\n\n" + "x" * 70 + "\n" + "line\n" * (size // 5)
    message = crlf(multipart("b", text, "Content-Type: message/rfc822\n\n" + multipart("c", text)))
    with tempfile.TemporaryFile() as file:
        file.write(message)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            trees = [parse(mapped), parse(message), parse(bytearray(message)), parse(memoryview(message))]
    flat = [
        [(part.header_start, part.body_start, part.end, part.lines, part.type) for part in tree.walk()]
        for tree in trees
    ]
    assert flat[0] == flat[1] == flat[2] == flat[3]
    for part in trees[1].walk():
        if part.type == b"TEXT" or part.message:
            assert part.lines == message[part.body_start : part.end].count(b"\n")
