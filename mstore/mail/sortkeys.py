"""What SORT and THREAD compare of a message, in the form in which it is compared (RFC 5256, RFC 5957).

Texts are mapped by ``i;unicode-casemap``, so that their octets sort as the texts do. Message ids become
numbers of 64 bits, so that those of a whole mailbox are one array; two ids with the same number would have
their messages shown in one thread, as any sender can have it by naming a message in References.
"""

import re
from hashlib import blake2b

from mstore.mail.address import match_plain, parse_addresses
from mstore.mail.casemap import casemap
from mstore.mail.decode import decode_words
from mstore.mail.header import unescape, unfold
from mstore.mail.mime import Fields
from mstore.mail.subject import base_subject

FROM, TO, CC, DISPLAY_FROM, DISPLAY_TO = range(5)
"""The places of the texts in ``address_keys``."""

MAX_REFERENCES = 1000
"""Of a longer list the last ones are kept."""

_ID_LIMIT_BYTES = 64 << 10
_NONE, _REPLY = (number.to_bytes(8, "little") for number in range(2))
_MESSAGE_ID = re.compile(rb'<[ \t]*+((?:[^\s"<>]++|"(?:[^"\\]|\\[\s\S])*+")+)[ \t]*+>')
_QUOTED = re.compile(rb'"((?:[^"\\]|\\[\s\S])*+)"')


def subject_keys(fields: Fields) -> tuple[bytes, bool]:
    """The base subject, mapped; whether the subject is that of a reply or a forwarded message."""
    value = fields.get(b"subject")
    if value is None:
        return b"", False
    base = base_subject(value)
    return _encode(base.text), base.is_reply


def address_keys(fields: Fields) -> bytes:
    """First addresses, mapped, with a zero byte between: mailboxes of From, To, Cc; From and To as shown."""
    sender, shown_sender = _first(fields.get(b"from"))
    to, shown_to = _first(fields.get(b"to"))
    cc, _ = _first(fields.get(b"cc"))
    return b"\0".join((sender, to, cc, shown_sender, shown_to))


def thread_keys(fields: Fields, is_reply: bool) -> bytes:
    """Numbers of 64 bits: whether it is a reply, the message's own id (0: none), and its references.

    RFC 5256 §3 "REFERENCES": those of the References field; without a valid one there, the first of
    In-Reply-To.
    """
    own = _ids(fields.get(b"message-id"))
    references = _ids(fields.get(b"references")) or _ids(fields.get(b"in-reply-to"))[:1]
    return b"".join((_REPLY if is_reply else _NONE, own[0] if own else _NONE, *references[-MAX_REFERENCES:]))


def _ids(value: bytes | None) -> list[bytes]:
    """The numbers of the valid message ids in a field, in order."""
    if value is None or b"<" not in value:
        return []
    found = _MESSAGE_ID.findall(unfold(value[:_ID_LIMIT_BYTES]))
    return [
        blake2b(_unquote(one) if b'"' in one else one, digest_size=8).digest() for one in found if b"@" in one
    ]


def _unquote(text: bytes) -> bytes:
    """RFC 5256 §3: ids that differ in quoting alone are the same."""
    return _QUOTED.sub(lambda found: unescape(found[1]), text)


def _first(value: bytes | None) -> tuple[bytes, bytes]:
    """Mailbox and name of the first address of a field, as ENVELOPE has it: also of the mark of a group.

    RFC 5957 §3: without a name, the whole address is shown in its place.
    """
    if value is None:
        return b"", b""
    value = unfold(value)
    plain = match_plain(value)
    if plain is not None:
        quoted, phrase, mailbox, host, bare_mailbox, bare_host = plain.groups()
        name = quoted or phrase
        mailbox, host = mailbox or bare_mailbox, host or bare_host
    else:
        found = parse_addresses(value)
        if not found:
            return b"", b""
        name, _, mailbox, host = found[0]
    local = _mapped(mailbox) if mailbox is not None else b""
    shown = _mapped(name) if name else b""
    if not shown:
        shown = local if mailbox is None or host is None else _mapped(b"%b@%b" % (mailbox, host))
    return local, shown


def _mapped(value: bytes) -> bytes:
    if value.isascii() and b"=?" not in value:
        return value.upper().replace(b"\0", b"")
    return _encode(decode_words(value).replace("\0", ""))


def _encode(text: str) -> bytes:
    return casemap(text).encode("utf-8", "replace")
