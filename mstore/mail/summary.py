"""All that the store keeps about a message beside the message, computed once, when it arrives."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mstore.mail.address import parse_addresses
from mstore.mail.casemap import casemap
from mstore.mail.date import NO_DATE, parse_sent_date
from mstore.mail.decode import decode_words
from mstore.mail.header import HEADER_LIMIT_BYTES, Buffer, field_pairs, unescape, unfold
from mstore.mail.kept import format_kept
from mstore.mail.mime import MORE_SUBJECTS, Fields, parse
from mstore.mail.parts import encode_parts
from mstore.mail.sortkeys import address_keys, subject_keys, thread_keys
from mstore.mail.structure import format_envelope, format_structure

ENVELOPE, BODYSTRUCTURE, BODY, PARTS, SEARCH, BASE_SUBJECT, ADDRESSES, REFERENCES, KEPT_FIELDS = range(9)
"""The numbers of the slots."""

SLOT_COUNT = 9
_ADDRESS_FIELDS = (b"from", b"to", b"cc", b"bcc")
# What may keep an address from standing in its field in one piece.
_ROUNDABOUT = re.compile(rb'[\s)"]@|@[\s(]|\(').search


class Summary(NamedTuple):
    """What is derived from a message.

    ``sent_date`` is the Date field in seconds UTC, ``NO_DATE`` when it is missing or no date; adding
    ``sent_zone_s`` gives the time as written, on whose day SENTON and its kin are decided (RFC 3501 §6.4.4
    "disregarding time and timezone"). ``slots`` are numbered ENVELOPE, BODYSTRUCTURE, BODY, PARTS, SEARCH,
    BASE_SUBJECT, ADDRESSES, REFERENCES, those three of ``mstore.mail.sortkeys``, and KEPT_FIELDS, that of
    ``mstore.mail.kept``.
    """

    header_length: int
    sent_date: int
    slots: tuple[bytes, ...]
    sent_zone_s: int = 0


def summarize(buffer: Buffer | bytearray | memoryview) -> Summary:
    """The summary of a message; any bytes at all have one."""
    root = parse(buffer)
    fields = root.fields
    value = fields.get(b"date")
    sent = parse_sent_date(unfold(value)) if value is not None else None
    structure, body = format_structure(root)
    subject, is_reply = subject_keys(fields)
    slots = (
        format_envelope(fields),
        structure,
        body,
        encode_parts(root),
        _format_search(fields, _subjects(buffer, root.body_start) if MORE_SUBJECTS in fields else ()),
        subject,
        address_keys(fields),
        thread_keys(fields, is_reply),
        format_kept(buffer, root.body_start),
    )
    if sent is None:
        return Summary(root.body_start, NO_DATE, slots)
    return Summary(root.body_start, sent.utc_s, slots, sent.zone_s)


def _subjects(buffer: Buffer | bytearray | memoryview, end: int) -> list[bytes]:
    """The raw values of all Subject fields of a header."""
    header = bytes(buffer[: min(end, HEADER_LIMIT_BYTES)])
    return [value for name, value in field_pairs(header) if name.lower() == b"subject"]


def _format_search(fields: Fields, subjects: Sequence[bytes]) -> bytes:
    """From, To, Cc, Bcc and Subject, decoded and case-mapped, in UTF-8, with a zero byte between.

    ``subjects`` are those of a message that has several, which are lines of one text here.
    """
    values = [_fold_addresses(fields[name]) if name in fields else b"" for name in _ADDRESS_FIELDS]
    if subjects:
        values.append(b"\n".join(map(_fold_case, subjects)))
    else:
        values.append(_fold_case(fields[b"subject"]) if b"subject" in fields else b"")
    return b"\0".join(values)


def _fold_addresses(value: bytes) -> bytes:
    """The field, and on further lines the addresses that do not stand in it as ``local@domain``.

    RFC 3501 §6.4.4: what counts is the envelope, in which comments and white space are gone, and the
    backslashes of quoted strings.
    """
    text = _fold_case(value)
    lines = [text]
    if b"\\" in value:
        text = _fold_case(unescape(value))
        lines.append(text)
    if _ROUNDABOUT(value) is None:
        return b"\n".join(lines)
    for address in parse_addresses(unfold(value)):
        if address.mailbox and address.host:
            plain = _fold_case(b"%b@%b" % (address.mailbox, address.host))
            if plain not in text:
                lines.append(plain)
    return b"\n".join(lines)


def _fold_case(value: bytes) -> bytes:
    value = unfold(value)
    if value.isascii() and b"=?" not in value:
        value = value.upper()
        return value.replace(b"\0", b"") if b"\0" in value else value
    text = casemap(decode_words(value)).replace("\0", "")
    return text.encode("utf-8", "replace")
