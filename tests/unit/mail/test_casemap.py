"""The collation of I18NLEVEL=1 (RFC 5051 §2)."""

import sys

import pytest

from mstore.mail.casemap import casemap


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("Hello, [World]_9", "HELLO, [WORLD]_9"),
        ("ǆ", "Dz\u030c"),  # the example of RFC 5051 §2
        ("Äpfel", "A\u0308PFEL"),
        ("straße", "STRAßE"),
        ("привет", "ПРИВЕТ"),
        ("ﬁn", "fiN"),
        ("ŉ", "\u02bcn"),
        ("①", "1"),
        ("日本語", "日本語"),
    ],
)
def test_texts_are_title_cased_and_decomposed(text: str, mapped: str) -> None:
    assert casemap(text) == mapped


def test_the_whole_of_unicode_is_covered() -> None:
    """Where the title case of a character is one character, it is what counts (UnicodeData.txt)."""
    for code in range(sys.maxunicode + 1):
        title = chr(code).title()
        if len(title) == 1 and title != chr(code):
            assert casemap(chr(code)) == casemap(title) or casemap(title) != title, hex(code)
            assert casemap("é" + chr(code)).startswith("E\u0301")


def test_letters_of_either_case_are_equal() -> None:
    for code in range(0x80, 0x2000):
        letter = chr(code)
        if len(letter.upper()) == 1 and letter.upper().title() == letter.title() and len(letter.title()) == 1:
            assert casemap(letter) == casemap(letter.upper()), hex(code)
