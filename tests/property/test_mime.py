"""Any bytes have a tree whose offsets tile them, and structures that are legal by the grammar of RFC 3501."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.mail.decode import decode_base64, decode_body, decode_text, decode_words
from mstore.mail.mime import Part, parse
from mstore.mail.parts import decode_parts, encode_parts, find_part, find_section
from mstore.mail.structure import format_string, format_structure, has_global
from mstore.mail.summary import SEARCH, summarize
from tests.kit import museum
from tests.kit.grammar import Reader, read_body, read_bodystructure, read_envelope
from tests.kit.yardstick import allow

EXHIBITS = list(museum.exhibits())
MONSTERS = list(museum.monsters())

# Bytes built from what mail is made of, so that structures meet more often than by chance.
_PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b"\xe4",
        b"--",
        b"--b",
        b"--b--",
        b"--bb",
        b"--c\r\n",
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"multipart/digest; boundary=bb",
        b"message/rfc822",
        b"message/global",
        b'multipart/x; boundary="c"',
        b"text/plain",
        b"; charset=",
        b"; n*0*=",
        b"; n*1=",
        b"From: ",
        b"To: ",
        b"Subject: ",
        b"Date: ",
        b"Content-Transfer-Encoding: ",
        b"base64",
        b"Content-Disposition: a",
        b"<",
        b">",
        b"@",
        b",",
        b";",
        b":",
        b'"',
        b"\\",
        b"(",
        b")",
        b"a",
        b"=?utf-8?Q?",
        b"?=",
        b"[",
        b"]",
        b"1 Jan 2020 ",
        b"=",
        b"\r\n--b\r\n",
        b"\r\n--b--\r\n",
        b"\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        b"\r\nContent-Type: message/rfc822\r\n\r\n",
        b"Content-Language: ",
        b"Content-ID: ",
        b"Content-MD5: ",
    ]
)
MESSAGES = st.one_of(
    st.lists(_PIECES, max_size=60).map(b"".join),
    st.binary(max_size=300),
    st.tuples(
        st.sampled_from([data for _, data in EXHIBITS]), st.integers(0, 3000), st.binary(max_size=20)
    ).map(lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + len(cut[2]) :]),
)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=400)


def check_tiling(part: Part, start: int, end: int) -> None:
    """Each part within its parent, behind its elder siblings."""
    assert start <= part.header_start <= part.body_start <= part.end <= end
    if part.message is not None:
        assert part.message.header_start == part.body_start
        assert part.message.end == part.end
        check_tiling(part.message, part.body_start, part.end)
    place = part.body_start
    for child in part.parts:
        check_tiling(child, place, part.end)
        place = child.end


def check_message(message: bytes) -> None:
    """Everything promised of any message."""
    root = parse(message)
    assert root.header_start == 0
    assert root.end == len(message)
    check_tiling(root, 0, len(message))
    summary = summarize(message)
    assert summary.header_length == root.body_start
    envelope = read_envelope(summary.slots[0])
    assert len(envelope) == 10
    check_octets(root, read_bodystructure(summary.slots[1]))
    check_octets(root, read_body(summary.slots[2]))
    full, short = format_structure(root, rev2=True)
    check_octets(root, read_bodystructure(full, rev2=True), rev2=True)
    check_octets(root, read_body(short, rev2=True), rev2=True)
    if not has_global(full):
        assert (full, short) == summary.slots[1:3]
    check_parts(root, summary.slots[3])
    assert summary.slots[SEARCH].count(b"\0") == 4
    summary.slots[SEARCH].decode("utf-8")


def check_octets(part: Part, shown: dict, rev2: bool = False) -> None:  # type: ignore[type-arg]
    """The structure says of each part what the tree says; of a message/global in IMAP4rev2 alone."""
    assert (shown["type"], shown["subtype"]) == (part.type, part.subtype)
    if part.parts:
        assert len(shown["parts"]) == len(part.parts)
        for child, inner in zip(part.parts, shown["parts"], strict=True):
            check_octets(child, inner, rev2)
        return
    assert shown["octets"] == part.end - part.body_start
    if part.is_global and not rev2:
        assert "lines" not in shown
        return
    assert shown.get("lines", 0) == part.lines
    if part.message is not None:
        check_octets(part.message, shown["message"], rev2)


def check_parts(root: Part, slot: bytes) -> None:
    """Sections found in the slot are those of the tree."""
    assert slot == encode_parts(root)
    offsets = decode_parts(slot)
    pending: list[tuple[Part, tuple[int, ...], bool]] = [(root, (), True)]
    while pending:
        part, path, whole = pending.pop()
        if whole and not part.parts:
            path += (1,)
        found = find_part(offsets, path)
        assert found is not None
        assert (found.header_start, found.body_start, found.end) == (
            part.header_start,
            part.body_start,
            part.end,
        )
        if path:
            assert find_section(offsets, path, b"MIME") == (part.header_start, part.body_start)
        if part.message is not None:
            inner = part.message
            assert find_section(offsets, path, b"HEADER") == (inner.header_start, inner.body_start)
            assert find_section(offsets, path, b"TEXT") == (inner.body_start, inner.end)
            if not inner.parts:
                pending.append((inner, path, True))
            else:
                pending += [(child, (*path, n), False) for n, child in enumerate(inner.parts, 1)]
        pending += [(child, (*path, n), False) for n, child in enumerate(part.parts, 1)]


@pytest.mark.parametrize(("name", "message"), EXHIBITS, ids=[name for name, _ in EXHIBITS])
def test_the_museum(name: str, message: bytes) -> None:
    check_message(message)
    for cut in range(0, len(message), max(len(message) // 40, 1)):
        check_message(message[:cut])
        check_message(message[cut:])
        check_message(message[:cut] + b"\0\xff\r\n" + message[cut:])


@given(MESSAGES)
@relaxed
def test_any_message(message: bytes) -> None:
    check_message(message)


@given(MESSAGES, MESSAGES)
@relaxed
def test_parts_of_a_proper_multipart_are_given_back(first: bytes, second: bytes) -> None:
    boundary = b"=_does_not_occur_in_parts_0123456789"
    head = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\npreamble\r\n'
    pieces = [b"\r\n" + first, b"X: y\r\n\r\n" + second]
    message = (
        head + b"".join(b"--%b\r\n%b\r\n" % (boundary, piece) for piece in pieces) + b"--%b--\r\n" % boundary
    )
    root = parse(message)
    assert [message[part.header_start : part.end] for part in root.parts] == pieces


@given(st.binary(max_size=40))
def test_strings_read_back(value: bytes) -> None:
    reader = Reader(format_string(value))
    assert reader.string() == value.replace(b"\0", b"?")
    assert reader.position == len(reader.data)


@given(st.lists(_PIECES, max_size=20).map(b"".join), st.text(max_size=12))
def test_decoding_never_raises(data: bytes, charset: str) -> None:
    assert isinstance(decode_words(data), str)
    assert isinstance(decode_text(data, charset), str)
    assert isinstance(decode_base64(data), bytes)
    assert len(decode_body(data, b"QUOTED-PRINTABLE")) <= len(data) + 2


@pytest.mark.parametrize(("name", "message"), MONSTERS, ids=[name for name, _ in MONSTERS])
def test_monsters_take_linear_time(name: str, message: bytes) -> None:
    # The slowest takes about one second; quadratic ones take minutes.
    most_s, begun = allow(10), time.process_time()
    summary = summarize(message)
    assert time.process_time() - begun < most_s
    read_envelope(summary.slots[0])
    read_bodystructure(summary.slots[1])
    read_body(summary.slots[2])
