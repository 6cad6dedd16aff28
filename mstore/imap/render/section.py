"""Body sections: where one lies in its message, and header fields picked from a header (RFC 3501 §6.4.5).

Sections of the message itself follow from two columns, those of parts from the offsets in the PARTS slot.
No message is parsed here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from mstore.imap.grammar.fetchitems import FetchItem, Section, format_item
from mstore.mail.header import pick_fields
from mstore.mail.kept import mark_numbers
from mstore.mail.parts import decode_parts, find_section

EXCEPT = b"HEADER.FIELDS.NOT"
SUBSETS = (b"HEADER.FIELDS", EXCEPT)
Range = tuple[int, int]
MANY_END = b"\n\r\n"
"""What ends the fields picked from one of many headers: their last line end, and the empty line."""
_LAST_FOUR = itemgetter(slice(-4, None))


class Fields:
    """Header fields to be picked from any headers by one pattern, which jumps from line to line.

    A line end is put before a header, and its last one left off, so that every field begins and ends alike.
    Many headers are put into one run of bytes, with a NUL on a line of its own between them.
    """

    __slots__ = ("_exclude", "_find_all", "_find_in_many", "_names", "marks")

    def __init__(self, names: Sequence[bytes], exclude: bool) -> None:
        self._names = names
        self._exclude = exclude
        self.marks = None if exclude else mark_numbers(names)
        """What to ask the mailbox for; None where the headers have to be read."""
        initials = re.escape(b"".join(sorted({name[:1].lower() + name[:1].upper() for name in names})))
        wanted = b"|".join(sorted({_any_case(name) for name in names}))
        field = rb"(?:" + wanted + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+"
        alone = rb"\n(?=[\r" + initials + rb"])(?:" + field + rb"|\r(?=\n\Z))"
        many = rb"\n(?=[\0" + initials + rb"])(?:" + field + rb"|\0)"
        self._find_all = re.compile(alone).findall
        self._find_in_many = re.compile(many).findall

    def pick(self, header: bytes) -> bytes:
        """The fields as they stand there, and the empty line at the end (RFC 3501 §6.4.5)."""
        if self._exclude or not header.endswith(b"\r\n\r\n"):
            return pick_fields(header, self._names, self._exclude)
        return b"".join(self._find_all(b"\n" + header))[1:] + b"\n"

    def pick_many(self, headers: Sequence[bytes]) -> list[bytes] | None:
        """For each header what ``pick`` gives, but in the form ``NEWLINE fields``, without ``MANY_END``.

        None when one of them is unusual: without an empty line at its end, or with a NUL.
        """
        if self._exclude or b"".join(map(_LAST_FOUR, headers)) != b"\r\n\r\n" * len(headers):
            return None
        run = b"\n" + b"\n\0\n".join(headers)
        if run.count(b"\0") != len(headers) - 1:
            return None
        return b"".join(self._find_in_many(run)).split(b"\n\0")


class SectionItem:
    """One item that sends message bytes, compiled for many messages."""

    __slots__ = ("_kind", "fields", "label", "needs_parts", "part", "partial")

    def __init__(self, item: FetchItem, section: Section) -> None:
        self.label = format_item(item)
        self.part = section.part
        self.partial = item.partial
        self.needs_parts = bool(section.part)
        self.fields: Fields | None = None
        self._kind = section.text
        if section.text in SUBSETS:
            self._kind = b"HEADER"
            self.fields = Fields(section.fields, section.text == EXCEPT)

    @property
    def marks(self) -> bytes | None:
        """What to ask the mailbox for, where whole fields that it keeps are all that is asked."""
        return None if self.fields is None or self.part or self.partial is not None else self.fields.marks

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


def _any_case(name: bytes) -> bytes:
    """A pattern for a name in any letter case; quicker than a flag, for it leaves literals to skip by."""
    letters = (bytes((octet,)) for octet in name.lower())
    return b"".join(
        b"[" + letter + letter.upper() + b"]" if letter.isalpha() else re.escape(letter) for letter in letters
    )


def legal_bytes(data: bytes) -> bytes:
    """Message bytes as a literal may carry them: NUL is no CHAR8 (RFC 3501 §9), so 0x80 stands for it."""
    return data.replace(b"\0", b"\x80") if b"\0" in data else data


def legal_view(data: memoryview) -> bytes | memoryview:
    """The same of bytes that lie in a buffer, where they stay if they may."""
    return legal_bytes(bytes(data)) if not np.frombuffer(data, np.uint8).min() else data
