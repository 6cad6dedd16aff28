"""Byte-stuffing and the first lines of a body."""

from __future__ import annotations

import random

import pytest

from mstore.pop3.multiline import first_lines, stuff


def unstuff(wire: bytes) -> bytes:
    """What a client makes of a multi-line response (RFC 1939 §3), which ends exactly at its end."""
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    body = lines[:-2]
    assert b"." not in body
    return b"".join((line[1:] if line.startswith(b".") else line) + b"\r\n" for line in body)


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randint(0, 6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\na\r\n.b\r\n", b"...\r\na\r\n..b\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
        (b"half\r", b"half\r\r\n.\r\n"),
        (b"bare\n", b"bare\n\r\n.\r\n"),
        (b"bare\n.\r\nb\r\n", b"bare\n..\r\nb\r\n.\r\n"),
    ],
)
def test_dots_are_stuffed_wherever_the_chunks_are_cut(message: bytes, wire: bytes) -> None:
    assert b"".join(stuff([message])) == wire
    assert b"".join(stuff([message[i : i + 1] for i in range(len(message))])) == wire
    for cut in range(len(message) + 1):
        assert b"".join(stuff([message[:cut], b"", message[cut:]])) == wire


def test_a_client_gets_every_message_back() -> None:
    chance = random.Random(7)
    for _ in range(300):
        message = bytes(chance.choices(b"\r.ab", k=chance.randint(0, 40))).replace(b"\r", b"\r\n") + b"\r\n"
        assert unstuff(b"".join(stuff(pieces(message, chance)))) == message


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 4, 100])
def test_first_lines_are_those_of_the_body(lines: int) -> None:
    body = b"one\r\ntwo\r\n\r\nfour"
    expected = b"".join(body.splitlines(keepends=True)[:lines])
    chance = random.Random(lines)
    for _ in range(50):
        assert b"".join(first_lines(pieces(body, chance), lines)) == expected


def test_no_more_is_read_than_needed() -> None:
    def chunks() -> object:
        yield b"a\r\nb\r\n"
        raise AssertionError("read on")

    assert b"".join(first_lines(chunks(), 2)) == b"a\r\nb\r\n"  # type: ignore[arg-type]
