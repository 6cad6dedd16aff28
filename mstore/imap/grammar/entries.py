"""Names of annotations, and the arguments of GETMETADATA and SETMETADATA (RFC 5464 §5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor

MAX_ENTRY_BYTES = 500
MAX_ENTRIES = 500
"""In one command."""
INFINITY = -1

_ENTRY = re.compile(rb"/(?:private|shared)(?:/[\x1a-\x24\x26-\x29\x2b-\x2e\x30-\x7f]+)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which annotations GETMETADATA asks for."""

    entries: tuple[str, ...]
    depth: int = 0
    """How many levels beneath each entry; INFINITY for all."""
    max_size: int | None = None


def parse_entry(cursor: Cursor, top: bool = False) -> str:
    """The name of an annotation, in small letters; with ``top``, ``/private`` and ``/shared`` are names too.

    Raises: Bad (RFC 5464 §3.2).
    """
    data = cursor.astring()
    if not _ENTRY.fullmatch(data) or len(data) > MAX_ENTRY_BYTES:
        raise Bad("this is not the name of an annotation")
    entry = data.decode("ascii").lower()
    components = entry.split("/")[1:]
    if not top and len(components) < (4 if components[1:2] == ["vendor"] else 2):
        raise Bad("the name of an annotation has more components")
    return entry


def parse_wanted(cursor: Cursor) -> Wanted:
    """``[(options) SP] entries``, from where the entries or the options begin."""
    depth, max_size = 0, None
    if is_options(cursor):
        depth, max_size = parse_options(cursor)
        cursor.space()
    return Wanted(parse_entries(cursor), depth, max_size)


def parse_entries(cursor: Cursor) -> tuple[str, ...]:
    """One name, or several in parentheses, each once."""
    if cursor.peek() != 40:
        return (parse_entry(cursor, top=True),)
    entries = dict.fromkeys(cursor.list_of(lambda: parse_entry(cursor, top=True)))
    if len(entries) > MAX_ENTRIES:
        raise Bad("too many annotations at once")
    return tuple(entries)


def is_options(cursor: Cursor) -> bool:
    """Whether a list of options comes next, and not one of names, which begin with a slash."""
    return cursor.peek() == 40 and cursor.data[cursor.pos + 1 : cursor.pos + 2].isalpha()


def parse_options(cursor: Cursor) -> tuple[int, int | None]:
    """DEPTH and MAXSIZE (RFC 5464 §4.2.1, §4.2.2)."""
    found: dict[bytes, int] = {}

    def one() -> None:
        option = cursor.word()
        cursor.space()
        if option == b"MAXSIZE":
            found[option] = cursor.number()
        elif option == b"DEPTH":
            word = cursor.word()
            if word not in (b"0", b"1", b"INFINITY"):
                raise Bad("DEPTH is 0, 1 or infinity")
            found[option] = INFINITY if word == b"INFINITY" else int(word)
        else:
            raise Bad(f"unknown option {option.decode()[:40]}")

    cursor.list_of(one)
    return found.get(b"DEPTH", 0), found.get(b"MAXSIZE")


def parse_values(cursor: Cursor) -> dict[str, bytes | None]:
    """``(entry value …)``; the last value counts for a name that comes twice."""
    changes: dict[str, bytes | None] = {}

    def one() -> None:
        entry = parse_entry(cursor)
        cursor.space()
        changes[entry] = parse_value(cursor)

    cursor.list_of(one)
    if len(changes) > MAX_ENTRIES:
        raise Bad("too many annotations at once")
    return changes


def parse_value(cursor: Cursor) -> bytes | None:
    """An nstring, or a literal8, which may hold NUL (RFC 5464 §5 "value")."""
    if cursor.peek() == 126:
        cursor.take(b"~")
        content = cursor.literal()
        return content if isinstance(content, bytes) else bytes(content.buffer())
    return cursor.nstring()
