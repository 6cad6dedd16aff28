"""Identifiers in access control lists as clients write them, prepared by SASLprep (RFC 4314 §3, RFC 4013)."""

from __future__ import annotations

import stringprep
import unicodedata

from mstore.imap.errors import Bad

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)
"""RFC 4013 §2.3 and §2.5: also what Unicode 3.2 did not have, as for anything that is stored."""


def prepare_identifier(data: bytes) -> str:
    """An identifier in the form in which it is compared and stored.

    Raises: Bad when it cannot be prepared or nothing is left of it (RFC 4314 §3 "MUST refuse").
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("the identifier is not UTF-8") from None
    if not text.isascii():
        text = "".join(
            " " if stringprep.in_table_c12(character) else character
            for character in text
            if not stringprep.in_table_b1(character)
        )
        text = unicodedata.ucd_3_2_0.normalize("NFKC", text)
        _check_directions(text)
    if any(map(_is_prohibited, text)):
        raise Bad("the identifier has a character that none may have")
    if not text.removeprefix("-"):
        raise Bad("the identifier is empty")
    return text


def _is_prohibited(character: str) -> bool:
    return any(table(character) for table in _PROHIBITED)


def _check_directions(text: str) -> None:
    """Pass text that is written in one direction (RFC 3454 §6).

    Raises: Bad.
    """
    if not any(map(stringprep.in_table_d1, text)):
        return
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not ends or any(map(stringprep.in_table_d2, text)):
        raise Bad("the identifier mixes directions of writing")
