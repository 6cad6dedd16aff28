"""From the encodings of mail to text."""

import base64
import codecs

import pytest

from mstore.mail.decode import (
    decode_base64,
    decode_body,
    decode_quoted_printable,
    decode_text,
    decode_words,
    is_charset,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?Q?Gr=C3=BC=C3=9Fe_an_alle?=", "Grüße an alle"),
        (b"=?UTF-8?B?R3LDvMOfZQ==?= x", "Grüße x"),
        (b"=?iso-8859-1?q?a?= =?iso-8859-1?q?b?=", "ab"),
        (b"=?iso-8859-1?q?a?=\t \r\n =?utf-8?q?b?= c", "ab c"),
        (b"a =?utf-8?q?b?= c", "a b c"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"),
        (b"=?utf-8*en?Q?x?=", "x"),
        (b"=?koi8-r?B?8NLJ18XU?=", "Привет"),
        (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?gb2312?B?1tC5+g==?=", "中国"),
        (b"=?x-nobody-knows?Q?=C3=BC?=", "ü"),
        (b"=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        (b"=?utf-8?B?!!!?=", ""),
        (b"=?utf-8?X?y?=", "=?utf-8?X?y?="),
        (b"=?utf-8?Q?open", "=?utf-8?Q?open"),
        (b"raw \xc3\xbc", "raw ü"),
        (b"raw \xfc", "raw ü"),
    ],
)
def test_encoded_words(value: bytes, text: str) -> None:
    """RFC 2047 §4 and §6.2."""
    assert decode_words(value) == text


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("utf-8", b"\xc3\xbc", "ü"),
        ("UTF8", b"\xc3\xbc\xff", "ü\ufffd"),
        (b'"utf-8"', b"\xc3\xbc", "ü"),
        ("us-ascii", b"\xc3\xbc", "ü"),
        ("us-ascii", b"\xfc\x80", "ü€"),
        ("iso-8859-1", b"\x80\x81", "€\ufffd"),
        ("iso-8859-15", b"\xa4", "€"),
        ("ks_c_5601-1987", b"\xc7\xd1", "한"),
        ("shift_jis", b"\x93\xfa\x87\x40", "日①"),
        ("utf-7", b"+AOQ-", "ä"),
        ("utf-16", b"\xff\xfea\0", "a"),
        ("utf-16", b"\xff", None),
        (None, b"a\xe4", "aä"),
        ("", b"a", "a"),
        ("hex", b"61", "61"),
        ("rot13", b"a", "a"),
        ("zip", b"a", "a"),
        ("punycode", b"a-b", "a-b"),
        ("idna", b"a", "a"),
        ("unicode_escape", b"\\x41", "\\x41"),
        ("\0", b"a", "a"),
        ("../x", b"a", "a"),
        (b"\xff\xfe", b"a", "a"),
        ("x" * 5000, b"a", "a"),
    ],
)
def test_charsets(charset: str | bytes | None, data: bytes, text: str | None) -> None:
    found = decode_text(data, charset)
    if text is not None:
        assert found == text


def test_all_codecs_of_python_give_text_or_a_guess() -> None:
    from encodings.aliases import aliases

    for name in sorted(set(aliases) | set(aliases.values())):
        for data in (b"", b"abc", bytes(range(256)), b"\x1b$B\xff", b"+++"):
            assert isinstance(decode_text(data, name), str)
        if is_charset(name) and name not in ("utf_7", "u7"):
            assert codecs.lookup(name)._is_text_encoding


def test_is_charset() -> None:
    assert is_charset("UTF-8")
    assert is_charset("us-ascii")
    assert is_charset("koi8-r")
    assert not is_charset("base64")
    assert not is_charset("nonsense")
    assert not is_charset("")


@pytest.mark.parametrize(
    ("data", "decoded"),
    [
        (b"aGVsbG8=", b"hello"),
        (b"aGVs\r\nbG8=\r\n", b"hello"),
        (b"aGVsbG8", b"hello"),
        (b"a*G V\0s!bG8\xff=", b"hello"),
        (b"aGVsbG8=aGVsbG8=", b"hellohello"),
        (b"aGVsbG8==\r\nsbG8", b"hello\xb1\xb1\xbc"[:5] + base64.b64decode(b"sbG8")),
        (b"aGVsbG8=\r\n-- \r\n", b"hello"),
        (b"a", b""),
        (b"====", b""),
        (b"", b""),
    ],
)
def test_base64_makes_the_best_of_it(data: bytes, decoded: bytes) -> None:
    """RFC 2045 §6.8 "characters not found" in the alphabet are ignored."""
    assert decode_base64(data) == decoded


def test_bodies() -> None:
    assert decode_body(b"a=3Db=\r\nc=XX=", b"quoted-printable") == b"a=bc=XX"
    assert decode_body(b"eA==", b"BASE64") == b"x"
    assert decode_body(b"eA==", b"7BIT") == b"eA=="
    assert decode_body(b"eA==", b"X-UUENCODE") == b"eA=="


def test_blanks_at_the_end_of_quoted_lines_are_not_of_the_text() -> None:
    """RFC 2045 §6.7 (3): they were added on the way, behind a soft line break as well."""
    encoded = b"hello  \r\nfoo = \t\r\nbar\t\nend=20\r\n "
    assert decode_quoted_printable(encoded) == b"hello\r\nfoo bar\nend \r\n "
    assert len(decode_quoted_printable(b" " * 200_000 + b"x \r\n")) == 200_003
