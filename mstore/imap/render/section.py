"""Body sections: where one lies in its message, and header fields picked from a header (RFC 3501 §6.4.5).

Sections of the message itself follow from two columns, those of parts from the offsets in the PARTS slot.
No message is parsed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mstore.imap.grammar.fetchitems import FetchItem, Section, format_item
from mstore.mail.header import pick_fields
from mstore.mail.parts import decode_parts, find_section

EXCEPT = b"HEADER.FIELDS.NOT"
SUBSETS = (b"HEADER.FIELDS", EXCEPT)
Range = tuple[int, int]
Pick = Callable[[bytes], bytes]


class SectionItem:
    """One item that sends message bytes, compiled for many messages."""

    __slots__ = ("_kind", "label", "needs_parts", "part", "partial", "pick")

    def __init__(self, item: FetchItem, section: Section) -> None:
        self.label = format_item(item)
        self.part = section.part
        self.partial = item.partial
        self.needs_parts = bool(section.part)
        self.pick: Pick | None = None
        self._kind = section.text
        if section.text in SUBSETS:
            self._kind = b"HEADER"
            self.pick = make_picker(section.fields, section.text == EXCEPT)

    @property
    def is_header(self) -> bool:
        """Whether the message's own header is all that it is made of."""
        return not self.part and self._kind == b"HEADER"

    def find(self, header_length: int, size: int, parts: bytes) -> Range | None:
        """Where it lies (for picked fields, their whole header); None when the message has no such part."""
        if self.needs_parts:
            return find_section(decode_parts(parts), self.part, self._kind)
        if self._kind == b"HEADER":
            return 0, header_length
        return (header_length, size) if self._kind else (0, size)

    def cut(self, start: int, end: int) -> Range:
        """The range that the partial asks for, truncated to what is there."""
        if self.partial is None:
            return start, end
        origin, length = self.partial
        start = min(start + origin, end)
        return start, min(start + length, end)


def make_picker(names: Sequence[bytes], exclude: bool) -> Pick:
    """A function from a header to the fields of these names (or the others), with the empty line at its end.

    The names become one pattern that jumps from line to line. A line end is put before the header, and the
    last one left off, so that every field begins and ends alike.
    """
    if exclude:
        return lambda header: pick_fields(header, names, True)
    wanted = b"|".join(sorted({_any_case(name) for name in names}))
    initials = re.escape(b"".join(sorted({name[:1].lower() + name[:1].upper() for name in names})))
    find_all = re.compile(
        rb"\n(?=[\r\n" + initials + rb"])"
        rb"(?:(?:" + wanted + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+|\r?(?=\n\Z))"
    ).findall

    def pick(header: bytes) -> bytes:
        if not header.endswith(b"\n"):
            return pick_fields(header, names)
        found = b"".join(find_all(b"\n" + header))
        return found[1:] + b"\n" if found else b""

    return pick


def _any_case(name: bytes) -> bytes:
    """A pattern for a name in any letter case; quicker than a flag, for it leaves literals to skip by."""
    letters = (bytes((octet,)) for octet in name.lower())
    return b"".join(
        b"[" + letter + letter.upper() + b"]" if letter.isalpha() else re.escape(letter) for letter in letters
    )


def legal_bytes(data: bytes) -> bytes:
    """Message bytes as a literal may carry them: NUL is no CHAR8 (RFC 3501 §9), so 0x80 stands for it."""
    return data.replace(b"\0", b"\x80") if b"\0" in data else data
