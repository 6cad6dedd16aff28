"""A message on its way into the spool: its line ends, its header, its trace fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from mstore.base.errors import StorageFailed, TooBig
from mstore.files.spool import Spool
from mstore.lmtp.content import HEADER_LIMIT_BYTES, BadContent, Content

TRACE = b"Return-Path: <a@b>\r\n"
HEADER = b"From: joe@example.org\r\nSubject: x\r\n"


def store(
    tmp_path: Path,
    *pieces: bytes,
    beyond_ascii: str = "off",
    is_binary: bool = False,
    limit: int | None = None,
) -> bytes:
    with Spool(tmp_path, limit) as spool:
        content = Content(spool, TRACE, beyond_ascii, is_binary)
        for piece in pieces:
            content.feed(piece)
        content.finish()
        if content.problem is not None:
            raise content.problem
        return bytes(spool.buffer())


def test_trace_fields_stand_in_front(tmp_path: Path) -> None:
    assert store(tmp_path, HEADER + b"\r\nbody\r\n") == TRACE + HEADER + b"\r\nbody\r\n"


def test_header_may_arrive_in_pieces(tmp_path: Path) -> None:
    message = HEADER + b"\r\n\r\nbody\r\n"
    for cut in range(len(message)):
        assert store(tmp_path, message[:cut], message[cut:]) == TRACE + message
    assert store(tmp_path, *(message[i : i + 1] for i in range(len(message)))) == TRACE + message


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\nbody\r\n", HEADER])
def test_message_without_header_or_without_body(tmp_path: Path, message: bytes) -> None:
    assert store(tmp_path, message) == TRACE + message


def test_bare_line_feeds_become_line_ends(tmp_path: Path) -> None:
    assert store(tmp_path, b"A: b\nC: d\n\nbody\n.\n\r\n") == TRACE + b"A: b\r\nC: d\r\n\r\nbody\r\n.\r\n\r\n"


@pytest.mark.parametrize(
    "field",
    [
        b"Return-Path: <x@y>\r\n",
        b"return-PATH : <x@y>\r\n",
        b"Return-Path:\r\n <x@y>\r\n\t(folded)\r\n",
        b"Return-Path: <x@y>\r\nReturn-Path: <z@y>\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"Received: x\r\n y\r\n"])
def test_return_path_of_the_sender_is_replaced(tmp_path: Path, before: bytes, field: bytes) -> None:
    body = b"\r\nReturn-Path: stays\r\n"
    assert store(tmp_path, before + field + HEADER + body) == TRACE + before + HEADER + body


@pytest.mark.parametrize(
    "header", [b"X-Return-Path: <x@y>\r\n", b"Return-Path-Not: x\r\n", b"A: b\r\n return-path: c\r\n"]
)
def test_fields_that_only_look_like_return_path_stay(tmp_path: Path, header: bytes) -> None:
    assert store(tmp_path, header + b"\r\n") == TRACE + header + b"\r\n"


def test_non_ascii_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadContent, match="ASCII"):
        store(tmp_path, b"Subject: caf\xe9\r\n\r\nbody\r\n")
    with pytest.raises(BadContent, match="ASCII"):
        store(tmp_path, b"Subject: caf\xe9\r\n")


def test_non_ascii_body_is_welcome(tmp_path: Path) -> None:
    assert store(tmp_path, HEADER + b"\r\ncaf\xe9\r\n").endswith(b"caf\xe9\r\n")


def test_high_bit_is_stripped_where_allowed_and_only_in_the_header(tmp_path: Path) -> None:
    stored = store(tmp_path, b"Subject: caf\xe9\r\n\r\ncaf\xe9\r\n", beyond_ascii="on")
    assert stored == TRACE + b"Subject: cafi\r\n\r\ncaf\xe9\r\n"


def test_stripping_never_makes_a_control_character(tmp_path: Path) -> None:
    every = bytes(range(0x80, 0x100))
    stored = store(tmp_path, b"Subject: " + every + b"\r\n\r\n", beyond_ascii="on")
    value = stored[len(TRACE) + 9 : -4]
    assert len(value) == 128
    assert all(0x20 <= b <= 0x7E for b in value)
    assert value[0x8A - 0x80 : 0x8E - 0x80] == b"????"


def test_header_without_end_is_refused_within_bounds(tmp_path: Path) -> None:
    with pytest.raises(BadContent, match="larger"):
        store(tmp_path, *[b"X: " + b"y" * 997 + b"\r\n"] * (HEADER_LIMIT_BYTES // 1000))


def test_limit_counts_the_message(tmp_path: Path) -> None:
    message = HEADER + b"\r\n" + b"x" * 100 + b"\r\n"
    assert store(tmp_path, message, limit=len(TRACE + message)) == TRACE + message
    with pytest.raises(TooBig):
        store(tmp_path, message, limit=len(TRACE + message) - 1)


def test_after_a_failure_the_rest_is_dropped(tmp_path: Path) -> None:
    with Spool(tmp_path / "gone") as spool:
        content = Content(spool, TRACE, "off")
        content.feed(HEADER + b"\r\n")
        content.feed(b"x" * 300_000)
        size = spool.size
        content.feed(b"y" * 300_000)
        content.finish()
        assert isinstance(content.problem, StorageFailed)
        assert spool.size == size


def test_utf8_may_be_taken_as_it_is(tmp_path: Path) -> None:
    message = "Subject: Grüße\r\n\r\nbody\r\n".encode()
    assert store(tmp_path, message, beyond_ascii="utf8") == TRACE + message
    with pytest.raises(BadContent, match="UTF-8"):
        store(tmp_path, b"Subject: caf\xe9\r\n\r\n", beyond_ascii="utf8")


def test_what_is_binary_keeps_its_line_ends(tmp_path: Path) -> None:
    message = HEADER + b"\r\n\n\r\x00\n"
    assert store(tmp_path, message, is_binary=True) == TRACE + message
