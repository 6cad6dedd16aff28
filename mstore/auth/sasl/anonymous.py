"""ANONYMOUS (RFC 4505): nobody in particular, who may leave a trace of himself."""

from __future__ import annotations

import stringprep

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Identity, malformed, take_first
from mstore.base.log import Log

MAX_TRACE_CHARACTERS = 255

_PROHIBITED = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
_log = Log()


def exchange(judge: Judge) -> Exchange:
    """Take the trace, for the log."""
    trace = parse_trace((yield from take_first(judge)))
    _log.info("anonymous", peer=judge.question.peer, trace=trace)
    return Identity(None)


def parse_trace(message: bytes) -> str:
    """Trace information within the limits of RFC 4505 §2, fit to be logged (§3).

    Raises: Failed.
    """
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("the trace information is not in UTF-8") from None
    if len(text) > MAX_TRACE_CHARACTERS:
        raise malformed("the trace information is too long")
    if any(prohibits(character) for character in text for prohibits in _PROHIBITED):
        raise malformed("the trace information has a character that it may not have")
    local, at, domain = text.rpartition("@")
    if at and not (local and domain):
        raise malformed("the trace information is neither an address nor without @")
    return text
