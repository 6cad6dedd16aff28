"""The items of FETCH responses (RFC 3501 §9 "msg-att", RFC 9051 §9, RFC 3516, 7162, 8474, 8514, 8970)."""

from __future__ import annotations

import re

from tests.kit.imapelements import LARGEST, LARGEST64, LITERAL, Elements

DATE_TIME = re.compile(
    rb'"( [0-9]|[0-9]{2})-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4}'
    rb' [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"'
)
SECTION = re.compile(rb"([1-9][0-9]*(?:\.[1-9][0-9]*)*)?(\.)?(HEADER\.FIELDS(?:\.NOT)?|HEADER|TEXT|MIME)?")
ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
SYSTEM_FLAGS = frozenset(rb"\answered \flagged \deleted \seen \draft".split())


class FetchItems(Elements):
    """What may stand in a FETCH response."""

    def flag(self) -> None:
        if self.take(b"\\"):
            if b"\\" + self.match(ATOM, "flag").lower() not in SYSTEM_FLAGS:
                self.fail("unknown system flag")
        else:
            self.match(ATOM, "keyword")

    def flag_fetch(self) -> None:
        if self.rev2 or not self.take(rb"\Recent"):
            self.flag()

    def object_id(self) -> None:
        self.match(re.compile(rb"\([A-Za-z0-9_\-]{1,255}\)"), "objectid")

    def fetch_item(self) -> None:
        name = self.match(re.compile(rb"[A-Z0-9.]+"), "fetch item")
        if name == b"BODY" and self.looking_at(b"["):
            self.section()
            return
        if name.startswith(b"BINARY"):
            self.binary(name == b"BINARY.SIZE")
            return
        self.expect(b" ")
        if name == b"FLAGS":
            self.list_of(self.flag_fetch, may_be_empty=True)
        elif name == b"EMAILID" or (name == b"THREADID" and not self.take(b"NIL")):
            self.object_id()
        elif name == b"THREADID":
            pass
        elif name == b"MODSEQ":
            self.expect(b"(")
            self.number(1, LARGEST64)
            self.expect(b")")
        elif name in (b"INTERNALDATE", b"SAVEDATE"):
            self.match(DATE_TIME, "date-time")
        elif name == b"RFC822.SIZE":
            self.number(highest=LARGEST64 if self.rev2 else LARGEST)
        elif name == b"UID":
            self.number(1)
        elif name in (b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT", b"PREVIEW"):
            self.nstring()
        elif name == b"ENVELOPE":
            self.envelope()
        elif name in (b"BODY", b"BODYSTRUCTURE"):
            self.body(name == b"BODYSTRUCTURE")
        else:
            self.fail("unknown fetch item before here")

    def binary(self, is_size: bool) -> None:
        self.match(re.compile(rb"\[([1-9][0-9]*(\.[1-9][0-9]*)*)?\]"), "section-binary")
        if is_size:
            self.expect(b" ")
            self.number()
            return
        if self.take(b"<"):
            # The request may have 63 bits (RFC 9051 §9 "partial"), and this repeats it.
            self.number(highest=LARGEST64 if self.rev2 else LARGEST)
            self.expect(b">")
        self.expect(b" ")
        if self.take(b"~"):
            size = int(self.match(LITERAL, "literal8")[1:-3])
            self.at += size
        else:
            self.nstring()

    def section(self) -> None:
        self.expect(b"[")
        match = SECTION.match(self.data, self.at)
        assert match is not None
        part, dot, text = match.groups()
        if (part and bool(dot) != bool(text)) or (not part and (dot or text == b"MIME")):
            self.fail("bad section")
        self.at = match.end()
        if text is not None and text.startswith(b"HEADER.FIELDS"):
            self.expect(b" ")
            self.list_of(self.astring)
        self.expect(b"]")
        if self.take(b"<"):
            # The request may have 63 bits (RFC 9051 §9 "partial"), and this repeats it.
            self.number(highest=LARGEST64 if self.rev2 else LARGEST)
            self.expect(b">")
        self.expect(b" ")
        self.nstring()

    def envelope(self) -> None:
        self.expect(b"(")
        self.nstring()
        self.expect(b" ")
        self.nstring()
        for _ in range(6):
            self.expect(b" ")
            self.addresses()
        for _ in range(2):
            self.expect(b" ")
            self.nstring()
        self.expect(b")")

    def addresses(self) -> None:
        if self.take(b"NIL"):
            return
        self.expect(b"(")
        while True:
            self.expect(b"(")
            self.nstring()
            for _ in range(3):
                self.expect(b" ")
                self.nstring()
            self.expect(b")")
            if self.take(b")"):
                return

    def body(self, extended: bool, depth: int = 0) -> None:
        if depth > 200:
            self.fail("body nested too deeply")
        self.expect(b"(")
        if self.looking_at(b"("):
            while self.looking_at(b"("):
                self.body(extended, depth + 1)
            self.expect(b" ")
            self.string()
            if extended:
                self.multipart_extension()
        else:
            self.single(extended, depth)
        self.expect(b")")

    def single(self, extended: bool, depth: int) -> None:
        media = self.string().upper()
        self.expect(b" ")
        subtype = self.string().upper()
        self.expect(b" ")
        self.parameters()
        for field in (self.nstring, self.nstring, self.string):
            self.expect(b" ")
            field()
        self.expect(b" ")
        self.number()
        if media == b"TEXT":
            self.expect(b" ")
            self.number()
        elif (media, subtype) == (b"MESSAGE", b"RFC822") or (
            self.rev2 and (media, subtype) == (b"MESSAGE", b"GLOBAL")
        ):
            self.expect(b" ")
            self.envelope()
            self.expect(b" ")
            self.body(extended, depth + 1)
            self.expect(b" ")
            self.number()
        if extended and self.take(b" "):
            self.nstring()
            self.disposition_and_rest()

    def multipart_extension(self) -> None:
        if self.take(b" "):
            self.parameters()
            self.disposition_and_rest()

    def disposition_and_rest(self) -> None:
        if not self.take(b" "):
            return
        if not self.take(b"NIL"):
            self.expect(b"(")
            self.string()
            self.expect(b" ")
            self.parameters()
            self.expect(b")")
        if not self.take(b" "):
            return
        if self.looking_at(b"("):
            self.list_of(self.string)
        else:
            self.nstring()
        if self.take(b" "):
            self.nstring()

    def parameters(self) -> None:
        if self.take(b"NIL"):
            return
        count = [0]

        def one() -> None:
            count[0] += 1
            self.string()

        self.list_of(one)
        if count[0] % 2:
            self.fail("parameter without a value")
