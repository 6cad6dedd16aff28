"""ANONYMOUS: what a client may say of itself (RFC 4505)."""

import pytest

from mstore.auth.sasl.anonymous import parse_trace
from mstore.auth.sasl.mechanism import Failed


@pytest.mark.parametrize("text", ["", "sirhc", "joe@example.org", '"a@b"@example.org', "größe 2", "é" * 255])
def test_trace_information_is_kept_as_it_is(text: str) -> None:
    assert parse_trace(text.encode()) == text


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        b"a\0b",
        b"a\r\nb",
        b"\x1b[31m",
        "\x85".encode(),
        "a\u202eb".encode(),
        "\ue000".encode(),
        "\ufffe".encode(),
        b"x" * 256,
        "é".encode() * 256,
        b"@",
        b"joe@",
        b"@example.org",
        b"x@" * 600,
    ],
)
def test_what_does_not_belong_into_a_log_is_refused(message: bytes) -> None:
    with pytest.raises(Failed):
        parse_trace(message)
