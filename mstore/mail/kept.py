"""The header fields that clients ask for to show a list of messages, kept as they stand in the header.

A client asks for these few lines of every message (RFC 3501 §6.4.5 HEADER.FIELDS), and the rest of a header,
mostly traces and signatures, is several times as much. So they are put aside when a message arrives, in the
order of the header, with their numbers and places in front of them::

    count         u8
    number        u8, for each field: its place in KEPT
    place         u16, for each field where it begins in here, and where the last one ends
    fields        as they stand in the header, with their line ends

What is unusual is not kept, and answered from the header: one that does not end with a line end and an empty
line, a NUL in what would be kept, more than fits.
"""

import re
import struct
from collections.abc import Iterable
from itertools import accumulate

from mstore.mail.header import HEADER_LIMIT_BYTES, Buffer

KEPT = (
    b"date",
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"bcc",
    b"subject",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"content-description",
    b"content-language",
    b"importance",
    b"priority",
    b"x-priority",
    b"x-msmail-priority",
    b"newsgroups",
    b"followup-to",
    b"mail-followup-to",
    b"mail-reply-to",
    b"return-path",
    b"disposition-notification-to",
    b"list-id",
    b"list-post",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"auto-submitted",
    b"lines",
    b"x-label",
    b"x-original-to",
    b"x-ref",
    b"x-draft-info",
    b"x-k9mail-identity",
    b"chat-version",
    b"x-uniform-type-identifier",
    b"x-universally-unique-identifier",
    b"x-msoesrec",
)
"""What Thunderbird, K-9, Roundcube, mutt, Evolution and Outlook Express ask for. That a message has none of a
name is known as well: a name that is rare costs nothing. Another list is another version of the blobs."""

LIMIT_BYTES = 8192
"""More of one message is not kept."""
MOST_FIELDS = 255

_NUMBERS = {name: number for number, name in enumerate(KEPT)}
# A field with its continuation lines, in two pieces, or a line that is none.
_LINES = re.compile(rb"([!-9;-~]++)([ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*)|[^\n]*+\n").findall


def format_kept(buffer: Buffer | bytearray | memoryview, end: int) -> bytes:
    """What is kept of the header in ``buffer[:end]``; nothing when it has to be read itself."""
    if end > HEADER_LIMIT_BYTES or buffer[max(end - 4, 0) : end] != b"\r\n\r\n":
        return b""
    number_of = _NUMBERS.get
    numbers, fields = [], []
    for name, rest in _LINES(bytes(buffer[:end])):
        number = number_of(name.lower())
        if number is not None:
            numbers.append(number)
            fields.append(name + rest)
    count = len(numbers)
    text = b"".join(fields)
    if len(text) > LIMIT_BYTES or count > MOST_FIELDS or b"\0" in text:
        return b""
    places = accumulate(map(len, fields), initial=1 + count + 2 * (count + 1))
    return bytes((count, *numbers)) + struct.pack(f"<{count + 1}H", *places) + text


def mark_numbers(names: Iterable[bytes]) -> bytes | None:
    """For each number that an octet can hold whether one of the names has it; None when one is not kept."""
    marks = bytearray(256)
    for name in names:
        number = _NUMBERS.get(name.lower())
        if number is None:
            return None
        marks[number] = 1
    return bytes(marks)
