"""What is kept of a message."""

from mstore.mail.casemap import casemap
from mstore.mail.date import NO_DATE
from mstore.mail.decode import decode_words
from mstore.mail.summary import (
    BASE_SUBJECT,
    BODY,
    BODYSTRUCTURE,
    ENVELOPE,
    PARTS,
    SEARCH,
    SLOT_COUNT,
    summarize,
)
from tests.kit.museum import crlf


def test_a_message() -> None:
    message = crlf(
        "From: Jörg <JOERG@Example.COM>\nTo: a@b\nCc: C\n D <c@d>\nTo: e@f\n"
        "Date: Sun, 25 Mar 2007 00:30:00 +0300\n"
        "Subject: =?utf-8?Q?GRO=C3=9FE?= SACHE\n\nbody\n"
    )
    found = summarize(message)
    assert found.header_length == message.index(b"body")
    assert (found.sent_date, found.sent_zone_s) == (1174771800, 10800)
    assert len(found.slots) == SLOT_COUNT
    assert found.slots[SEARCH].decode().split("\0") == [
        "JO\u0308RG <JOERG@EXAMPLE.COM>", "A@B, E@F", "C D <C@D>", "", "GROßE SACHE",
    ]  # fmt: skip
    assert found.slots[ENVELOPE].startswith(
        b'("Sun, 25 Mar 2007 00:30:00 +0300" "=?utf-8?Q?GRO=C3=9FE?= SACHE" '
    )
    assert (
        found.slots[BODYSTRUCTURE]
        == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 6 1 NIL NIL NIL NIL)'
    )
    assert found.slots[BODY] == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 6 1)'
    assert found.slots[PARTS]


def test_no_date_and_a_bad_one() -> None:
    assert summarize(b"").sent_date == NO_DATE
    assert summarize(b"Date: yesterday\r\n\r\n")[:2] == (19, NO_DATE)


def test_search_values_hold_no_zero_bytes() -> None:
    values = summarize(b"From: a\0b\r\nSubject: =?utf-8?Q?x=00y?= \0\r\nTo: \xff\0\r\n\r\n").slots[SEARCH]
    assert values.split(b"\0") == [b"AB", "Y\u0308".encode(), b"", b"", b"XY "]


def test_ascii_is_folded_as_all_text_is() -> None:
    text = bytes(range(32, 127))
    assert (
        summarize(b"Subject: <" + text + b"\r\n\r\n").slots[SEARCH][4:].decode()
        == casemap(decode_words(b"<" + text))
    )


def test_addresses_that_are_written_in_pieces_are_searched_as_the_envelope_has_them() -> None:
    message = (
        b"From: Real <user-from (comment)@ (comment) Domain.ORG>\r\n"
        b'To: "odd name"@example.org, Plain <plain@example.org>, group (x): in.group@example.org;\r\n'
        b"Cc: (only a comment)\r\n\r\n"
    )
    sender, to, cc, bcc, subject = summarize(message).slots[SEARCH].split(b"\0")
    assert sender == b"REAL <USER-FROM (COMMENT)@ (COMMENT) DOMAIN.ORG>\nUSER-FROM@DOMAIN.ORG"
    assert to.split(b"\n")[1:] == [b"ODD NAME@EXAMPLE.ORG"]
    assert (cc, bcc, subject) == (b"(ONLY A COMMENT)", b"", b"")


def test_every_subject_is_searched_and_the_first_is_shown() -> None:
    """RFC 3501 §6.4.4."""
    header = b"Subject: one\r\nFrom: a@b\r\nSUBJECT: =?utf-8?q?tw=C3=B6?=\r\n\r\n"
    slots = summarize(header + b"Subject: no\r\n").slots
    assert slots[SEARCH].split(b"\0")[4] == b"ONE\n" + "TWO\u0308".encode()
    assert slots[ENVELOPE].startswith(b'(NIL "one" ')
    assert slots[BASE_SUBJECT] == b"ONE"


def test_names_are_searched_as_quoted_strings_say_them() -> None:
    """RFC 3501 §6.4.4: FROM, TO, CC and BCC look in the envelope."""
    message = rb'To: "J \"Q\" P" <jqp@z.org>, "a\b" <o\p@z.org>' + b"\r\n\r\n"
    to = summarize(message).slots[SEARCH].split(b"\0")[1]
    assert to.split(b"\n")[:2] == [
        rb'"J \"Q\" P" <JQP@Z.ORG>, "A\B" <O\P@Z.ORG>',
        b'"J "Q" P" <JQP@Z.ORG>, "AB" <OP@Z.ORG>',
    ]
