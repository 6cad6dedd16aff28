"""A position in one command: takes the elements of the grammar off its front (RFC 3501 §9).

The reader has put the whole command together: one run of bytes in which every literal is announced as
``{n}`` and a line end, and the literals themselves aside, in order. Every method either consumes exactly
one element or raises ``Bad`` with a text for humans; nothing is ever parsed twice. What the client has
enabled decides whether UTF-8 may stand in quoted strings, and how names are written.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from mstore.base.errors import Invalid
from mstore.base.numset import LAST_RESULT, MAX_NUMBER, NumSet, parse_numset
from mstore.files.spool import Part, Spool
from mstore.imap.errors import Bad, No
from mstore.imap.grammar import dates, extensions, flags, names

T = TypeVar("T")
Literal = bytes | Spool | Part

MAX_STRING_BYTES = 1 << 20
"""The longest string argument; messages alone may be longer."""

_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_LIST_MAILBOX = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")
_QUOTED = re.compile(rb'"([^"\\\r\n\x00]*(?:\\["\\][^"\\\r\n\x00]*)*)"')
_UNQUOTE = re.compile(rb"\\(.)")
_LITERAL = re.compile(rb"\{[0-9]+\+?\}\r?\n")
_NUMBER = re.compile(rb"[0-9]+")
_WORD = re.compile(rb"[A-Za-z0-9.\-_=]+")
_WORDS = re.compile(rb"\([A-Za-z0-9.\-_=]+(?: [A-Za-z0-9.\-_=]+)*\)")
_SEQUENCE_SET = re.compile(rb"[0-9:,*]+")
_FLAG = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_DATE = re.compile(rb'"([^"\r\n\\]*)"|([0-9A-Za-z\-]+)')


class Cursor:
    """One command's bytes and literals, read from left to right."""

    __slots__ = ("_literals", "_next_literal", "data", "enabled", "pos")

    def __init__(
        self,
        data: bytes,
        literals: Sequence[Literal] = (),
        enabled: frozenset[bytes] = extensions.NONE,
    ) -> None:
        self.data = data
        self.enabled = enabled
        """The extensions that the client has enabled."""
        self.pos = 0
        self._literals = literals
        self._next_literal = 0

    @property
    def utf8(self) -> bool:
        """Whether UTF-8 may stand in quoted strings, and names are in UTF-8 (RFC 6855 §3, RFC 9051 §5.1)."""
        return bool(self.enabled) and not extensions.UTF8.isdisjoint(self.enabled)

    @property
    def rev2(self) -> bool:
        """Whether this is IMAP4rev2 (RFC 9051)."""
        return extensions.IMAP4REV2 in self.enabled

    # -- single bytes ------------------------------------------------------------------------------------

    def peek(self) -> int | None:
        """The next byte, not consumed; None at the end."""
        return self.data[self.pos] if self.pos < len(self.data) else None

    def take(self, text: bytes) -> bool:
        """Consume this text if it comes next, in any letter case; say whether it did."""
        end = self.pos + len(text)
        found = self.data[self.pos : end]
        if found == text or found.upper() == text.upper():
            self.pos = end
            return True
        return False

    def expect(self, text: bytes) -> None:
        """Consume this text, which must come next."""
        if not self.take(text):
            raise Bad(f"{text.decode('ascii', 'replace')} expected")

    def space(self) -> None:
        """Exactly one space (RFC 3501 §9 "exactly one space")."""
        if self.data[self.pos : self.pos + 1] != b" ":
            raise Bad("missing argument" if self.pos >= len(self.data) else "one space expected")
        self.pos += 1

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.pos >= len(self.data)

    def end(self) -> None:
        """Nothing more may come."""
        if self.pos < len(self.data):
            raise Bad("too many arguments")

    def rest(self) -> bytes:
        """Everything that is left, consumed."""
        data = self.data[self.pos :]
        self.pos = len(self.data)
        return data

    # -- words and numbers -------------------------------------------------------------------------------

    def tag(self) -> bytes:
        """A command's tag."""
        return self._match(_TAG, "tag")

    def atom(self) -> bytes:
        """An atom, as written."""
        return self._match(_ATOM, "atom")

    def word(self) -> bytes:
        """A keyword of the protocol in capitals: letters, digits, ``.``, ``-``, ``_`` and ``=``."""
        return self._match(_WORD, "keyword").upper()

    def number(self) -> int:
        """An unsigned 32-bit number."""
        value = int(self._match(_NUMBER, "number")[:20])
        if value > MAX_NUMBER:
            raise Bad("number too large")
        return value

    def number64(self) -> int:
        """An unsigned 63-bit number (RFC 9051 §9 "number64")."""
        value = int(self._match(_NUMBER, "number")[:20])
        if value >> 63:
            raise Bad("number too large")
        return value

    def nz_number(self) -> int:
        """A number above zero."""
        if self.peek() == 48:
            raise Bad("number above zero expected")
        return self.number()

    def sequence_set(self) -> NumSet:
        """A set of message numbers or UIDs, ``*`` still symbolic; ``LAST_RESULT`` for ``$`` (RFC 5182 §3)."""
        if self.peek() == 36:
            self.pos += 1
            return LAST_RESULT
        text = self._match(_SEQUENCE_SET, "message set")
        try:
            return parse_numset(text)
        except Invalid as error:
            raise Bad(str(error)) from None

    # -- strings -----------------------------------------------------------------------------------------

    def astring(self) -> bytes:
        """An atom, in which ``]`` may occur, or a string."""
        match = _ASTRING.match(self.data, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[0]
        return self.string()

    def string(self) -> bytes:
        """A quoted string or a literal.

        Raises: Bad also for anything but UTF-8 in quotes, and for UTF-8 that is not enabled (RFC 6855 §3).
        """
        kind = self.peek()
        if kind == 34:
            data = self._quoted()
            if not data.isascii():
                self._check_quoted(data)
            return data
        if kind == 123:
            content = self.literal()
            if isinstance(content, bytes):
                data = content
            elif content.size <= MAX_STRING_BYTES:
                data = bytes(content.buffer())
            else:
                raise Bad("string too long")
            if b"\0" in data:
                raise Bad("NUL in a string")
            return data
        raise Bad("missing argument" if kind is None else "string expected")

    def nstring(self) -> bytes | None:
        """A string, or None for NIL."""
        if self.peek() in (34, 123):
            return self.string()
        if self._match(_ATOM, "string or NIL").upper() != b"NIL":
            raise Bad("string or NIL expected")
        return None

    def literal8(self) -> tuple[Literal, bool]:
        """A literal, or one that may have NULs in it, and whether it is one of these (RFC 3516 §7)."""
        is_binary = self.take(b"~")
        return self.literal(), is_binary

    def literal(self) -> Literal:
        """A literal: bytes, or a spool when it is large."""
        match = _LITERAL.match(self.data, self.pos)
        if match is None or self._next_literal >= len(self._literals):
            raise Bad("literal expected")
        self.pos = match.end()
        self._next_literal += 1
        return self._literals[self._next_literal - 1]

    # -- compound elements -------------------------------------------------------------------------------

    def list_of(self, parse: Callable[[], T], may_be_empty: bool = False) -> list[T]:
        """A parenthesized list, each element read by ``parse``."""
        self.expect(b"(")
        if may_be_empty and self.take(b")"):
            return []
        elements = [parse()]
        while not self.take(b")"):
            self.space()
            elements.append(parse())
        return elements

    def words(self) -> list[bytes]:
        """A parenthesized list of keywords of the protocol, in capitals; at least one."""
        return self._match(_WORDS, "list of keywords")[1:-1].upper().split(b" ")

    def mailbox(self) -> str:
        """A mailbox name, decoded, with INBOX in capitals.

        Raises: as ``written_mailbox``.
        """
        return names.fold_inbox(self.written_mailbox())

    def written_mailbox(self) -> str:
        """A mailbox name, decoded, otherwise as the client has written it.

        Raises: No with CANNOT when it is no correct modified UTF-7, or no UTF-8 where that is enabled, for no
        mailbox can have that name; Bad for what cannot stand in quotes.
        """
        utf8 = self.utf8
        data = self._quoted() if self.peek() == 34 and not utf8 else self.astring()
        try:
            return names.parse_name(data, utf8)
        except Invalid as error:
            raise No(str(error), b"CANNOT") from None

    def list_mailbox(self) -> bytes:
        """A LIST pattern, still encoded."""
        match = _LIST_MAILBOX.match(self.data, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[0]
        return self.string()

    def flag(self) -> bytes:
        """A flag or keyword."""
        return self._match(_FLAG, "flag")

    def flag_list(self) -> list[bytes]:
        """Flags in parentheses, perhaps none."""
        return self.list_of(self.flag, may_be_empty=True)

    def flags(self) -> tuple[int, tuple[bytes, ...]]:
        """A flag-list, or bare flags up to the end: system flag bits and keywords (RFC 3501 §6.4.6)."""
        if self.peek() == 40:
            found = self.flag_list()
        else:
            found = [self.flag()]
            while self.take(b" "):
                found.append(self.flag())
        try:
            return flags.split_flags(found)
        except Invalid as error:
            raise Bad(str(error)) from None

    def date(self) -> datetime.date:
        """A date, quoted or not."""
        match = _DATE.match(self.data, self.pos)
        if match is None:
            raise Bad("date expected")
        try:
            value = dates.parse_date(match[1] if match[1] is not None else match[2])
        except Invalid as error:
            raise Bad(str(error)) from None
        self.pos = match.end()
        return value

    def date_time(self) -> int:
        """A quoted date-time, as seconds since 1970 UTC."""
        try:
            return dates.parse_date_time(self._quoted())
        except Invalid as error:
            raise Bad(str(error)) from None

    # -- inside ------------------------------------------------------------------------------------------

    def _match(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        match = pattern.match(self.data, self.pos)
        if match is None:
            raise Bad("missing argument" if self.pos >= len(self.data) else f"{what} expected")
        self.pos = match.end()
        return match[0]

    def _check_quoted(self, data: bytes) -> None:
        if not self.utf8:
            raise Bad("bytes beyond ASCII in quotes: use a literal, or ENABLE UTF8=ACCEPT")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("not correct UTF-8 in quotes") from None

    def _quoted(self) -> bytes:
        match = _QUOTED.match(self.data, self.pos)
        if match is None:
            raise Bad("quoted string expected")
        self.pos = match.end()
        return _UNQUOTE.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1]
