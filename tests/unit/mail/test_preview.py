"""Previews: short, on one line, of what is shown as text; of any message at all."""

import base64
import quopri

import pytest

import mstore.mail.preview
from mstore.mail.mime import parse
from mstore.mail.parts import decode_parts, encode_parts
from mstore.mail.preview import LONGEST, make_preview
from tests.kit.museum import exhibits


def preview(message: bytes) -> str:
    root = decode_parts(encode_parts(parse(message)))
    return make_preview(root, lambda start, length: message[start : start + length])


def multipart(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/" + kind + b"; boundary=x\r\n\r\n" + body + b"--x--\r\n"


PLAIN = b"Content-Type: text/plain\r\n\r\nplain words"
HTML = b"Content-Type: text/html\r\n\r\n<style>p { }</style><p>marked&nbsp;<i>up</i></p>"


def test_white_space_is_folded_and_the_rest_is_cut() -> None:
    assert preview(b"Subject: s\r\n\r\n  one\r\n\ttwo \x00\x1b three\r\n") == "one two three"
    assert len(preview(b"\r\n" + b"word " * 1000)) == LONGEST - 1
    assert preview(b"\r\n" + b"x" * 1000) == "x" * LONGEST


def test_plain_text_is_better_than_markup() -> None:
    assert preview(multipart(HTML, PLAIN, kind=b"alternative")) == "plain words"
    assert preview(multipart(HTML)) == "marked up"
    assert preview(multipart(b"Content-Type: text/plain\r\n\r\n \r\n", HTML)) == "marked up"


def test_attachments_and_forwarded_messages_are_not_shown() -> None:
    attached = b"Content-Disposition: attachment; filename=x\r\n" + PLAIN
    forwarded = b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nforwarded"
    assert preview(multipart(attached, forwarded, b"Content-Type: image/png\r\n\r\nabc")) == ""
    assert preview(multipart(attached, multipart(PLAIN).replace(b"--x", b"--y").replace(b"=x", b"=y"))) == (
        "plain words"
    )


def test_encodings_and_charsets_are_undone() -> None:
    head = b"Content-Type: text/plain; charset=%b\r\nContent-Transfer-Encoding: %b\r\n\r\n"
    assert preview(head % (b"iso-8859-1", b"quoted-printable") + b"Gr=FC=\r\n=DFe") == "Grüße"
    text = base64.b64encode("Привет, мир".encode("koi8-r"))
    assert preview(head % (b"koi8-r", b"base64") + text) == "Привет, мир"
    assert preview(head % (b"utf-8", b"x-unknown") + b"abc") == ""
    large = base64.encodebytes("日本語".encode() * 20_000)
    assert preview(head % (b"utf-8", b"base64") + large).startswith("日本語日本語")


def test_markup_is_taken_off_however_broken() -> None:
    for markup, text in (
        (b"a<br>b<p>c", "a b c"),
        (b"<script>x</script>y", "y"),
        (b"<SCRIPT>x", ""),
        (b"<!-- x -->y<!-- z", "y"),
        (b"y<a href=", "y"),
        (b"1 &lt; 2 &#x41;", "1 < 2 A"),
    ):
        assert preview(b"Content-Type: text/html\r\n\r\n" + markup) == text


def test_every_exhibit_has_a_legal_preview() -> None:
    for name, message in exhibits():
        text = preview(message)
        assert len(text) <= LONGEST and text.encode("utf-8").decode("utf-8") == text, name
        assert not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text), name


def test_a_look_at_the_beginning_tells_what_a_longer_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [
        head % charset + quopri.encodestring((text * 60).encode(charset.decode(), "replace"))
        for head in (
            b"Content-Type: text/plain; charset=%b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
            b"Content-Type: text/html; charset=%b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        )
        for charset, text in (
            (b"utf-8", "Grüße <b>an</b> <style>p { color: red }</style> alle &amp; jeden &hellip; " * 3),
            (b"iso-2022-jp", "日本語 <p>と</p> ASCII "),
            (b"utf-8", "<!-- " + "nothing " * 300 + "--> shown <br>"),
            (b"us-ascii", "x" * 1000 + " <title>" + "y" * 2000 + "</title>"),
        )
    ]
    messages = [*long, *(message for _, message in exhibits())]
    short = [preview(message) for message in messages]
    assert any(len(text) > 150 for text in short)
    monkeypatch.setattr(mstore.mail.preview, "_FIRST_BYTES", 16 << 10)
    assert short == [preview(message) for message in messages]
