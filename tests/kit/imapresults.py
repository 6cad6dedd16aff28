"""The grammar of ESEARCH (RFC 4466, 4731, 5267, 7377, 9394), THREAD (RFC 5256), METADATA (RFC 5464)."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kit.imapgrammar import Checker

_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+")
_NUMBER = re.compile(rb"[0-9]+")
_UID_SET = re.compile(rb"[1-9][0-9]*(:[1-9][0-9]*)?(,[1-9][0-9]*(:[1-9][0-9]*)?)*")
_QUOTED = re.compile(rb'"[^"\\\r\n\x00\x80-\xff]*"')
EVENTS = frozenset(
    b"MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange "
    b"ServerMetadataChange".split()
)
_PARTIAL = re.compile(rb"[1-9][0-9]*:[1-9][0-9]*|-[1-9][0-9]*:-[1-9][0-9]*")


def check_esearch(checker: Checker) -> None:
    """RFC 4466 §6 "esearch-response", with the return data of RFC 4731, 5267 and 9394."""
    checker.expect(b' (TAG "')
    checker.match(_TAG, "tag")
    checker.expect(b'"')
    if checker.take(b" MAILBOX "):
        checker.astring()
        checker.expect(b" UIDVALIDITY ")
        checker.number(1)
    checker.expect(b")")
    checker.take(b" UID")
    seen = set()
    while checker.take(b" "):
        name = checker.match(_ATOM, "return data")
        if name in seen:
            checker.fail("return data twice before here")
        seen.add(name)
        checker.expect(b" ")
        _return_data(checker, name)


def _return_data(checker: Checker, name: bytes) -> None:
    if name in (b"MIN", b"MAX"):
        checker.number(1)
    elif name == b"COUNT":
        checker.number()
    elif name == b"MODSEQ":
        checker.number(1, 2**63 - 1)
    elif name == b"ALL":
        checker.match(_UID_SET, "sequence-set")
    elif name == b"PARTIAL":
        checker.expect(b"(")
        checker.match(_PARTIAL, "partial-range")
        checker.expect(b" ")
        if not checker.take(b"NIL"):
            checker.match(_UID_SET, "sequence-set")
        checker.expect(b")")
    elif name in (b"ADDTO", b"REMOVEFROM"):
        checker.expect(b"(")
        while True:
            checker.number()
            checker.expect(b" ")
            checker.match(_UID_SET, "sequence-set")
            if checker.take(b")"):
                return
            checker.expect(b" ")
    else:
        checker.fail("unknown return data before here")


def check_thread(checker: Checker) -> None:
    """RFC 5256 §5 "thread-data"; threads nest deep, so no recursion."""
    if not checker.take(b" "):
        return
    # For each open thread-list: whether it has begun with numbers, and how many lists stand in it.
    levels: list[list[int]] = []
    while True:
        if checker.take(b"("):
            if levels:
                levels[-1][1] += 1
            levels.append([0, 0])
            if _NUMBER.match(checker.data, checker.at):
                levels[-1][0] = 1
                checker.number(1)
                while checker.take(b" "):
                    if checker.looking_at(b"("):
                        break
                    checker.number(1)
                else:
                    continue
                continue
            if not checker.looking_at(b"("):
                checker.fail("number or thread-list expected")
        elif levels and checker.take(b")"):
            numbers, lists = levels.pop()
            if lists == 1 or not (numbers or lists):
                checker.fail("no thread, or a nested one alone, before here")
        else:
            break
    if levels:
        checker.fail("thread-list not closed")


def check_metadata(checker: Checker) -> None:
    """What follows METADATA (RFC 5464 §5 "metadata-resp")."""
    checker.expect(b" ")
    checker.astring()
    checker.expect(b" ")
    if checker.looking_at(b"("):
        checker.list_of(partial(_annotation, checker))
        return
    _entry(checker)
    while checker.take(b" "):
        _entry(checker)


def _entry(checker: Checker) -> None:
    if not re.fullmatch(rb"/(private|shared)(/[^\x00-\x19*%/\x80-\xff]+)+", checker.astring()):
        checker.fail("no name of an annotation, before here")


def _annotation(checker: Checker) -> None:
    _entry(checker)
    checker.expect(b" ")
    if checker.take(b"~"):
        size = int(checker.match(re.compile(rb"\{[0-9]+\}\r\n"), "literal8")[1:-3])
        if checker.at + size > len(checker.data):
            checker.fail("literal8 cut short")
        checker.at += size
    else:
        checker.nstring()


def check_events(checker: Checker) -> None:
    """What follows the code BADEVENT (RFC 5465 §8): events that there are."""
    checker.expect(b" ")
    checker.list_of(partial(_event, checker))


def _event(checker: Checker) -> None:
    if checker.match(_ATOM, "event") not in EVENTS:
        checker.fail("an event that there is not, before here")


def check_progress(checker: Checker) -> None:
    """What may follow the code INPROGRESS (RFC 9585 §4)."""
    if not checker.take(b" ("):
        return
    if not checker.take(b"NIL"):
        checker.match(_QUOTED, "tag")
    if not checker.take(b" NIL NIL"):
        checker.expect(b" ")
        done = checker.number()
        if not checker.take(b" NIL"):
            checker.expect(b" ")
            checker.number(done + 1)
    checker.expect(b")")
