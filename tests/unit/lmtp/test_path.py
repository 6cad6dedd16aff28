"""Envelope addresses and parameters."""

from __future__ import annotations

import pytest

from mstore.lmtp.path import BadPath, Path, parse_path


@pytest.mark.parametrize(
    ("data", "path", "rest"),
    [
        (b"<joe@example.org>", Path("joe", "example.org"), b""),
        (b" <joe@example.org> SIZE=10  BODY=7BIT", Path("joe", "example.org"), b"SIZE=10  BODY=7BIT"),
        (b"<>", Path("", None), b""),
        (b"<> SIZE=1", Path("", None), b"SIZE=1"),
        (b" joe+important/March2000@foobar.com", Path("joe+important/March2000", "foobar.com"), b""),
        (b"joe", Path("joe", None), b""),
        (b"<Postmaster>", Path("Postmaster", None), b""),
        (b"<@relay.example,@b.example:joe@example.org>", Path("joe", "example.org"), b""),
        (b'<"joe+Sent Items"@example.org>', Path("joe+Sent Items", "example.org"), b""),
        (b'<"a\\"b>c"@example.org> X', Path('a"b>c', "example.org"), b"X"),
        (b"<joe@[127.0.0.1]>", Path("joe", "[127.0.0.1]"), b""),
        (b"<joe@[IPv6:::1]>", Path("joe", "[IPv6:::1]"), b""),
        (b"<joe@example.org.>", Path("joe", "example.org"), b""),
        (b"<joe@my_host.example>", Path("joe", "my_host.example"), b""),
    ],
)
def test_addresses_are_read(data: bytes, path: Path, rest: bytes) -> None:
    assert parse_path(data) == (path, rest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"<joe@example.org",
        b"joe@example.org>",
        b"<joe@>",
        b"<@example.org>",
        b"<joe smith@example.org>",
        b"<joe@example.org>x",
        b"<joe..smith@example.org>",
        b"<.joe@example.org>",
        b"<joe@exa mple.org>",
        b"<joe@-example.org>",
        b'<""@example.org>',
        b"<jo\xe9@example.org>",
        b"<jo\xc2\x85e@example.org>",
        b"<joe\x00@example.org>",
        b"<joe\r@example.org>",
        b"<joe@example..org>",
        b"<" + b"j" * 1101 + b"@example.org>",
        b"<joe@" + b"e" * 256 + b">",
        b"<joe@example.org>\r\nDATA",
    ],
)
def test_what_is_no_address_is_refused(data: bytes) -> None:
    with pytest.raises(BadPath):
        parse_path(data)


def test_refusing_is_quick_whatever_comes() -> None:
    with pytest.raises(BadPath):
        parse_path(b"<" + b"a." * 500 + b"@" + b"b-" * 2000)


@pytest.mark.parametrize("data", [b"<joe@example.org>", b'<"a b\\"c"@example.org>', b"<joe>", b"<>"])
def test_a_path_is_written_as_it_was_read(data: bytes) -> None:
    path, _ = parse_path(data)
    assert f"<{path}>".encode() == data


def test_plus_detail_begins_at_the_first_plus() -> None:
    assert Path("joe+a+b", None).split_plus() == ("joe", "a+b")
    assert Path("joe", None).split_plus() == ("joe", "")
    assert Path("joe+", None).split_plus() == ("joe", "")


def test_addresses_may_be_in_utf8() -> None:
    path, rest = parse_path("<zoë+entwürfe@exämple.org> SMTPUTF8".encode())
    assert (path.local, path.domain, rest) == ("zoë+entwürfe", "exämple.org", b"SMTPUTF8")
    assert not path.is_ascii
    assert parse_path(b"<joe@example.org>")[0].is_ascii
    assert str(parse_path('<"zoë x"@example.org>'.encode())[0]) == '"zoë x"@example.org'
