"""Every limit on what a client or a message may bring, in one list, with what is answered beyond it.

The numbers stand beside the code that keeps them; here they are only named. ``docs/imap.md`` shows the list,
and a test goes to each limit and one step beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

from mstore.base.flags import MOST_KEYWORDS
from mstore.base.limitoptions import LINE_BYTES, LITERALS_BYTES
from mstore.base.numset import MAX_NUMBER
from mstore.imap import contexts, reader, session
from mstore.imap.commands import any as any_state
from mstore.imap.commands import catenate, idle, login, multisearch, sort
from mstore.imap.grammar import (
    entries,
    fetchitems,
    flags,
    listrequest,
    modifiers,
    notify,
    searchkeys,
    sources,
)
from mstore.mail import address, header, mime, params, sortkeys
from mstore.net import deflate, penalty
from mstore.store import acl, annotation, names, namespace

SHOWN_AS_IT_IS = "shown as one part"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: on what, how much, and what is said or done beyond it."""

    what: str
    value: int
    beyond: str
    option: str = ""
    """By which it is set; then the value is the default."""


LIMITS = (
    # What a command may bring.
    Limit("bytes of a line, and of all lines of a command", LINE_BYTES, "BAD", "imapd-line-limit"),
    Limit("bytes of all literals of a command", LITERALS_BYTES, "BAD", "imapd-literals-limit"),
    Limit("bytes of all literals before login", reader.EARLY_LITERALS_BYTES, "BAD"),
    Limit("bytes of an unasked literal without LITERAL+", reader.UNASKED_MINUS_BYTES, "BAD [TOOBIG]"),
    Limit("bytes of a refused literal that are read away", reader.DISCARD_BYTES, "BYE [TOOBIG]"),
    Limit("bytes of a refused literal read away before login", reader.EARLY_DISCARD_BYTES, "BYE [TOOBIG]"),
    Limit("bytes of a MULTIAPPEND, unless a message may be larger", reader.MESSAGES_BYTES, "NO [LIMIT]"),
    Limit("large messages of a MULTIAPPEND", reader.MOST_SPOOLS, "NO [LIMIT]"),
    Limit("a number that is none of bytes or MODSEQs", MAX_NUMBER, "BAD"),
    # Lists within commands.
    Limit("levels of a search key", searchkeys.MAX_DEPTH, "BAD"),
    Limit("search keys", searchkeys.MAX_KEYS, "BAD"),
    Limit("sort criteria", sort.MAX_CRITERIA, "BAD"),
    Limit("items of FETCH", fetchitems.MAX_ITEMS, "BAD"),
    Limit("header fields of a section", fetchitems.MAX_HEADER_NAMES, "BAD"),
    Limit("levels of a part number", fetchitems.MAX_PART_DEPTH, "BAD"),
    Limit("messages whose numbers QRESYNC matches to UIDs", modifiers.MAX_MATCHES, "BAD"),
    Limit("patterns of LIST", listrequest.MAX_PATTERNS, "NO [LIMIT]"),
    Limit("characters of a pattern", listrequest.MAX_PATTERN_CHARACTERS, "NO [LIMIT]"),
    Limit("parts of CATENATE", catenate.MAX_PARTS, "BAD"),
    Limit("names and sources of ESEARCH", sources.MAX_NAMES, "BAD"),
    Limit("mailboxes of ESEARCH", multisearch.MAX_MAILBOXES, "NO [LIMIT]"),
    Limit("groups of mailboxes of NOTIFY", notify.MAX_GROUPS, "BAD"),
    Limit("events of a group", notify.MAX_EVENTS, "BAD"),
    Limit("annotations in a command", entries.MAX_ENTRIES, "BAD"),
    Limit("bytes of an annotation's name", entries.MAX_ENTRY_BYTES, "BAD"),
    Limit("fields of ID", any_state.MAX_ID_FIELDS, "BAD"),
    Limit("bytes of a field's name in ID", any_state.MAX_ID_FIELD_BYTES, "BAD"),
    Limit("bytes of a field's value in ID", any_state.MAX_ID_VALUE_BYTES, "BAD"),
    Limit("bytes of a keyword", flags.MAX_KEYWORD_BYTES, "BAD"),
    Limit("bytes of a SASL response", login.MAX_RESPONSE_BYTES, "BAD"),
    Limit("bytes of what ends IDLE", idle.MAX_LINE_BYTES, "BAD"),
    # What a session may do.
    Limit("bad commands in a row", session.BAD_LIMIT, "BYE"),
    Limit("bad commands in a row before login", session.EARLY_BAD_LIMIT, "BYE"),
    Limit("failed logins", penalty.FAILURES_LIMIT, "BYE"),
    Limit("searches whose results are followed", contexts.MAX_CONTEXTS, "NO [NOUPDATE]"),
    Limit("bytes that COMPRESS expands beyond their share", deflate.SURPLUS_BYTES, "the connection ends"),
    # What a mailbox or an account may have.
    Limit("bytes of a mailbox name", names.MAX_BYTES, "NO [LIMIT]"),
    Limit("levels of a mailbox name", names.MAX_DEPTH, "NO [LIMIT]"),
    Limit("mailboxes of an account", namespace.MAX_MAILBOXES, "NO [LIMIT]"),
    Limit("subscriptions", namespace.MAX_SUBSCRIPTIONS, "NO [LIMIT]"),
    Limit("keywords of a mailbox (messages that bring more come without)", MOST_KEYWORDS, "NO [LIMIT]"),
    Limit("entries of an access control list", acl.MAX_ENTRIES, "NO [LIMIT]"),
    Limit("bytes of an annotation", annotation.MAX_VALUE_BYTES, "NO [METADATA MAXSIZE]"),
    Limit("annotations of a mailbox", annotation.MAX_ENTRIES, "NO [METADATA TOOMANY]"),
    Limit("bytes of all annotations of an account", annotation.MAX_ACCOUNT_BYTES, "NO [METADATA TOOMANY]"),
    # What is seen of a message; all of it is kept and sent.
    Limit("levels of parts", mime.DEPTH_LIMIT, SHOWN_AS_IT_IS),
    Limit("parts of a message", mime.PART_LIMIT, SHOWN_AS_IT_IS),
    Limit("bytes of a header", header.HEADER_LIMIT_BYTES, "not looked at"),
    Limit("bytes of all headers in a message", mime.HEADERS_LIMIT_BYTES, "not looked at"),
    Limit("bytes of a boundary", mime.BOUNDARY_LIMIT_BYTES, SHOWN_AS_IT_IS),
    Limit("parameters of a field, and pieces of one (RFC 2231)", params.PARAM_LIMIT, "left out"),
    Limit("addresses of a field", address.ADDRESS_LIMIT, "left out"),
    Limit("references of a message", sortkeys.MAX_REFERENCES, "left out"),
)
