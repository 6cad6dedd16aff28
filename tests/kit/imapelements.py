"""A position in a response, and the elements that are taken off it (RFC 3501 §9, RFC 9051 §9)."""

from __future__ import annotations

import re
from collections.abc import Callable

ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
NUMBER = re.compile(rb"[0-9]+")
QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
QUOTED_UTF8 = re.compile(rb'"((?:[^"\\\r\n\x00]|\\["\\])*)"')
LARGEST, LARGEST64 = 2**32 - 1, 2**63 - 1
UTF8 = frozenset((b"UTF8=ACCEPT", b"IMAP4rev2"))


class Illegal(AssertionError):
    """A response that the grammar does not allow."""


class Elements:
    """A position in a response; every method takes one element or fails."""

    def __init__(self, data: bytes, enabled: frozenset[bytes] = frozenset()) -> None:
        self.data = data
        self.at = 0
        self.rev2 = b"IMAP4rev2" in enabled
        self.is_notified = b"NOTIFY" in enabled
        self.utf8 = not UTF8.isdisjoint(enabled)

    def fail(self, why: str) -> None:
        here = self.data[self.at : self.at + 60]
        raise Illegal(f"{why} at byte {self.at}: {here!r} in {self.data[:200]!r}")

    def looking_at(self, text: bytes) -> bool:
        return self.data.startswith(text, self.at)

    def take(self, text: bytes) -> bool:
        if self.looking_at(text):
            self.at += len(text)
            return True
        return False

    def expect(self, text: bytes) -> None:
        if not self.take(text):
            self.fail(f"{text!r} expected")

    def match(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        match = pattern.match(self.data, self.at)
        if match is None:
            self.fail(f"{what} expected")
        assert match is not None
        self.at = match.end()
        return match[0]

    def number(self, lowest: int = 0, highest: int = LARGEST) -> int:
        text = self.match(NUMBER, "number")
        if not lowest <= int(text) <= highest or (lowest and text.startswith(b"0")):
            self.fail("number out of range before here")
        return int(text)

    def string(self) -> bytes:
        if self.looking_at(b'"'):
            return re.sub(rb"\\(.)", rb"\1", self.quoted()[1:-1])
        size = int(self.match(LITERAL, "string")[1:-3])
        data = self.data[self.at : self.at + size]
        if len(data) != size:
            self.fail("literal cut short")
        if b"\0" in data:
            self.fail("NUL in a literal")
        self.at += size
        return data

    def quoted(self) -> bytes:
        """With its quotes; UTF-8 in it where that is enabled (RFC 6855 §3)."""
        text = self.match(QUOTED_UTF8 if self.utf8 else QUOTED, "quoted string")
        try:
            text.decode()
        except UnicodeDecodeError:
            self.fail("quoted string in no UTF-8, before here")
        return text

    def nstring(self) -> bytes | None:
        return None if self.take(b"NIL") else self.string()

    def astring(self) -> bytes:
        if self.looking_at(b'"') or self.looking_at(b"{"):
            return self.string()
        return self.match(ASTRING, "astring")

    def list_of(self, element: Callable[[], object], may_be_empty: bool = False) -> None:
        self.expect(b"(")
        if may_be_empty and self.take(b")"):
            return
        element()
        while self.take(b" "):
            element()
        self.expect(b")")
