"""A strict reader of IMAP responses: the grammar of RFC 3501 §9, or RFC 9051 §9 where that is enabled, and
nothing beyond what we announce.

It shares no code with the server. ``check_response`` takes one whole response, literals included, and fails
with the place of the first byte that the grammar does not allow there. Unknown responses, response codes,
FETCH items and mailbox attributes fail too: what we never meant to say must not be said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from tests.kit.imapelements import LARGEST64
from tests.kit.imapfetch import FetchItems
from tests.kit.imapresults import check_esearch, check_events, check_metadata, check_progress, check_thread

_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
_NUMBER = re.compile(rb"[0-9]+")
_TEXT = re.compile(rb"[^\x00\r\n\x80-\xff]+")
_CODE_TEXT = re.compile(rb"[^\x00\r\n\x80-\xff\]]+")
_UID_SET = re.compile(rb"[1-9][0-9]*(:[1-9][0-9]*)?(,[1-9][0-9]*(:[1-9][0-9]*)?)*")

PLAIN_CODES = frozenset(
    b"ALERT PARSE READ-ONLY READ-WRITE TRYCREATE UIDNOTSTICKY TOOBIG "
    b"UNAVAILABLE AUTHENTICATIONFAILED AUTHORIZATIONFAILED EXPIRED PRIVACYREQUIRED CONTACTADMIN NOPERM INUSE "
    b"EXPUNGEISSUED CORRUPTION SERVERBUG CLIENTBUG CANNOT LIMIT OVERQUOTA ALREADYEXISTS NONEXISTENT "
    b"CLOSED UNKNOWN-CTE NOTSAVED USEATTR COMPRESSIONACTIVE NOTIFICATIONOVERFLOW UIDREQUIRED".split()
)
MAILBOX_ATTRIBUTES = frozenset(
    rb"\noselect \noinferiors \marked \unmarked \haschildren \hasnochildren \nonexistent \subscribed "
    rb"\noaccess \archive \drafts \junk \sent \trash".split()
)
WIDE_STATUS_ITEMS = frozenset(b"DELETED-STORAGE HIGHESTMODSEQ SIZE".split())
STATUS_ITEMS = WIDE_STATUS_ITEMS.union(
    b"MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED APPENDLIMIT MAILBOXID".split()
)
ENABLED = frozenset(b"CONDSTORE QRESYNC UTF8=ACCEPT IMAP4rev2 UIDONLY".split())
SYSTEM_FLAGS = frozenset(rb"\answered \flagged \deleted \seen \draft".split())


def check_response(data: bytes, enabled: frozenset[bytes] = frozenset()) -> None:
    """Fail unless this is exactly one legal response to a client that has enabled these extensions.

    Raises: Illegal.
    """
    checker = Checker(data, enabled)
    checker.response()
    if checker.at != len(data):
        checker.fail("end of the response expected")


class Listener:
    """Checks the responses of one connection, by the grammar that they have enabled themselves."""

    def __init__(self) -> None:
        self.enabled: frozenset[bytes] = frozenset()

    def check(self, response: bytes) -> None:
        """Fail unless this is exactly one legal response now. Raises: Illegal."""
        check_response(response, self.enabled)
        if response.startswith(b"* ENABLED"):
            self.enabled |= set(response.split()[2:])
        elif re.match(rb"[^ *]+ OK NOTIFY completed", response):
            self.enabled |= {b"NOTIFY"}
        elif re.match(rb"[^ *]+ OK UNAUTHENTICATE completed", response):
            self.enabled = frozenset()


class Checker(FetchItems):
    """A position in a response; every method takes one element or fails."""

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
            b"SEARCH": self.old_search,
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
        if name in PLAIN_CODES or (self.rev2 and name == b"HASCHILDREN"):
            return
        if name == b"CAPABILITY":
            self.capability()
        elif name == b"PERMANENTFLAGS":
            self.expect(b" ")
            self.list_of(self.flag_perm, may_be_empty=True)
        elif name in (b"UIDNEXT", b"UIDVALIDITY") or (name == b"UNSEEN" and not self.rev2):
            self.expect(b" ")
            self.number(1)
        elif name == b"HIGHESTMODSEQ":
            self.expect(b" ")
            self.number(1, LARGEST64)
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
            check_progress(self)
        elif name == b"METADATA":
            if not self.take(b" TOOMANY"):
                self.match(re.compile(rb" (LONGENTRIES|MAXSIZE) "), "METADATA with what")
                self.number()
        elif name == b"BADEVENT":
            check_events(self)
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
        if {b"\\nonexistent", b"\\noselect"} <= told:
            self.fail("two attributes for what cannot be selected, before here")
        self.expect(b' "/" ')
        self.astring()
        if extended and self.take(b' ("CHILDINFO" ("SUBSCRIBED"'):
            self.expect(b"))")
        elif (self.is_notified or self.rev2) and self.take(b' ("OLDNAME" ('):
            self.astring()
            self.expect(b"))")

    def status(self) -> None:
        self.expect(b" ")
        self.astring()
        self.expect(b" ")
        self.list_of(self.status_item, may_be_empty=True)

    def status_item(self) -> None:
        name = self.match(_ATOM, "status item")
        if name not in STATUS_ITEMS or (self.rev2 and name == b"RECENT"):
            self.fail("unknown status item")
        self.expect(b" ")
        if name == b"MAILBOXID":
            self.object_id()
            return
        self.number(highest=LARGEST64 if name in WIDE_STATUS_ITEMS else 2**32 - 1)

    def old_search(self) -> None:
        if self.rev2:
            self.fail("ESEARCH expected (RFC 9051 §6.4.4)")
        self.search()

    def search(self) -> None:
        while self.take(b" "):
            if self.take(b"(MODSEQ "):
                self.number(1, LARGEST64)
                self.expect(b")")
                return
            self.number(1)

    def flags(self) -> None:
        self.expect(b" ")
        self.list_of(self.flag, may_be_empty=True)

    def flag_perm(self) -> None:
        if not self.take(rb"\*"):
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
            self.number(highest=LARGEST64)

    def quotaroot(self) -> None:
        self.expect(b" ")
        self.astring()
        while self.take(b" "):
            self.astring()

    def numbered(self) -> None:
        number = self.number()
        self.expect(b" ")
        if self.take(b"EXISTS") or (not self.rev2 and self.take(b"RECENT")):
            return
        if not number:
            self.fail("message number 0")
        if self.take(b"EXPUNGE"):
            return
        self.match(re.compile(rb"(UID)?FETCH "), "FETCH")
        self.list_of(self.fetch_item)
