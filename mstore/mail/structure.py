"""ENVELOPE, BODYSTRUCTURE and BODY in the parenthesized form of RFC 3501 §7.4.2, their form in the store too.

In IMAP4rev2 a message/global has an envelope and a structure of its own, as a message/rfc822 has in both
(RFC 9051 §9 "media-message"); that form is made when it is asked for.

Whatever the message holds, the result is legal by the grammar of RFC 3501 §9: strings are quoted when they
are 7-bit without CR, LF or NUL, and literals otherwise; a NUL, which no string may hold, becomes ``?``.
Header values are unfolded, and otherwise as they were written; encoded words stay encoded.
"""

import re

from mstore.mail.address import ADDRESS_LIMIT, Address, match_plain, parse_addresses
from mstore.mail.header import unfold
from mstore.mail.mime import Fields, Part
from mstore.mail.params import Params

_PLAIN = re.compile(rb'[^\x00\r\n"\\\x80-\xff]*').fullmatch
_HIDDEN = b' (%b) ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0' % b" ".join([b"NIL"] * 10)
"""Envelope and structure of a message that its transfer encoding hides: neither may be missing."""
_TAIL_FIELDS = frozenset((b"content-disposition", b"content-language", b"content-location"))
_LAST_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"\)\Z')
_LITERAL = re.compile(rb"\{([0-9]{1,9})\}\r\n")
_CLEAN = re.compile(rb"[^\x00\r\n\x80-\xff]*").fullmatch


def format_string(value: bytes) -> bytes:
    """``value`` as a quoted string or a literal."""
    if _PLAIN(value):
        return b'"' + value + b'"'
    if _CLEAN(value):
        return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    value = value.replace(b"\0", b"?")
    return b"{%d}\r\n%b" % (len(value), value)


def format_nstring(value: bytes | None) -> bytes:
    """``value`` as a string, or NIL."""
    return b"NIL" if value is None else format_string(value)


def format_address(address: Address) -> bytes:
    """One address structure."""
    name, route, mailbox, host = address
    return b"(%b %b %b %b)" % (
        format_nstring(name), format_nstring(route), format_nstring(mailbox), format_nstring(host),
    )  # fmt: skip


def format_addresses(value: bytes | None) -> bytes:
    """The address list of a raw field value; NIL when there is none in it."""
    if value is None:
        return b"NIL"
    value = unfold(value)
    position, end = 0, len(value)
    shown: list[bytes] = []
    while position < end and (plain := match_plain(value, position)) and len(shown) < ADDRESS_LIMIT:
        quoted, phrase, mailbox, host, bare_mailbox, bare_host = plain.groups()
        if mailbox is None:
            shown.append(b'(NIL NIL "%b" "%b")' % (bare_mailbox, bare_host))
        elif name := quoted or phrase:
            shown.append(b'("%b" NIL "%b" "%b")' % (name, mailbox, host))
        else:
            shown.append(b'(NIL NIL "%b" "%b")' % (mailbox, host))
        position = plain.end()
    if position < end and len(shown) < ADDRESS_LIMIT:
        shown += [format_address(address) for address in parse_addresses(value, position)]
    return b"(%b)" % b"".join(shown) if shown else b"NIL"


def read_message_id(envelope: bytes) -> bytes | None:
    """The Message-ID in an envelope that ``format_envelope`` has made."""
    if envelope.endswith(b'")') and b"}\r\n" not in envelope:
        last = envelope[envelope.rfind(b' "') + 2 : -2]
        if b"\\" not in last:
            return last
    for found in _LITERAL.finditer(envelope):
        if found.end() + int(found[1]) + 1 == len(envelope):
            return envelope[found.end() : -1]
    quoted = _LAST_QUOTED.search(envelope)
    return None if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted[1])


def format_envelope(fields: Fields) -> bytes:
    """The envelope of a message with these header fields (RFC 3501 §7.4.2)."""
    get = fields.get
    origin = format_addresses(get(b"from"))
    sender = format_addresses(get(b"sender")) if b"sender" in fields else origin
    reply_to = format_addresses(get(b"reply-to")) if b"reply-to" in fields else origin
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _format_field(get(b"date")),
        _format_field(get(b"subject")),
        origin,
        origin if sender == b"NIL" else sender,
        origin if reply_to == b"NIL" else reply_to,
        format_addresses(get(b"to")),
        format_addresses(get(b"cc")),
        format_addresses(get(b"bcc")),
        _format_field(get(b"in-reply-to")),
        _format_field(get(b"message-id")),
    )


def _format_field(value: bytes | None) -> bytes:
    if value is None:
        return b"NIL"
    value = value.strip()
    return b'"' + value + b'"' if _PLAIN(value) else format_string(unfold(value))


def format_structure(root: Part, rev2: bool = False) -> tuple[bytes, bytes]:
    """BODYSTRUCTURE and BODY of a message."""
    full: list[bytes] = []
    short: list[bytes] = []
    _write(root, full, short, rev2)
    return b"".join(full), b"".join(short)


def has_global(structure: bytes) -> bool:
    """Whether a BODYSTRUCTURE or BODY may look otherwise in IMAP4rev2."""
    return b'"MESSAGE" "GLOBAL"' in structure


def _write(part: Part, full: list[bytes], short: list[bytes], rev2: bool) -> None:
    """Append both forms of ``part``; the tree's depth is limited, so recursion is."""
    if part.parts:
        full.append(b"(")
        short.append(b"(")
        for child in part.parts:
            _write(child, full, short, rev2)
        full.append(b' "%b" %b %b)' % (part.subtype, _format_params(part.params), _format_tail(part)))
        short.append(b' "%b")' % part.subtype)
        return
    fields = part.fields
    basic = b'("%b" "%b" %b %b %b "%b" %d' % (
        part.type,
        part.subtype,
        _format_params(part.params),
        _format_field(fields.get(b"content-id")),
        _format_field(fields.get(b"content-description")),
        part.encoding,
        part.end - part.body_start,
    )
    if part.message is not None and (rev2 or not part.is_global):
        basic += b" %b " % format_envelope(part.message.fields)
        full.append(basic)
        short.append(basic)
        _write(part.message, full, short, rev2)
        basic = b" %d" % part.lines
    elif rev2 and part.is_global:
        full.append(basic + _HIDDEN + b" NIL NIL NIL NIL)")
        short.append(basic + _HIDDEN + b")")
        basic = b" %d" % part.lines
    elif part.type == b"TEXT":
        basic += b" %d" % part.lines
    short.append(basic + b")")
    full.append(b"%b %b %b)" % (basic, _format_field(fields.get(b"content-md5")), _format_tail(part)))


def _format_tail(part: Part) -> bytes:
    """Disposition, language and location, the end of the extension data of all parts."""
    fields = part.fields
    if _TAIL_FIELDS.isdisjoint(fields):
        return b"NIL NIL NIL"
    disposition = part.disposition if b"content-disposition" in fields else None
    language = part.language if b"content-language" in fields else ()
    shown = b"NIL"
    if disposition:
        shown = b"(%b %b)" % (format_string(disposition[0]), _format_params(disposition[1]))
    return b"%b %b %b" % (
        shown,
        b"(%b)" % b" ".join([format_string(tag) for tag in language]) if language else b"NIL",
        _format_field(fields.get(b"content-location")),
    )


def _format_params(params: Params) -> bytes:
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([format_string(text) for pair in params for text in pair])
