from __future__ import annotations

import pytest

from mstore.imap.errors import Bad
from mstore.imap.grammar.identifiers import prepare_identifier


@pytest.mark.parametrize(
    ("written", "prepared"),
    [
        (b"joe", "joe"),
        (b"-Joe", "-Joe"),
        (b"group:team one", "group:team one"),
        ("jo\u0308rg".encode(), "jörg"),
        ("\uff4aoe".encode(), "joe"),
        ("I\u00adX".encode(), "IX"),
        ("a\u00a0b".encode(), "a b"),
        ("\u0627\u0628".encode(), "\u0627\u0628"),
    ],
)
def test_identifiers_are_prepared(written: bytes, prepared: str) -> None:
    assert prepare_identifier(written) == prepared


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"-",
        b"\xff",
        b"a\x07b",
        "\u00ad".encode(),
        "a\u2028b".encode(),
        "\u0627a".encode(),
        "\u0627\u0628a\u0628".encode(),
        "\U000e0001x".encode(),
        "\U0001f600".encode(),
    ],
)
def test_what_cannot_be_prepared_is_refused(written: bytes) -> None:
    with pytest.raises(Bad):
        prepare_identifier(written)
