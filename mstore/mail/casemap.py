"""The collation ``i;unicode-casemap`` (RFC 5051): what of a text counts when texts are compared.

Two texts are equal, one occurs in another, or one sorts before another as their mapped forms do, octet by
octet in UTF-8. I18NLEVEL=1 asks for it in SEARCH, SORT and THREAD (RFC 5255 §4.2).
"""

from collections.abc import Mapping
from types import MappingProxyType
from unicodedata import normalize

# All that has another title case lies in these blocks.
_CASED = (
    range(0x80, 0x2E00), range(0xA640, 0xAC00), range(0xFF00, 0xFF60), range(0x10400, 0x10600),
    range(0x10C80, 0x10D90), range(0x118A0, 0x118E0), range(0x16E40, 0x16EC0), range(0x1E900, 0x1E960),
)  # fmt: skip


def _titles() -> Mapping[int, int | str]:
    """Each character with another title case, and that one (UnicodeData.txt knows one character for one).

    Common characters without one stand for themselves: to be missed costs more than to be found.
    """
    found: dict[int, int | str] = {code: code for code in range(0x250)}
    for block in _CASED:
        for code in block:
            title = chr(code).title()
            if len(title) == 1 and ord(title) != code:
                found[code] = title
    found.update({code: chr(code - 32) for code in range(ord("a"), ord("z") + 1)})
    return MappingProxyType(found)


_TITLES = _titles()


def casemap(text: str) -> str:
    """``text`` in title case, character by character, and decomposed (RFC 5051 §2)."""
    if text.isascii():
        return text.upper()
    return normalize("NFKD", text.translate(_TITLES))
