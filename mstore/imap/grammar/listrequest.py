"""The arguments of LIST, basic and extended (RFC 3501 §6.3.8, RFC 5258 §6, RFC 5819, RFC 6154, RFC 8440,
RFC 9590)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mstore.base.errors import Invalid
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.entries import Wanted, parse_wanted
from mstore.imap.grammar.names import fold_inbox, parse_name
from mstore.store.spaces import OTHERS_PREFIX

MAX_PATTERN_CHARACTERS = 2000
MAX_PATTERNS = 100
SELECTING = frozenset((b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"))
BASES = frozenset((b"SUBSCRIBED",))
"""What RECURSIVEMATCH needs beside it (RFC 5258 §6 "list-select-base-opt"; RFC 6154 §6 adds none)."""
RETURNING = frozenset((b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"MYRIGHTS", b"STATUS", b"METADATA"))

_OTHERS_INBOX = re.compile("(user/[^/%*]+/)inbox(?=/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What a LIST asks for."""

    patterns: tuple[str, ...]
    """Reference and pattern as one, decoded; those that can match nothing are left out."""
    separator_only: bool = False
    """The basic form with an empty pattern: only the hierarchy separator is asked for."""
    extended: bool = False
    select: frozenset[bytes] = frozenset()
    returns: frozenset[bytes] = frozenset()
    status_items: tuple[bytes, ...] = ()
    wanted: Wanted | None = None
    """Annotations, with METADATA."""


def parse_list(cursor: Cursor, check_status: Callable[[list[bytes]], None]) -> ListRequest:
    """All arguments, up to the end; ``check_status`` refuses STATUS items that are not there.

    Raises: Bad, No for patterns beyond the limits.
    """
    cursor.space()
    select: frozenset[bytes] = frozenset()
    extended = cursor.peek() == 40
    if extended:
        select = _parse_selection(cursor)
        cursor.space()
    reference = cursor.astring()
    cursor.space()
    if cursor.peek() == 40:
        extended = True
        written = cursor.list_of(cursor.list_mailbox)
        if len(written) > MAX_PATTERNS:
            raise No("too many patterns", b"LIMIT")
    else:
        written = [cursor.list_mailbox()]
    returns = _Returns(set(), [], [])
    if not cursor.at_end():
        extended = True
        cursor.space()
        cursor.expect(b"RETURN ")
        cursor.list_of(lambda: _parse_return(cursor, returns), may_be_empty=True)
        if returns.status_items:
            check_status(returns.status_items)
    cursor.end()
    if not extended and not written[0]:
        return ListRequest((), separator_only=True)
    return ListRequest(
        tuple(_parse_patterns(reference, written, cursor.utf8)),
        False,
        extended,
        select,
        frozenset(returns.options | (select & RETURNING)),
        tuple(dict.fromkeys(returns.status_items)),
        returns.wanted[-1] if returns.wanted else None,
    )


def parse_pattern(reference: bytes, pattern: bytes, utf8: bool) -> str:
    """Reference and pattern as one pattern, decoded; one in UTF-8 is normalized as names are (RFC 9051 §5.1).

    Raises: Invalid for what is no modified UTF-7, or no UTF-8, and so can match no name; No when it is too
    long.
    """
    text = fold_inbox(parse_name(reference, utf8) + parse_name(pattern, utf8))
    if utf8 and not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if text.startswith(OTHERS_PREFIX):
        text = _OTHERS_INBOX.sub(r"\1INBOX", text, 1)
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise No("pattern too long", b"LIMIT")
    return text


def _parse_patterns(reference: bytes, written: list[bytes], utf8: bool) -> list[str]:
    """RFC 5258 §3: an empty pattern, and one that no name can match, is ignored."""
    patterns = []
    for pattern in dict.fromkeys(written):
        try:
            if pattern:
                patterns.append(parse_pattern(reference, pattern, utf8))
        except Invalid:
            pass
    return patterns


def _parse_selection(cursor: Cursor) -> frozenset[bytes]:
    options = frozenset(cursor.list_of(cursor.word, may_be_empty=True))
    unknown = options - SELECTING
    if unknown:
        raise Bad(f"unknown selection option {min(unknown).decode()[:40]}")
    if b"RECURSIVEMATCH" in options and not options & BASES:
        raise Bad("RECURSIVEMATCH needs SUBSCRIBED beside it")
    return options


class _Returns(NamedTuple):
    options: set[bytes]
    status_items: list[bytes]
    wanted: list[Wanted]


def _parse_return(cursor: Cursor, returns: _Returns) -> None:
    option = cursor.word()
    if option not in RETURNING:
        raise Bad(f"unknown return option {option.decode()[:40]}")
    returns.options.add(option)
    if option == b"STATUS":
        cursor.space()
        returns.status_items.extend(cursor.words())
    elif option == b"METADATA":
        cursor.space()
        returns.wanted.append(parse_wanted(cursor))
