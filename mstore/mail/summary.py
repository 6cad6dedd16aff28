"""All that the store keeps about a message beside the message, computed once, when it arrives."""

from typing import NamedTuple

from mstore.mail.date import NO_DATE, parse_sent_date
from mstore.mail.decode import decode_words
from mstore.mail.header import Buffer, unfold
from mstore.mail.mime import Fields, parse
from mstore.mail.parts import encode_parts
from mstore.mail.structure import format_envelope, format_structure

ENVELOPE, BODYSTRUCTURE, BODY, PARTS, SEARCH = range(5)
"""The numbers of the slots."""

SLOT_COUNT = 5


class Summary(NamedTuple):
    """What is derived from a message.

    ``sent_date`` is the Date field in seconds UTC, ``NO_DATE`` when it is missing or no date; adding
    ``sent_zone_s`` gives the time as written, on whose day SENTON and its kin are decided (RFC 3501 §6.4.4
    "disregarding time and timezone"). ``slots`` are numbered ENVELOPE, BODYSTRUCTURE, BODY, PARTS, SEARCH.
    """

    header_length: int
    sent_date: int
    slots: tuple[bytes, bytes, bytes, bytes, bytes]
    sent_zone_s: int = 0


def summarize(buffer: Buffer | bytearray | memoryview) -> Summary:
    """The summary of a message; any bytes at all have one."""
    root = parse(buffer)
    fields = root.fields
    value = fields.get(b"date")
    sent = parse_sent_date(unfold(value)) if value is not None else None
    structure, body = format_structure(root)
    slots = (format_envelope(fields), structure, body, encode_parts(root), _format_search(fields))
    if sent is None:
        return Summary(root.body_start, NO_DATE, slots)
    return Summary(root.body_start, sent.utc_s, slots, sent.zone_s)


def _format_search(fields: Fields) -> bytes:
    """From, To, Cc, Bcc and Subject, decoded and casefolded, in UTF-8, with a zero byte between."""
    get = fields.get
    values = [get(b"from"), get(b"to"), get(b"cc"), get(b"bcc"), get(b"subject")]
    return b"\0".join([_fold_case(value) if value is not None else b"" for value in values])


def _fold_case(value: bytes) -> bytes:
    value = unfold(value)
    if value.isascii() and b"=?" not in value:
        value = value.lower()
        return value.replace(b"\0", b"") if b"\0" in value else value
    text = decode_words(value).casefold().replace("\0", "")
    return text.encode("utf-8", "replace")
