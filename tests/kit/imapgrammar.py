"""A strict reader of IMAP responses: the grammar of RFC 3501 §9, and nothing beyond what we announce.

It shares no code with the server. ``check_response`` takes one whole response, literals included, and fails
with the place of the first byte that the grammar does not allow there. Unknown responses, response codes,
FETCH items and mailbox attributes fail too: what we never meant to say must not be said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from tests.kit.imapresults import check_esearch, check_metadata, check_thread

_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
_NUMBER = re.compile(rb"[0-9]+")
_TEXT = re.compile(rb"[^\x00\r\n\x80-\xff]+")
_CODE_TEXT = re.compile(rb"[^\x00\r\n\x80-\xff\]]+")
_DATE_TIME = re.compile(
    rb'"( [0-9]|[0-9]{2})-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4}'
    rb' [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"'
)
_UID_SET = re.compile(rb"[1-9][0-9]*(:[1-9][0-9]*)?(,[1-9][0-9]*(:[1-9][0-9]*)?)*")
_SECTION = re.compile(rb"([1-9][0-9]*(?:\.[1-9][0-9]*)*)?(\.)?(HEADER\.FIELDS(?:\.NOT)?|HEADER|TEXT|MIME)?")

PLAIN_CODES = frozenset(
    b"ALERT PARSE READ-ONLY READ-WRITE TRYCREATE UIDNOTSTICKY TOOBIG "
    b"UNAVAILABLE AUTHENTICATIONFAILED AUTHORIZATIONFAILED EXPIRED PRIVACYREQUIRED CONTACTADMIN NOPERM INUSE "
    b"EXPUNGEISSUED CORRUPTION SERVERBUG CLIENTBUG CANNOT LIMIT OVERQUOTA ALREADYEXISTS NONEXISTENT "
    b"CLOSED UNKNOWN-CTE NOTSAVED USEATTR COMPRESSIONACTIVE UIDREQUIRED".split()
)
MAILBOX_ATTRIBUTES = frozenset(
    rb"\noselect \noinferiors \marked \unmarked \haschildren \hasnochildren \nonexistent \subscribed "
    rb"\archive \drafts \junk \sent \trash".split()
)
WIDE_STATUS_ITEMS = frozenset(b"DELETED-STORAGE HIGHESTMODSEQ SIZE".split())
STATUS_ITEMS = WIDE_STATUS_ITEMS.union(
    b"MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED APPENDLIMIT MAILBOXID".split()
)
ENABLED = frozenset(b"CONDSTORE QRESYNC UIDONLY".split())
SYSTEM_FLAGS = frozenset(rb"\answered \flagged \deleted \seen \draft".split())


class Illegal(AssertionError):
    """A response that the grammar does not allow."""


def check_response(data: bytes) -> None:
    """Fail unless this is exactly one legal response.

    Raises: Illegal.
    """
    checker = Checker(data)
    checker.response()
    if checker.at != len(data):
        checker.fail("end of the response expected")


class Checker:
    """A position in a response; every method takes one element or fails."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, why: str) -> None:
        here = self.data[self.at : self.at + 60]
        raise Illegal(f"{why} at byte {self.at}: {here!r} in {self.data[:200]!r}")

    # -- elements ----------------------------------------------------------------------------------------

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

    def number(self, lowest: int = 0, highest: int = 2**32 - 1) -> int:
        text = self.match(_NUMBER, "number")
        if not lowest <= int(text) <= highest or (lowest and text.startswith(b"0")):
            self.fail("number out of range before here")
        return int(text)

    def string(self) -> bytes:
        if self.looking_at(b'"'):
            return re.sub(rb"\\(.)", rb"\1", self.match(_QUOTED, "quoted string")[1:-1])
        size = int(self.match(_LITERAL, "string")[1:-3])
        data = self.data[self.at : self.at + size]
        if len(data) != size:
            self.fail("literal cut short")
        if b"\0" in data:
            self.fail("NUL in a literal")
        self.at += size
        return data

    def nstring(self) -> bytes | None:
        return None if self.take(b"NIL") else self.string()

    def astring(self) -> bytes:
        if self.looking_at(b'"') or self.looking_at(b"{"):
            return self.string()
        return self.match(re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+"), "astring")

    def list_of(self, element: Callable[[], object], may_be_empty: bool = False) -> None:
        self.expect(b"(")
        if may_be_empty and self.take(b")"):
            return
        element()
        while self.take(b" "):
            element()
        self.expect(b")")

    # -- responses ---------------------------------------------------------------------------------------

    def response(self) -> None:
        if self.take(b"+ "):
            if not self.looking_at(b"\r\n"):
                self.resp_text()
        elif self.take(b"* "):
            self.untagged()
        else:
            self.match(_TAG, "tag")
            self.expect(b" ")
            self.condition((b"OK", b"NO", b"BAD"))
        self.expect(b"\r\n")

    def untagged(self) -> None:
        match = _NUMBER.match(self.data, self.at)
        if match is not None:
            self.numbered()
            return
        word = _ATOM.match(self.data, self.at)
        name = word[0] if word is not None else b""
        table: dict[bytes, Callable[[], object]] = {
            b"CAPABILITY": self.capability,
            b"ENABLED": self.enabled,
            b"VANISHED": self.vanished,
            b"LIST": self.mailbox_list,
            b"LSUB": lambda: self.mailbox_list(extended=False),
            b"STATUS": self.status,
            b"SEARCH": self.search,
            b"SORT": self.search,
            b"ESEARCH": partial(check_esearch, self),
            b"THREAD": partial(check_thread, self),
            b"FLAGS": self.flags,
            b"NAMESPACE": self.namespace,
            b"ID": self.identification,
            b"ACL": self.acl,
            b"LISTRIGHTS": self.listrights,
            b"MYRIGHTS": self.myrights,
            b"QUOTA": self.quota,
            b"QUOTAROOT": self.quotaroot,
            b"METADATA": partial(check_metadata, self),
        }
        if name in (b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"):
            self.condition((name,))
        elif name in table:
            self.at += len(name)
            table[name]()
        else:
            self.fail("unknown untagged response")

    def condition(self, kinds: tuple[bytes, ...]) -> None:
        if not any(self.take(kind + b" ") for kind in kinds):
            self.fail("status expected")
        self.resp_text()

    def resp_text(self) -> None:
        if self.take(b"["):
            self.code()
            self.expect(b"] ")
        self.match(_TEXT, "text")

    def code(self) -> None:
        name = self.match(_ATOM, "response code")
        if name in PLAIN_CODES:
            return
        if name == b"CAPABILITY":
            self.capability()
        elif name == b"PERMANENTFLAGS":
            self.expect(b" ")
            self.list_of(self.flag_perm, may_be_empty=True)
        elif name in (b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN"):
            self.expect(b" ")
            self.number(1)
        elif name == b"HIGHESTMODSEQ":
            self.expect(b" ")
            self.number(1, 2**63 - 1)
        elif name == b"MAILBOXID":
            self.expect(b" ")
            self.object_id()
        elif name == b"BADURL":
            self.expect(b" ")
            self.match(_CODE_TEXT, "url-resp-text")
        elif name == b"MODIFIED":
            self.expect(b" ")
            self.match(_UID_SET, "sequence-set")
        elif name == b"APPENDUID":
            self.expect(b" ")
            self.number(1)
            self.expect(b" ")
            self.match(_UID_SET, "uid-set")
        elif name == b"COPYUID":
            self.expect(b" ")
            self.number(1)
            for _ in range(2):
                self.expect(b" ")
                self.match(_UID_SET, "uid-set")
        elif name == b"NOUPDATE":
            self.expect(b" ")
            self.match(_QUOTED, "tag")
        elif name == b"INPROGRESS":
            if self.take(b" ("):
                if not self.take(b"NIL"):
                    self.match(_QUOTED, "tag")
                if not self.take(b" NIL NIL"):
                    self.expect(b" ")
                    done = self.number()
                    if not self.take(b" NIL"):
                        self.expect(b" ")
                        self.number(done + 1)
                self.expect(b")")
        elif name == b"METADATA":
            if not self.take(b" TOOMANY"):
                self.match(re.compile(rb" (LONGENTRIES|MAXSIZE) "), "METADATA with what")
                self.number()
        elif name == b"BADCHARSET":
            if self.take(b" "):
                self.list_of(self.astring)
        else:
            self.fail(f"unknown response code {name!r}")

    def capability(self) -> None:
        names = []
        while self.take(b" "):
            names.append(self.match(_ATOM, "capability"))
        if b"IMAP4rev1" not in names or len(set(names)) != len(names):
            self.fail("capabilities without IMAP4rev1, or twice the same")

    def object_id(self) -> None:
        self.match(re.compile(rb"\([A-Za-z0-9_\-]{1,255}\)"), "objectid")

    def enabled(self) -> None:
        while self.take(b" "):
            if self.match(_ATOM, "capability") not in ENABLED:
                self.fail("what cannot be enabled before here")

    def vanished(self) -> None:
        self.take(b" (EARLIER)")
        self.expect(b" ")
        self.match(_UID_SET, "known-uids")

    def mailbox_list(self, extended: bool = True) -> None:
        self.expect(b" (")
        told = set()
        while not self.take(b")"):
            self.expect(b"\\")
            attribute = b"\\" + self.match(_ATOM, "attribute").lower()
            if attribute not in MAILBOX_ATTRIBUTES or attribute in told:
                self.fail("unknown mailbox attribute, or twice the same, before here")
            told.add(attribute)
            if not self.looking_at(b")"):
                self.expect(b" ")
        if {b"\\haschildren", b"\\hasnochildren"} <= told:
            self.fail("with and without children, before here")
        self.expect(b' "/" ')
        self.astring()
        if extended and self.take(b' ("CHILDINFO" ("SUBSCRIBED"'):
            self.expect(b"))")

    def status(self) -> None:
        self.expect(b" ")
        self.astring()
        self.expect(b" ")
        self.list_of(self.status_item, may_be_empty=True)

    def status_item(self) -> None:
        name = self.match(_ATOM, "status item")
        if name not in STATUS_ITEMS:
            self.fail("unknown status item")
        self.expect(b" ")
        if name == b"MAILBOXID":
            self.object_id()
            return
        self.number(highest=2**63 - 1 if name in WIDE_STATUS_ITEMS else 2**32 - 1)

    def search(self) -> None:
        while self.take(b" "):
            if self.take(b"(MODSEQ "):
                self.number(1, 2**63 - 1)
                self.expect(b")")
                return
            self.number(1)

    def flags(self) -> None:
        self.expect(b" ")
        self.list_of(self.flag, may_be_empty=True)

    def flag(self) -> None:
        if self.take(b"\\"):
            if b"\\" + self.match(_ATOM, "flag").lower() not in SYSTEM_FLAGS:
                self.fail("unknown system flag")
        else:
            self.match(_ATOM, "keyword")

    def flag_perm(self) -> None:
        if not self.take(rb"\*"):
            self.flag()

    def flag_fetch(self) -> None:
        if not self.take(rb"\Recent"):
            self.flag()

    def namespace(self) -> None:
        for _ in range(3):
            self.expect(b" ")
            if self.take(b"NIL"):
                continue
            self.expect(b"(")
            while True:
                self.expect(b"(")
                self.string()
                self.expect(b" ")
                self.nstring()
                self.expect(b")")
                if self.take(b")"):
                    break

    def identification(self) -> None:
        self.expect(b" ")
        if self.take(b"NIL"):
            return
        count = [0]

        def one() -> None:
            count[0] += 1
            if self.nstring() is None and count[0] % 2:
                self.fail("ID parameter without a name")

        self.list_of(one, may_be_empty=True)
        if count[0] % 2:
            self.fail("ID parameter without a value")

    def rights(self) -> bytes:
        rights = self.astring()
        if not re.fullmatch(rb"[a-z0-9]*", rights) or len(set(rights)) != len(rights):
            self.fail("rights before here are none, or twice the same")
        for one, members in ((b"c", b"kx"), (b"d", b"te")):
            if (one in rights) != any(right in members for right in rights) and len(rights) > 1:
                self.fail("rights without c or d of RFC 2086, or with these alone, before here")
        return rights

    def acl(self) -> None:
        self.expect(b" ")
        self.astring()
        while self.take(b" "):
            self.astring()
            self.expect(b" ")
            self.rights()

    def listrights(self) -> None:
        for _ in range(2):
            self.expect(b" ")
            self.astring()
        self.expect(b" ")
        told = self.rights()
        while self.take(b" "):
            rights = self.rights()
            if not rights or set(rights) & set(told):
                self.fail("no right, or one told before, before here")
            told += rights

    def myrights(self) -> None:
        self.expect(b" ")
        self.astring()
        self.expect(b" ")
        self.rights()

    def quota(self) -> None:
        self.expect(b" ")
        self.astring()
        self.expect(b" ")
        self.list_of(self.resource, may_be_empty=True)

    def resource(self) -> None:
        if self.match(_ATOM, "resource") not in (b"STORAGE", b"MESSAGE"):
            self.fail("unknown resource before here")
        for _ in range(2):
            self.expect(b" ")
            self.number(highest=2**63 - 1)

    def quotaroot(self) -> None:
        self.expect(b" ")
        self.astring()
        while self.take(b" "):
            self.astring()

    def numbered(self) -> None:
        number = self.number()
        self.expect(b" ")
        if self.take(b"EXISTS") or self.take(b"RECENT"):
            return
        if not number:
            self.fail("message number 0")
        if self.take(b"EXPUNGE"):
            return
        self.match(re.compile(rb"(UID)?FETCH "), "FETCH")
        self.list_of(self.fetch_item)

    # -- FETCH -------------------------------------------------------------------------------------------

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
            self.number(1, 2**63 - 1)
            self.expect(b")")
        elif name in (b"INTERNALDATE", b"SAVEDATE"):
            self.match(_DATE_TIME, "date-time")
        elif name == b"RFC822.SIZE":
            self.number()
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
            self.number()
            self.expect(b">")
        self.expect(b" ")
        if self.take(b"~"):
            size = int(self.match(_LITERAL, "literal8")[1:-3])
            self.at += size
        else:
            self.nstring()

    def section(self) -> None:
        self.expect(b"[")
        match = _SECTION.match(self.data, self.at)
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
            self.number()
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
        elif (media, subtype) == (b"MESSAGE", b"RFC822"):
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
