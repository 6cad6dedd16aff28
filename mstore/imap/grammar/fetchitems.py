"""FETCH items: what a client may ask of a message, as values (RFC 3501 §9, rules fetch, fetch-att, section).

``parse_fetch_items`` reads the items of one command; macros are replaced by what they stand for, an item that
is asked twice is kept once. ``format_item`` gives the name under which the answer carries the item, which
repeats the section and the origin octet exactly. Knows no message and no mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor

MAX_ITEMS = 200
MAX_HEADER_NAMES = 500
MAX_PART_DEPTH = 100
SIMPLE = frozenset(
    b"FLAGS UID MODSEQ INTERNALDATE SAVEDATE RFC822.SIZE EMAILID THREADID ENVELOPE BODY BODYSTRUCTURE".split()
)
MACROS = {
    b"ALL": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"),
    b"FAST": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"),
    b"FULL": (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"),
}
TEXTS = frozenset((b"HEADER", b"TEXT", b"MIME"))
SUBSETS = frozenset((b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"))
FIELD_NAME = frozenset(range(33, 127)) - {ord(":")}
ATOM_SPECIALS = frozenset(b'(){ %*"\\]')


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a message: part numbers, then HEADER, TEXT, … (RFC 3501 §6.4.5); empty for the whole."""

    part: tuple[int, ...] = ()
    text: bytes = b""
    fields: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchItem:
    """One item: ``name`` as the client writes it alone; ``section`` for those that send message bytes."""

    name: bytes
    section: Section | None = None
    peek: bool = True
    partial: tuple[int, int] | None = None


# The older names of three sections: the answer carries the old name (RFC 3501 §6.4.5).
OLD_NAMES = {
    b"RFC822": FetchItem(b"RFC822", Section(), peek=False),
    b"RFC822.HEADER": FetchItem(b"RFC822.HEADER", Section(text=b"HEADER"), peek=True),
    b"RFC822.TEXT": FetchItem(b"RFC822.TEXT", Section(text=b"TEXT"), peek=False),
}


def parse_fetch_items(cursor: Cursor) -> tuple[FetchItem, ...]:
    """Read a macro, one item, or a list of items, up to where the command goes on.

    Raises: Bad when it is none of them, or there are more than a client can mean.
    """
    if not cursor.take(b"("):
        word = cursor.word()
        macro = MACROS.get(word)
        if macro is not None:
            return tuple(FetchItem(name) for name in macro)
        return (_parse_item(cursor, word),)
    return parse_fetch_list(cursor)


def parse_fetch_list(cursor: Cursor) -> tuple[FetchItem, ...]:
    """Read items up to the parenthesis that closes their list, whose opening one has been read.

    Raises: as ``parse_fetch_items``.
    """
    items = {_parse_item(cursor, cursor.word()): None}
    while not cursor.take(b")"):
        cursor.space()
        items[_parse_item(cursor, cursor.word())] = None
        if len(items) > MAX_ITEMS:
            raise Bad("Too many FETCH items")
    return tuple(items)


def _parse_item(cursor: Cursor, word: bytes) -> FetchItem:
    has_section = cursor.peek() == 0x5B  # "["
    if has_section and word in (b"BODY", b"BODY.PEEK"):
        cursor.expect(b"[")
        section = parse_section(cursor)
        cursor.expect(b"]")
        return FetchItem(b"BODY[]", section, peek=word == b"BODY.PEEK", partial=_parse_partial(cursor))
    if has_section and word in (b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"):
        return _parse_binary(cursor, word)
    if not has_section and word == b"PREVIEW":
        # A preview is made in no time, so the modifier changes nothing (RFC 8970 §4.1).
        cursor.take(b" (LAZY)")
        return FetchItem(word)
    if not has_section and word in SIMPLE:
        return FetchItem(word)
    old = OLD_NAMES.get(word)
    if old is None or has_section:
        raise Bad("Unknown FETCH item")
    return old


def _parse_binary(cursor: Cursor, word: bytes) -> FetchItem:
    """A decoded part, or its size (RFC 3516 §7 "section-binary")."""
    cursor.expect(b"[")
    section = parse_section(cursor)
    if section.text:
        raise Bad("a part number expected")
    cursor.expect(b"]")
    if word == b"BINARY.SIZE":
        return FetchItem(b"BINARY.SIZE[]", section)
    return FetchItem(b"BINARY[]", section, peek=word == b"BINARY.PEEK", partial=_parse_partial(cursor))


def parse_section(cursor: Cursor) -> Section:
    """What stands between the brackets, up to where they close or the text ends."""
    part: list[int] = []
    if cursor.peek() in (0x5D, None):  # "]"
        return Section()
    while True:
        follower = cursor.peek()
        if follower is None or not 0x30 <= follower <= 0x39:
            break
        part.append(cursor.nz_number())
        if len(part) > MAX_PART_DEPTH:
            raise Bad("Part number too deep")
        if not cursor.take(b"."):
            return Section(tuple(part))
    text = cursor.word()
    if text in SUBSETS:
        cursor.space()
        return Section(tuple(part), text, _parse_header_names(cursor))
    if text not in TEXTS or (text == b"MIME" and not part):
        raise Bad("Unknown section")
    return Section(tuple(part), text)


def _parse_header_names(cursor: Cursor) -> tuple[bytes, ...]:
    cursor.expect(b"(")
    names = [_parse_header_name(cursor)]
    while not cursor.take(b")"):
        cursor.space()
        names.append(_parse_header_name(cursor))
        if len(names) > MAX_HEADER_NAMES:
            raise Bad("Too many header fields")
    return tuple(names)


def _parse_header_name(cursor: Cursor) -> bytes:
    name = cursor.astring()
    if not name or not FIELD_NAME.issuperset(name):
        raise Bad("Not a header field name")
    return name


def _parse_partial(cursor: Cursor) -> tuple[int, int] | None:
    if not cursor.take(b"<"):
        return None
    # RFC 9051 §9 "partial" has numbers of 63 bits.
    origin = cursor.number64() if cursor.rev2 else cursor.number()
    cursor.expect(b".")
    if cursor.rev2 and cursor.peek() != 48:
        length = cursor.number64()
    else:
        length = cursor.nz_number()
    cursor.expect(b">")
    return origin, length


def format_section(section: Section) -> bytes:
    """What stands between the brackets, with header names in the client's own spelling."""
    pieces = [b"%d" % number for number in section.part]
    if section.text:
        pieces.append(section.text)
    text = b".".join(pieces)
    if section.fields:
        text += b" (" + b" ".join(map(_format_name, section.fields)) + b")"
    return text


def format_item(item: FetchItem) -> bytes:
    """The name of the item in a FETCH response (RFC 3501 §7.4.2), without PEEK, with the origin octet."""
    if item.section is None or not item.name.endswith(b"[]"):
        return item.name
    origin = b"" if item.partial is None else b"<%d>" % item.partial[0]
    return item.name[:-1] + format_section(item.section) + b"]" + origin


def _format_name(name: bytes) -> bytes:
    """A header name as an astring: an atom where it can be one, else quoted."""
    if ATOM_SPECIALS.isdisjoint(name):
        return name
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
