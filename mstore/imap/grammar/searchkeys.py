"""SEARCH keys: what a client asks, as the tree that ``mstore.store.search`` evaluates.

RFC 3501 §6.4.4 and §9, RFC 5032 (OLDER, YOUNGER), RFC 5182 (``$``). ``parse_search`` reads all that follows
the command's name. Chains of OR, which clients build by the hundred, become one flat node; nesting and the
number of keys are limited, so that no command can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from mstore.base import clock
from mstore.base.numset import LAST_RESULT, MAX_NUMBER
from mstore.imap.errors import Bad, No, uid_required
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.extensions import UTF8_ACCEPT
from mstore.mail.casemap import casemap
from mstore.mail.decode import decode_text, is_charset
from mstore.store.searchkeys import (
    All,
    Among,
    And,
    Column,
    Flag,
    Header,
    InternalDate,
    Keyword,
    Not,
    Or,
    Recent,
    SearchKey,
    SentDay,
    Seqs,
    Size,
    Text,
    Uids,
)

MAX_DEPTH = 50
MAX_KEYS = 2000
DAY_S = 86_400
EPOCH = date(1970, 1, 1).toordinal()
SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = (1 << bit for bit in range(5))
ENTRY = re.compile(rb"(?i:/flags/)\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
"""A flag as an item of metadata (RFC 7162 §7 "entry-flag-name")."""
OBJECT_ID = re.compile(rb"[A-Za-z0-9_\-]{1,255}")
EMAIL_ID = re.compile(rb"M[0-9a-f]{16}")
BADCHARSET = b"BADCHARSET (US-ASCII UTF-8)"

PLAIN: dict[bytes, SearchKey] = {
    b"ALL": All(),
    b"ANSWERED": Flag(ANSWERED),
    b"DELETED": Flag(DELETED),
    b"DRAFT": Flag(DRAFT),
    b"FLAGGED": Flag(FLAGGED),
    b"NEW": And((Recent(), Not(Flag(SEEN)))),
    b"OLD": Not(Recent()),
    b"RECENT": Recent(),
    b"SAVEDATESUPPORTED": All(),
    b"SEEN": Flag(SEEN),
    b"UNANSWERED": Not(Flag(ANSWERED)),
    b"UNDELETED": Not(Flag(DELETED)),
    b"UNDRAFT": Not(Flag(DRAFT)),
    b"UNFLAGGED": Not(Flag(FLAGGED)),
    b"UNSEEN": Not(Flag(SEEN)),
}
OF_RECENT = frozenset((b"NEW", b"OLD", b"RECENT"))
"""What IMAP4rev2 has no more (RFC 9051, Appendix E)."""
FIELDS = frozenset((b"BCC", b"CC", b"FROM", b"SUBJECT", b"TO"))
DATES: dict[bytes, Callable[[int], SearchKey]] = {
    b"BEFORE": lambda day: InternalDate(None, day * DAY_S),
    b"ON": lambda day: InternalDate(day * DAY_S, (day + 1) * DAY_S),
    b"SINCE": lambda day: InternalDate(day * DAY_S, None),
    b"SENTBEFORE": lambda day: SentDay(None, day),
    b"SENTON": lambda day: SentDay(day, day + 1),
    b"SENTSINCE": lambda day: SentDay(day, None),
    b"SAVEDBEFORE": lambda day: Column("save_date", None, day * DAY_S),
    b"SAVEDON": lambda day: Column("save_date", day * DAY_S, (day + 1) * DAY_S),
    b"SAVEDSINCE": lambda day: Column("save_date", day * DAY_S, None),
}

OTHERS = frozenset(
    b"BODY EMAILID HEADER KEYWORD LARGER MODSEQ NOT SMALLER TEXT THREADID UID UNKEYWORD".split()
)
AGES: dict[bytes, Callable[[int], SearchKey]] = {
    b"OLDER": lambda target_s: InternalDate(None, target_s + 1),
    b"YOUNGER": lambda target_s: InternalDate(target_s, None),
}
"""RFC 5032 §2: less recent than a time, or more recent; both or equal to it."""

WITH_ARGUMENT = frozenset((*OTHERS, *DATES, *AGES, *FIELDS))
Array = np.ndarray[Any, np.dtype[Any]]


def parse_search(cursor: Cursor, saved: Array | None, uid_only: bool = False) -> SearchKey:
    """Read ``[CHARSET name] key …`` to the end of the command; several keys are a conjunction.

    ``saved`` are the UIDs that ``$`` stands for, None where nothing can have been saved. With ``uid_only``
    message numbers are refused (RFC 9586 §3.5).
    Raises: Bad for what is no search program, and for a charset where UTF-8 is enabled (RFC 6855 §3); No with
    BADCHARSET for a charset that is not known.
    """
    parser = _Parser(cursor, saved, uid_only)
    word = cursor.word() if parser.at_word() else b""
    if word == b"CHARSET":
        if UTF8_ACCEPT in cursor.enabled:
            raise Bad("No CHARSET after ENABLE UTF8=ACCEPT: all is in UTF-8")
        cursor.space()
        parser.charset = _find_charset(cursor.astring())
        cursor.space()
        word = cursor.word() if parser.at_word() else b""
    return parser.program(word)


def parse_criteria(cursor: Cursor, saved: Array | None, uid_only: bool = False) -> SearchKey:
    """Read ``charset key …`` to the end of the command, as SORT and THREAD have it (RFC 5256 §5).

    Raises: as ``parse_search``.
    """
    parser = _Parser(cursor, saved, uid_only)
    parser.charset = _find_charset(cursor.astring())
    cursor.space()
    return parser.program(None)


def _find_charset(name: bytes) -> str:
    charset = name.decode("latin-1")
    if not is_charset(charset):
        raise No("Unknown charset", BADCHARSET)
    return charset


class _Parser:
    """The keys of one command, counted."""

    def __init__(self, cursor: Cursor, saved: Array | None, uid_only: bool) -> None:
        self._cursor = cursor
        self._saved = saved
        self._rev2 = cursor.rev2
        self._uid_only = uid_only
        self._count = 0
        self._now_s = int(clock.now())
        """One moment for all ages that are asked for."""
        self.charset = "utf-8"

    def at_word(self) -> bool:
        """Whether a key's name comes next, not a set or a parenthesis."""
        follower = self._cursor.peek()
        return follower is not None and (0x41 <= follower <= 0x5A or 0x61 <= follower <= 0x7A)

    def program(self, word: bytes | None) -> SearchKey:
        """All keys up to the end; ``word`` is the name of the first where that was read already."""
        keys = [self.key(word, 0)]
        while not self._cursor.at_end():
            self._cursor.space()
            keys.append(self.key(None, 0))
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def key(self, word: bytes | None, depth: int) -> SearchKey:
        """One key; ``word`` is its name where that was read already."""
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_KEYS:
            raise Bad("Search too complex")
        cursor = self._cursor
        if not word:
            if not self.at_word():
                return self._group(depth) if cursor.take(b"(") else self._set(Seqs)
            word = cursor.word()
        plain = PLAIN.get(word)
        if plain is not None and not (self._rev2 and word in OF_RECENT):
            return plain
        if word == b"OR":
            return self._or(depth)
        if word not in WITH_ARGUMENT:
            raise Bad("Unknown search key")
        cursor.space()
        if word == b"NOT":
            return Not(self.key(None, depth + 1))
        return self._with_argument(word)

    def _group(self, depth: int) -> SearchKey:
        keys = [self.key(None, depth + 1)]
        while not self._cursor.take(b")"):
            self._cursor.space()
            keys.append(self.key(None, depth + 1))
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def _or(self, depth: int) -> SearchKey:
        """All alternatives of nested ORs: each further OR asks for one more key."""
        keys: list[SearchKey] = []
        missing = 2
        while missing:
            self._cursor.space()
            word = self._cursor.word() if self.at_word() else None
            if word == b"OR":
                missing += 1
                if missing > MAX_KEYS:
                    raise Bad("Search too complex")
                continue
            keys.append(self.key(word, depth + 1))
            missing -= 1
        return Or(tuple(keys))

    def _with_argument(self, word: bytes) -> SearchKey:
        cursor = self._cursor
        dated = DATES.get(word)
        if dated is not None:
            return dated(cursor.date().toordinal() - EPOCH)
        if word in FIELDS:
            return Header(word.lower(), self._text())
        if word in (b"BODY", b"TEXT"):
            return Text(self._text(), with_header=word == b"TEXT")
        if word == b"HEADER":
            name = cursor.astring()
            cursor.space()
            return Header(name.lower(), self._text())
        if word in (b"KEYWORD", b"UNKEYWORD"):
            keyword = Keyword(cursor.atom())
            return keyword if word == b"KEYWORD" else Not(keyword)
        if word == b"LARGER":
            return Size(self._size() + 1, None)
        if word == b"SMALLER":
            return Size(None, self._size())
        if word in (b"EMAILID", b"THREADID"):
            return self._object(word)
        if word == b"MODSEQ":
            return Column("modseq", self._modseq(), None)
        aged = AGES.get(word)
        if aged is not None:
            return aged(self._now_s - cursor.nz_number())
        return self._set(Uids)

    def _set(self, kind: type[Seqs] | type[Uids]) -> SearchKey:
        numbers = self._cursor.sequence_set()
        if numbers is not LAST_RESULT:
            if self._uid_only and kind is Seqs:
                raise uid_required()
            return kind(numbers)
        if self._saved is None:
            raise Bad("No search result is saved for these mailboxes")
        return Among(self._saved)

    def _object(self, word: bytes) -> SearchKey:
        """What has an object identifier; one that was never given is nobody's (RFC 8474 §6)."""
        identifier = self._cursor.atom()
        if not OBJECT_ID.fullmatch(identifier):
            raise Bad("Not an object identifier")
        if word == b"THREADID" or not EMAIL_ID.fullmatch(identifier):
            return Not(All())
        number = int(identifier[1:], 16)
        return Column("email_id", number, number + 1)

    def _modseq(self) -> int:
        """The lowest MODSEQ wanted; a message has one for all its metadata, whichever of them is named."""
        cursor = self._cursor
        if cursor.peek() == 34:
            entry = cursor.string()
            if not ENTRY.fullmatch(entry):
                raise Bad("Unknown metadata item")
            cursor.space()
            if cursor.word() not in (b"PRIV", b"SHARED", b"ALL"):
                raise Bad("priv, shared or all expected")
            cursor.space()
        return cursor.number64()

    def _size(self) -> int:
        """A number of octets; in IMAP4rev2 one that no message has is as good as the next (RFC 9051 §9)."""
        return min(self._cursor.number64(), MAX_NUMBER + 1) if self._rev2 else self._cursor.number()

    def _text(self) -> str:
        text = decode_text(self._cursor.astring(), self.charset)
        if "\ufffd" in text:
            raise Bad("Search text is not in its charset")
        return casemap(text)
