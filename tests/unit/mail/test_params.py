"""Content-Type and its parameters."""

import pytest

from mstore.mail.params import (
    PARAM_LIMIT,
    find_charset,
    parse_content_type,
    parse_disposition,
    parse_word,
    parse_words,
)


@pytest.mark.parametrize(
    ("value", "kind", "params"),
    [
        (b"text/html", b"TEXT/HTML", []),
        (b"Text / Html ; Charset = UTF-8", b"TEXT/HTML", [(b"CHARSET", b"UTF-8")]),
        (b"a/b; c=x/y", b"A/B", [(b"C", b"x/y")]),
        (b'a/b; c="x;y"', b"A/B", [(b"C", b"x;y")]),
        (b"text", b"TEXT/PLAIN", []),
        (b'a/b; c="d;e=f\\"g"; h=i', b"A/B", [(b"C", b'd;e=f"g'), (b"H", b"i")]),
        (b"a/b (x; y=z); c=d (e)", b"A/B", [(b"C", b"d")]),
        (b"a/b; n=my file.txt ; m=1", b"A/B", [(b"N", b"my file.txt"), (b"M", b"1")]),
        (b"a/b;;; =x; c; d=", b"A/B", [(b"D", b"")]),
        (b'a/b; c="open', b"A/B", [(b"C", b"open")]),
        (b"a/b; n*0=one; m=x; n*1=two", b"A/B", [(b"N", b"onetwo"), (b"M", b"x")]),
        (b"a/b; n*1=two; n*0=one; n*3=lost", b"A/B", [(b"N", b"onetwo")]),
        (b"a/b; n*1=x; n*4=y", b"A/B", [(b"N", b"xy")]),
        (b"a/b; n*=utf-8''%e4", b"A/B", [(b"N*", b"utf-8''%e4")]),
        (b"a/b; n*0*=utf-8'en'%e4; n*1=\"b c%\"", b"A/B", [(b"N*", b"utf-8'en'%e4b%20c%25")]),
        (b"a/b; *0=x; *=y", b"A/B", [(b"*0", b"x"), (b"*", b"y")]),
    ],
)
def test_content_type(value: bytes, kind: bytes, params: list[tuple[bytes, bytes]]) -> None:
    """RFC 2045 §5.1, RFC 2231 §3 and §4.1."""
    found = parse_content_type(value)
    assert found is not None
    assert b"/".join(found[:2]) == kind
    assert list(found[2]) == params


@pytest.mark.parametrize(
    "value", [b"", b"/", b"/plain", b"multipart; boundary=x", b"\xe4/b", b"(text/plain)"]
)
def test_what_is_no_content_type(value: bytes) -> None:
    assert parse_content_type(value) is None


def test_disposition() -> None:
    """RFC 2183 §2."""
    found = parse_disposition(b'attachment; filename="a b.txt"; size=3')
    assert found == (b"ATTACHMENT", ((b"FILENAME", b"a b.txt"), (b"SIZE", b"3")))
    assert parse_disposition(b'"inline"') == (b"INLINE", ())
    assert parse_disposition(b"; filename=x") is None


@pytest.mark.parametrize(
    ("params", "charset"),
    [
        (b"charset=koi8-r", b"koi8-r"),
        (b"charset*=us-ascii'en'koi8%2Dr", b"koi8-r"),
        (b"charset*0*=''koi; charset*1=8-r", b"koi8-r"),
        (b"charset*0=koi; charset*1=8-r", b"koi8-r"),
        (b"charset*=koi8-r", b"koi8-r"),
        (b"charset*=us-ascii''one; charset=koi8-r", b"koi8-r"),
        (b"x=y", None),
    ],
)
def test_a_charset_may_be_an_extended_value(params: bytes, charset: bytes | None) -> None:
    """RFC 2231 §4."""
    found = parse_content_type(b"a/b; " + params)
    assert found is not None
    assert find_charset(found[2]) == charset


def test_words() -> None:
    assert parse_word(b"(why) base64 or so") == b"BASE64"
    assert parse_word(b"quoted-printable") == b"QUOTED-PRINTABLE"
    assert parse_word(b"()") is None
    assert parse_words(b"en, de (x),, fr-CA") == (b"en", b"de", b"fr-CA")


def test_no_more_parameters_than_the_limit() -> None:
    found = parse_content_type(b"a/b" + b";c=d" * (PARAM_LIMIT * 3))
    assert found is not None
    assert len(found[2]) == PARAM_LIMIT
    pieces = b"".join(b"; n*%d=x" % number for number in range(PARAM_LIMIT * 3))
    found = parse_content_type(b"a/b" + pieces)
    assert found is not None
    assert found[2] == ((b"N", b"x" * PARAM_LIMIT),)
