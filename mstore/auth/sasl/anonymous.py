"""ANONYMOUS (RFC 4505): nobody in particular, who may leave a trace of himself."""

from __future__ import annotations

import logging

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Identity, malformed, read_name, take_first

MAX_TRACE = 255

_log = logging.getLogger("authproxyd")


def exchange(judge: Judge) -> Exchange:
    """Take the trace, for the log."""
    trace = read_name((yield from take_first(judge)))
    if len(trace) > MAX_TRACE or not trace.isprintable():
        raise malformed("the trace is too long or not printable")
    _log.info("anonymous login from %s: %r", judge.question.peer, trace)
    return Identity(None)
