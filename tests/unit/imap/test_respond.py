"""Responses: nothing that goes into a text can break the line it stands in."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.base import errors
from mstore.files import raw
from mstore.imap.errors import no_for
from mstore.imap.respond import continue_req, format_string, format_text, tagged
from tests.kit.imapgrammar import check_response


@given(st.one_of(st.text(), st.binary()))
def test_any_text_makes_a_legal_response(text: str | bytes) -> None:
    check_response(tagged(b"a1", b"NO", text))
    check_response(tagged(b"*", b"OK", text, b"ALERT"))
    check_response(b"+ " + format_text(text) + b"\r\n")


def test_a_text_is_not_taken_for_a_code() -> None:
    assert tagged(b"a", b"OK", "[ALERT] no") == b"a OK  [ALERT] no\r\n"
    assert tagged(b"a", b"OK", "") == b"a OK -\r\n"
    assert continue_req(b"OK") == b"+ OK\r\n"


@given(st.binary(max_size=50))
def test_strings_are_quoted_or_literals(data: bytes) -> None:
    wire = format_string(data)
    if wire.startswith(b"{"):
        assert wire == b"{%d}\r\n%b" % (len(data), data)
    else:
        assert wire[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\") == data or b"\\" in data
        assert not set(data) & {0, 10, 13} and data.isascii()


def test_quotes_are_quoted() -> None:
    assert format_string(b"") == b'""'
    assert format_string(b'a"b\\') == b'"a\\"b\\\\"'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), b"NONEXISTENT"),
        (errors.Exists("x"), b"ALREADYEXISTS"),
        (errors.Invalid("x"), b"CANNOT"),
        (errors.Denied("x"), b"NOPERM"),
        (errors.Busy("x"), b"INUSE"),
        (errors.LimitReached("x"), b"LIMIT"),
        (errors.TooBig("x"), b"TOOBIG"),
        (errors.OverQuota("x"), b"OVERQUOTA"),
        (errors.Corrupt("x"), b"CORRUPTION"),
        (errors.Expunged("x"), b"EXPUNGEISSUED"),
        (errors.StorageFailed("x"), b"SERVERBUG"),
        (errors.Unavailable("x"), b"UNAVAILABLE"),
        (errors.MStoreError("x"), b"SERVERBUG"),
    ],
)
def test_every_error_of_the_store_has_its_code(error: errors.MStoreError, code: bytes) -> None:
    assert no_for(error).code == code
    assert no_for(type(error)("")).text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_full_or_read_only_disk_is_told_as_something_that_passes(tmp_path: Path, number: int) -> None:
    class Refusing(raw.System):
        def open(self, path: raw.PathLike, flags: int, mode: int) -> int:
            raise OSError(number, os.strerror(number))

    before = raw.install(Refusing())
    try:
        with pytest.raises(errors.StorageFailed) as raised:
            raw.write_file(tmp_path / "x", [(0, b"x")], 1)
    finally:
        raw.install(before)
    answer = no_for(raised.value)
    assert answer.code == (b"SERVERBUG" if number == errno.EIO else b"UNAVAILABLE")
    assert os.strerror(number) in answer.text


def test_no_error_of_the_store_is_forgotten() -> None:
    for kind in errors.MStoreError.__subclasses__():
        if kind.__module__ == "mstore.base.errors":
            assert no_for(kind("x")).code != b"SERVERBUG" or kind is errors.StorageFailed
