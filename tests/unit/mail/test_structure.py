"""ENVELOPE, BODYSTRUCTURE and BODY, read back with a strict reader of the grammar."""

from typing import Any

import pytest

from mstore.mail.mime import parse
from mstore.mail.parts import LEAF, MESSAGE, decode_parts, find_section
from mstore.mail.structure import (
    format_envelope,
    format_string,
    format_structure,
    has_global,
    read_message_id,
)
from mstore.mail.summary import ENVELOPE, PARTS, summarize
from tests.kit.grammar import NotGrammar, read_body, read_bodystructure, read_envelope
from tests.kit.museum import crlf, multipart


def envelope(text: str) -> list[Any]:
    return read_envelope(format_envelope(parse(crlf(text)).fields))


def structures(text: str) -> tuple[bytes, bytes]:
    return format_structure(parse(crlf(text)))


def test_the_example_of_the_rfc() -> None:
    """RFC 3501 §8."""
    shown = format_envelope(
        parse(
            crlf(
                "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\nFrom: Terry Gray <gray@cac.washington.edu>\n"
                "Subject: IMAP4rev1 WG mtg summary and minutes\nTo: imap@cac.washington.edu\n"
                "cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\n"
                "Message-Id: <B27397-0100000@cac.washington.edu>\nMIME-Version: 1.0\n"
                "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\n\n"
            )
        ).fields
    )
    assert shown == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )


def test_absent_and_empty_fields() -> None:
    """RFC 3501 §7.4.2: absent is NIL, empty is "" in strings, NIL in lists; Sender and Reply-To follow."""
    assert envelope("X: y\n\n") == [None] * 10
    sender = [(None, None, b"a", b"b")]
    assert envelope("Subject:\nDate: \nMessage-ID:\nTo:\nCc: ,\nFrom: a@b\nSender:\nReply-To: ;\n\n") == [
        b"", b"", sender, sender, sender, None, None, None, None, b"",
    ]  # fmt: skip
    given = envelope("From: a@b\nSender: c@d\nReply-To: e@f, g@h\nIn-Reply-To: <i@j>\n\n")
    assert [address[2] for address in given[3] + given[4]] == [b"c", b"e", b"g"]
    assert given[8] == b"<i@j>"


def test_groups_routes_and_missing_domains() -> None:
    assert envelope("From: <@r:u@d>\nTo: g: a@b;, postmaster\nBcc: nobody:;\n\n")[2:8] == [
        *[[(None, b"@r", b"u", b"d")]] * 3,
        [
            (None, None, b"g", None),
            (None, None, b"a", b"b"),
            (None, None, None, None),
            (None, None, b"postmaster", b"MISSING_DOMAIN"),
        ],
        None,
        [(None, None, b"nobody", None), (None, None, None, None)],
    ]


def test_plain_and_odd_addresses_mix_in_order() -> None:
    found = envelope('To: a@b, "N" <c@d>, N N <e@f>, "\\"q\\"" <g@h>, i@j (k), l@m\n\n')[5]
    assert [address[2] for address in found] == [b"a", b"c", b"e", b"g", b"i", b"l"]
    assert [address[0] for address in found] == [None, b"N", b"N N", b'"q"', b"k", None]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"", b'""'),
        (b"a b", b'"a b"'),
        (b'a"b\\', b'"a\\"b\\\\"'),
        (b"\x01\x7f", b'"\x01\x7f"'),
        (b"a\xe4", b"{2}\r\na\xe4"),
        (b"a\rb", b"{3}\r\na\rb"),
        (b"a\nb", b"{3}\r\na\nb"),
        (b"a\0b", b"{3}\r\na?b"),
    ],
)
def test_strings(value: bytes, shown: bytes) -> None:
    assert format_string(value) == shown


def test_folded_values_lose_their_line_ends_only() -> None:
    found = envelope('Subject: a\n  b\n\tc\nFrom:\n "N\n M" <a@b>\n\n')
    assert found[1] == b"a  b\tc"
    assert found[2] == [(b"N M", None, b"a", b"b")]


def test_text() -> None:
    full, short = structures("Content-Type: text/plain; charset=utf-8\n\none\ntwo")
    assert short == b'("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "7BIT" 8 1)'
    assert full == short[:-1] + b" NIL NIL NIL NIL)"
    assert structures("\n")[1] == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 0 0)'


def test_extension_data() -> None:
    full, short = structures(
        'Content-Type: image/png\nContent-ID: <i>\nContent-Description: "d"\n'
        "Content-Transfer-Encoding: base64\n"
        "Content-MD5: m\nContent-Disposition: attachment; filename=f\nContent-Language: en, de\n"
        "Content-Location: l\n\nxx"
    )
    assert short == b'("IMAGE" "PNG" NIL "<i>" "\\"d\\"" "BASE64" 2)'
    assert full == short[:-1] + b' "m" ("ATTACHMENT" ("FILENAME" "f")) ("en" "de") "l")'


def test_multipart_and_nested_message() -> None:
    message = "Content-Type: message/rfc822\n\nSubject: s\nFrom: a@b\n\nhello\n"
    full, short = structures(multipart("b", "\nx", message, kind="alternative"))
    inner_envelope = (
        b'(NIL "s" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)'
    )
    assert short == (
        b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1 0)'
        b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 32 ' + inner_envelope + b" "
        b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 7 1) 4) "ALTERNATIVE")'
    )
    found = read_bodystructure(full)
    assert found["params"] == {b"BOUNDARY": b"b"}
    assert found["parts"][1]["message"]["md5"] is None
    assert read_body(short)["parts"][1]["lines"] == 4


GLOBAL = "Content-Type: message/global\n\nSubject: \u00fc\n\nhello\n"


def test_a_global_message_has_a_structure_in_imap4rev2_alone() -> None:
    """RFC 9051 §9 "body-type-msg"; to RFC 3501 it is a type like any other."""
    encoded = GLOBAL.replace("\n\n", "\nContent-Transfer-Encoding: BASE64\n\n", 1)
    root = parse(crlf(multipart("b", GLOBAL, encoded)))
    for full, short, rev2 in ((*format_structure(root), False), (*format_structure(root, True), True)):
        assert has_global(full)
        assert has_global(short)
        for found in (read_bodystructure(full, rev2), read_body(short, rev2)):
            plain, hidden = found["parts"]
            assert ("message" in plain, "message" in hidden) == (rev2, rev2)
            if rev2:
                assert plain["envelope"][1] == b"\xfc"
                assert (plain["message"]["octets"], plain["lines"]) == (7, 3)
                assert hidden["envelope"] == [None] * 10
        with pytest.raises(NotGrammar):
            read_body(short, not rev2)


def test_a_global_message_is_read_unless_it_is_encoded() -> None:
    """RFC 6532 §3.7: it may be, other than a message/rfc822."""
    root = decode_parts(summarize(crlf(GLOBAL)).slots[PARTS])
    assert root.kind == MESSAGE
    assert find_section(root, (1,), b"HEADER") == (32, 46)
    encoded = GLOBAL.replace("\n\n", "\nContent-Transfer-Encoding: quoted-printable\n\n", 1)
    root = decode_parts(summarize(crlf(encoded)).slots[PARTS])
    assert (root.kind, root.message) == (LEAF, None)


def test_the_grammar_reader_is_strict() -> None:
    good = summarize(b"\r\n").slots
    for bad in (
        b"",
        good[0][:-1],
        good[0] + b" ",
        good[0].replace(b"NIL", b"()", 3),
        b'("\xe4"' + good[0][4:],
    ):
        with pytest.raises(NotGrammar):
            read_envelope(bad)
    for bad in (good[1], good[2].replace(b" 0 0", b" 0"), good[2].replace(b'"TEXT"', b"TEXT"), b"()"):
        with pytest.raises(NotGrammar):
            read_body(bad)


@pytest.mark.parametrize(
    "value",
    [b"<a@b>", b'<"x\\"y"@b>', b"<\xff@b>", None, b'x "q"', b'<a"\xc3>"', b"", b'a "b\\', b"{3}", b'"'],
)
def test_the_message_id_comes_back_out_of_an_envelope(value: bytes | None) -> None:
    field = b"" if value is None else b"Message-ID: " + value + b"\r\n"
    for subject in (b"plain", b'"', b"\xff", b"{12}"):
        fields = summarize(b"Subject: " + subject + b"\r\n" + field + b"\r\nx").slots[ENVELOPE]
        assert read_message_id(fields) == value
