"""The ESEARCH response (RFC 4466 §2.6.2, RFC 4731 §3.1, RFC 5267 §4, RFC 7377 §2.1, RFC 9394)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mstore.base.numset import format_numset
from mstore.imap.grammar.returnoptions import ReturnOptions

Array = np.ndarray[Any, np.dtype[Any]]


def format_correlator(tag: bytes, where: bytes = b"") -> bytes:
    """Which command an ESEARCH response belongs to, with what else there is to say of it."""
    return b'(TAG "' + tag + b'"' + where + b")"


def format_esearch(
    correlator: bytes, uid: bool, options: ReturnOptions, numbers: Array, modseq: int = 0
) -> bytes:
    """The results of a search, in their order, as far as they were asked for."""
    words = options.words
    parts = [b"* ESEARCH " + correlator]
    if uid:
        parts.append(b"UID")
    if len(numbers):
        if b"MIN" in words:
            parts.append(b"MIN %d" % numbers[0])
        if b"MAX" in words:
            parts.append(b"MAX %d" % numbers[-1])
        if b"ALL" in words:
            parts.append(b"ALL " + format_numset(numbers))
    if b"COUNT" in words:
        parts.append(b"COUNT %d" % len(numbers))
    if options.partial is not None:
        some = numbers[options.partial.cut(len(numbers))]
        told = format_numset(some) if len(some) else b"NIL"
        parts.append(b"PARTIAL (" + options.partial.format() + b" " + told + b")")
    if modseq:
        parts.append(b"MODSEQ %d" % modseq)
    return b" ".join(parts) + b"\r\n"


def format_update(correlator: bytes, uid: bool, word: bytes, numbers: Array) -> bytes:
    """Messages that have come to the results of a search (ADDTO), or dropped out (REMOVEFROM).

    RFC 5267 §4.3.2: position 0 leaves it to the client to keep mailbox order.
    """
    middle = b" UID " if uid else b" "
    return b"* ESEARCH " + correlator + middle + word + b" (0 " + format_numset(numbers) + b")\r\n"
