"""What SORT and THREAD compare of a message."""

import struct

import pytest

from mstore.mail.mime import collect_fields
from mstore.mail.sortkeys import MAX_REFERENCES, address_keys, subject_keys, thread_keys


def addresses(header: bytes) -> list[bytes]:
    return address_keys(collect_fields(header)).split(b"\0")


def numbers(header: bytes, is_reply: bool = False) -> list[int]:
    data = thread_keys(collect_fields(header), is_reply)
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def test_first_addresses() -> None:
    header = b"From: Joe Q <joe@example.org>\r\nTo: ann@example.org, Bob <bob@b>\r\nCc: (x) carl@c\r\n\r\n"
    assert addresses(header) == [b"JOE", b"ANN", b"CARL", b"JOE Q", b"ANN@EXAMPLE.ORG"]


@pytest.mark.parametrize(
    ("value", "mailbox", "shown"),
    [
        (b'"" <a@b>', b"A", b"A@B"),
        (b"=?utf-8?q?J=C3=B6rg?= <a@b>", b"A", "JO\u0308RG".encode()),
        (b"team: a@b, c@d;", b"TEAM", b"TEAM"),
        (b"only words", b"ONLY WORDS", b"ONLY WORDS@MISSING_DOMAIN"),
        (b"", b"", b""),
    ],
)
def test_an_address_counts_as_the_envelope_has_it(value: bytes, mailbox: bytes, shown: bytes) -> None:
    found = addresses(b"From: " + value + b"\r\n\r\n")
    assert (found[0], found[3]) == (mailbox, shown)


def test_without_fields_everything_is_empty() -> None:
    assert addresses(b"\r\n") == [b""] * 5
    assert subject_keys({}) == (b"", False)
    assert numbers(b"\r\n") == [0, 0]


def test_subjects_are_mapped() -> None:
    assert subject_keys({b"subject": b"Re: [x] hello"}) == (b"HELLO", True)


def test_ids_that_differ_in_quoting_are_the_same() -> None:
    first = numbers(b'Message-ID: <"01KF8JCEOCBS0045PS"@xxx.yyy.com>\r\n\r\n')
    assert first == numbers(b"Message-Id: <01KF8JCEOCBS0045PS@xxx.yyy.com>\r\n\r\n")
    assert first[1] != numbers(b"Message-Id: <01kf8jceocbs0045ps@xxx.yyy.com>\r\n\r\n")[1]


def test_references_before_in_reply_to() -> None:
    one, two, three = (
        numbers(b"Message-ID: <%b>\r\n\r\n" % name)[1] for name in (b"1@x", b"2@x", b"3@x")
    )
    both = b"References: <1@x>\r\n <2@x>\r\nIn-Reply-To: <3@x>\r\n"
    assert numbers(both + b"\r\n", is_reply=True) == [1, 0, one, two]
    assert numbers(b"References: none\r\nIn-Reply-To: a@b's <3@x> of <1@x>\r\n\r\n") == [0, 0, three]
    assert numbers(b"In-Reply-To: your mail <no id>\r\n\r\n") == [0, 0]
    assert numbers(b"References: <nothing> <1@x>\r\n\r\n") == [0, 0, one]


def test_long_lists_are_cut_at_their_beginning() -> None:
    header = b"References: " + b" ".join(b"<%d@x>" % number for number in range(1500)) + b"\r\n\r\n"
    found = numbers(header)[2:]
    assert len(found) == MAX_REFERENCES
    assert found[-1] == numbers(b"Message-ID: <1499@x>\r\n\r\n")[1]
