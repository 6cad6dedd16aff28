"""Address lists of From, To and their kin (RFC 5322 §3.4, and §4.4 for source routes).

The result is flat, as ENVELOPE wants it (RFC 3501 §7.4.2): a group is a mark with its name, the members,
and a mark of its end. Whatever is written in the field, nothing raises, and each address that is no mark
has a mailbox and a host: what is missing reads ``MISSING_MAILBOX`` or ``MISSING_DOMAIN``, as with Dovecot.
Encoded words stay encoded. A comment behind a bare address is taken as its name, as in RFC 822's days.
"""

import re
from typing import NamedTuple

from mstore.mail.header import comment_end, unescape

MISSING_MAILBOX = b"MISSING_MAILBOX"
MISSING_DOMAIN = b"MISSING_DOMAIN"
ADDRESS_LIMIT = 10_000
"""Addresses of one field beyond this number are left out."""

TOKEN_LIMIT = 50_000
"""Where the plain forms end, a field is read up to this many tokens."""

# Before Python 3.11.5 a possessive group does not go back when a repetition within it fails: the group's own
# repetition is an ordinary one where that can be.
_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]"
# The forms nearly all addresses have: "Name" <a@b>, Name <a@b>, <a@b> and a@b, then a comma or the end.
# Groups: quoted name, plain name, mailbox, host, and the last two again for a bare address. None can hold
# what an IMAP quoted string may not hold, or would have to escape.
match_plain = re.compile(
    rb'\s*+(?:(?:"([^"\\\r\n\x00\x80-\xff]++)"|(' + _ATEXT + rb"++(?: " + _ATEXT + rb"++)*))?\s*+"
    rb"<(" + _ATEXT + rb"++)@([A-Za-z0-9.-]++)>|(" + _ATEXT + rb"++)@([A-Za-z0-9.-]++))\s*+(?:,|\Z)"
).match
_TOKEN = re.compile(
    rb'(?P<space>\s++)|"(?P<quoted>(?:[^"\\]++|\\[\s\S])*+)\\?"?|(?P<literal>\[[^\]<>,;]*+\]?)'
    rb'|(?P<atom>(?:[^\s"(),:;<>@\[\\]++|\\[\s\S])++)|(?P<special>[(),:;<>@\\])'
).match


class Address(NamedTuple):
    """An address, or the mark of a group.

    ``host`` is ``None`` in marks only: at a group's begin ``mailbox`` is its name, at its end ``None``.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END = Address(None, None, None, None)


def parse_addresses(value: bytes, position: int = 0) -> list[Address]:
    """The addresses of an unfolded field from ``position`` on, groups as marks."""
    found: list[Address] = []
    end = len(value)
    while position < end and (plain := match_plain(value, position)):
        quoted, phrase, mailbox, host, bare_mailbox, bare_host = plain.groups()
        found.append(Address(quoted or phrase, None, mailbox or bare_mailbox, host or bare_host))
        position = plain.end()
        if len(found) >= ADDRESS_LIMIT:
            return found
    if position < end:
        _List(value, position, found).parse()
    return found


class _List:
    """Reads an address list token by token; used from where the plain forms end."""

    def __init__(self, value: bytes, position: int, found: list[Address]) -> None:
        self.value = value
        self.position = position
        self.found = found
        self.group = False
        self.clear()

    def clear(self) -> None:
        """Forget the address under way."""
        self.words: list[tuple[bytes, bool]] = []  # text, and whether white space stood before it
        self.name: bytes | None = None
        self.comment: bytes | None = None
        self.route: bytes | None = None
        self.domain: list[bytes] | None = None  # once an @ was seen
        self.angle = 0  # 1 inside <>, 2 behind
        self.gap = False

    def parse(self) -> None:
        """Append all addresses from here on to ``found``."""
        value, end = self.value, len(self.value)
        tokens = 0
        while self.position < end and len(self.found) < ADDRESS_LIMIT and tokens < TOKEN_LIMIT:
            tokens += 1
            token = _TOKEN(value, self.position)
            if token is None:
                self.position += 1
                continue
            start, self.position = self.position, token.end()
            kind = token.lastgroup
            if kind == "space":
                self.gap = True
            elif kind == "special":
                self._special(token["special"], start)
            elif kind == "quoted":
                self._word(unescape(token["quoted"]))
            else:
                self._word(token[0])
        self._finish()
        if self.group:
            self.found.append(GROUP_END)

    def _word(self, text: bytes) -> None:
        if self.angle == 2:
            return
        if self.domain is not None:
            self.domain.append(text)
        else:
            self.words.append((text, self.gap and bool(self.words)))
        self.gap = False

    def _special(self, mark: bytes, start: int) -> None:
        if mark == b"(":
            self.position = comment_end(self.value, start)
            text = self.value[start + 1 : self.position]
            self.comment = unescape(text[:-1] if text.endswith(b")") else text).strip()
            self.gap = True
        elif mark == b"<":
            self._open_angle()
        elif mark == b">":
            self.angle = 2 if self.angle else 0
        elif mark == b"@":
            self._at()
        elif mark == b":":
            self._colon()
        elif mark == b"," and self.angle == 1 and self.domain is not None and not self.words:
            self.domain.append(b",")  # within a source route
        elif mark in b",;":
            self._finish()
            if mark == b";" and self.group:
                self.found.append(GROUP_END)
                self.group = False

    def _open_angle(self) -> None:
        if self.angle:
            return
        name = self._phrase()
        if self.domain is not None:
            name += b"@" + b"".join(self.domain)
        comment = self.comment
        self.clear()
        self.name, self.comment, self.angle = name or None, comment, 1

    def _at(self) -> None:
        if self.angle == 2:
            return
        if self.domain is None:
            self.domain = []
        elif self.words:  # a@b@c: the last one counts
            self.words.append((b"@" + b"".join(self.domain), False))
            self.domain = []
        else:
            self.domain.append(b"@")  # the next stop of a source route

    def _colon(self) -> None:
        if self.angle == 1 and self.domain is not None and not self.words:
            self.route = b"@" + b"".join(self.domain)
            self.domain = None
        elif self.angle == 0 and not self.group and self.domain is None:
            self.found.append(Address(None, None, self._phrase(), None))
            self.clear()
            self.group = True
        else:
            self._word(b":")

    def _phrase(self) -> bytes:
        return b"".join([b" " + text if gap else text for text, gap in self.words])

    def _finish(self) -> None:
        """Append the address under way, if there is one."""
        if self.angle:
            name = self.name if self.name is not None else self.comment
            mailbox = b"".join([text for text, _ in self.words])
        elif self.domain is not None:
            lead, mailbox = self._split_local_part()
            name = lead or self.comment
        else:
            name, mailbox = self.comment, self._phrase()
        host = b"".join(self.domain) if self.domain else b""
        if self.angle or self.domain is not None or self.words:
            if not self.words:
                mailbox = MISSING_MAILBOX
            self.found.append(Address(name or None, self.route, mailbox, host or MISSING_DOMAIN))
        self.clear()

    def _split_local_part(self) -> tuple[bytes, bytes]:
        """Words before a bare ``@``: a stray phrase and the local part, spaced or not (RFC 5322 §4.4)."""
        words = self.words
        first = len(words) - 1
        while first > 0:
            text, gap = words[first]
            if gap and not text.startswith(b".") and not words[first - 1][0].endswith(b"."):
                break
            first -= 1
        first = max(first, 0)
        local = b"".join([text for text, _ in words[first:]])
        self.words = words[:first]
        lead = self._phrase()
        self.words = words
        return lead, local
