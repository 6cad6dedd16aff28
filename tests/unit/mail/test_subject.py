"""Base subjects (RFC 5256 §2.1, and its grammar in §5)."""

import time

import pytest

from mstore.mail.subject import base_subject


@pytest.mark.parametrize(
    ("value", "text", "is_reply"),
    [
        (b"", "", False),
        (b"Hello", "Hello", False),
        (b"  Hello\t  there\r\n  you ", "Hello there you", False),
        (b"Re: Hello", "Hello", True),
        (b"re:Hello", "Hello", True),
        (b"RE  : Fwd: fw:Hello", "Hello", True),
        (b"Re[2]: Hello", "Hello", True),
        (b"Re [list] : Hello", "Hello", True),
        (b"[list] Re: [list] Hello", "Hello", True),
        (b"[one] [two] Hello", "Hello", False),
        (b"[one]", "[one]", False),
        (b"[one][two]", "[two]", False),
        (b"Re: [one] [two]", "[two]", True),
        (b"[]", "[]", False),
        (b"Hello (fwd)", "Hello", True),
        (b"Hello (fwd) (FWD) ", "Hello", True),
        (b"(fwd)", "", True),
        (b"[fwd: Hello]", "Hello", True),
        (b"[Fwd: Re: [x] Hello (fwd)]", "Hello", True),
        (b"[fwd: [fwd: Hello]]", "Hello", True),
        (b"[fwd: Hello", "[fwd: Hello", False),
        (b"Hello]", "Hello]", False),
        (b"a [b", "a [b", False),
        (b"Re", "Re", False),
        (b"Request: x", "Request: x", False),
        (b"Re:", "", True),
        (b"AW: Hello", "AW: Hello", False),
        (b"=?utf-8?q?Re=3A_Gr=C3=BC=C3=9Fe?=", "Grüße", True),
        (b"Re: a\0b", "ab", True),
    ],
)
def test_base_subject(value: bytes, text: str, is_reply: bool) -> None:
    assert base_subject(value) == (text, is_reply)


@pytest.mark.parametrize(
    "piece", [b"[a]", b"[", b"re:", b"(fwd)", b"[fwd:", b" ", b"re[", b"[a] re ", b"]", b"re: [x] ", b"re[a]"]
)
def test_takes_linear_time(piece: bytes) -> None:
    value = piece * (400_000 // len(piece))
    start = time.process_time()
    base_subject(value)
    base_subject(value + b" x")
    base_subject(b"[fwd: " * 50_000 + b"x" + b"]" * 50_000)
    assert time.process_time() - start < 5
