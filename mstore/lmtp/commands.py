"""The command table of LMTP and all its commands.

A command gets the session and what stands behind its verb, and returns its reply; it raises ``Refusal`` to
refuse. RFC 5321 §4.1 as changed by RFC 2033 §4; the extensions announced are those in ``run_lhlo``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstore.base import clock
from mstore.base.errors import MStoreError
from mstore.files.spool import Spool
from mstore.lmtp.deliver import Envelope, deliver, find_recipient, make_trace
from mstore.lmtp.path import BadParameter, BadPath, Path, parse_parameters, parse_path
from mstore.lmtp.receive import BadContent, Content, read_content
from mstore.lmtp.reply import Refusal, format_failure, format_reply

if TYPE_CHECKING:
    from mstore.lmtp.session import Session

RECIPIENTS_LIMIT = 50_000
REPLY_PATIENCE_S = 0.02
"""How long a reply may wait for those after it (RFC 2033 §5 "as soon as possible")."""

_HELLO = re.compile(rb"[\x21-\x27\x2a-\x3b\x3d\x3f-\x7e]{1,255}")
_OK = format_reply(250, "2.0.0", "OK")


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table; ``gathers`` tells that its reply may wait for those of the commands behind it."""

    run: Callable[[Session, bytes], bytes]
    gathers: bool
    rfc: str


def run_lhlo(session: Session, argument: bytes) -> bytes:
    """Greet, and say what is offered.

    RFC 2033 §4.1, RFC 5321 §4.1.1.1 (also ends a transaction under way), RFC 1870 §3, RFC 2920 §3.2.
    """
    name = argument.strip()
    if _HELLO.fullmatch(name) is None:
        raise Refusal(501, "5.5.4", "LHLO needs the name of the client")
    session.hello = name.decode()
    session.envelope = None
    settings = session.service.settings
    lines = (
        settings.server_name,
        "PIPELINING",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        f"SIZE {settings.message_size_limit}",
    )
    last = len(lines) - 1
    return "".join(f"250{' ' if i == last else '-'}{line}\r\n" for i, line in enumerate(lines)).encode()


def run_hello(session: Session, argument: bytes) -> bytes:
    """Refuse HELO and EHLO, so that a client of the wrong protocol is found out (RFC 2033 §4.1)."""
    raise Refusal(500, "5.5.1", "this is LMTP, say LHLO")


def run_mail(session: Session, argument: bytes) -> bytes:
    """Begin a transaction.

    RFC 5321 §4.1.1.2, RFC 1870 §6 (SIZE), RFC 6152 §3 (BODY).
    """
    if not session.hello:
        raise Refusal(503, "5.5.1", "say LHLO first")
    if session.envelope is not None:
        raise Refusal(503, "5.5.1", "a transaction is under way")
    path, parameters = _path_and_parameters(argument, b"FROM:", "5.1.7")
    for keyword, value in parameters.items():
        if keyword == b"SIZE":
            _check_size(value, session.service.settings.message_size_limit)
        elif keyword == b"BODY":
            if value is None or value.upper() not in (b"7BIT", b"8BITMIME"):
                raise Refusal(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
        else:
            raise Refusal(555, "5.5.4", f"parameter {keyword.decode()} is not known")
    session.envelope = Envelope(path)
    return format_reply(250, "2.1.0", f"<{path.text}> sender OK")


def run_rcpt(session: Session, argument: bytes) -> bytes:
    """Add a recipient, if there is such a user.

    RFC 5321 §4.1.1.3.
    """
    if session.envelope is None:
        raise Refusal(503, "5.5.1", "say MAIL first")
    path, parameters = _path_and_parameters(argument, b"TO:", "5.1.3")
    if not path.local:
        raise Refusal(501, "5.1.3", "a recipient is needed")
    for keyword in parameters:
        raise Refusal(555, "5.5.4", f"parameter {keyword.decode()} is not known")
    if len(session.envelope.recipients) >= RECIPIENTS_LIMIT:
        raise Refusal(452, "4.5.3", "too many recipients")
    try:
        recipient = find_recipient(session.service, path)
    except MStoreError as error:
        return format_failure(error, path.text)
    session.envelope.recipients.append(recipient)
    return format_reply(250, "2.1.5", f"<{path.text}> recipient OK")


def run_data(session: Session, argument: bytes) -> bytes:
    """Receive the message and deliver it: one reply for each accepted recipient, in their order.

    RFC 2033 §4.2.
    Durable: each positive reply is written after its message is on disk.
    """
    if argument.strip():
        raise Refusal(501, "5.5.4", "DATA has no argument")
    if session.envelope is None:
        raise Refusal(503, "5.5.1", "say MAIL and RCPT first")
    if not session.envelope.recipients:
        raise Refusal(503, "5.5.1", "no valid recipients")
    envelope, session.envelope = session.envelope, None
    service, stream = session.service, session.stream
    trace = make_trace(service, envelope, session.hello, int(clock.now()))
    with Spool(service.settings.spool_path, service.settings.message_size_limit + len(trace)) as spool:
        content = Content(spool, trace, service.settings.allow8bitheaders)
        stream.write(b"354 send the message, end with a line of one dot\r\n")
        stream.flush()
        read_content(stream, content)
        content.finish()
        if content.problem is not None:
            service.counters.add("errors")
            service.log.warning("message-refused", id=envelope.id, error=str(content.problem))
            return b"".join(_format_rejection(content.problem, r.path.text) for r in envelope.recipients)
        sent_s = clock.steady()
        for reply in deliver(service, envelope, spool):
            stream.write(reply)
            now_s = clock.steady()
            if now_s - sent_s > REPLY_PATIENCE_S:
                stream.flush()
                sent_s = now_s
    return b""


def run_rset(session: Session, argument: bytes) -> bytes:
    """Give up the transaction (RFC 5321 §4.1.1.5)."""
    if argument.strip():
        raise Refusal(501, "5.5.4", "RSET has no argument")
    session.envelope = None
    return _OK


def run_noop(session: Session, argument: bytes) -> bytes:
    """Do nothing (RFC 5321 §4.1.1.9)."""
    return _OK


def run_vrfy(session: Session, argument: bytes) -> bytes:
    """Neither confirm nor deny a user (RFC 5321 §3.5.3, §7.3)."""
    if not argument.strip():
        raise Refusal(501, "5.5.4", "VRFY needs an argument")
    return format_reply(252, "2.1.5", "send a message to find out")


def run_quit(session: Session, argument: bytes) -> bytes:
    """End the conversation (RFC 5321 §4.1.1.10)."""
    if argument.strip():
        raise Refusal(501, "5.5.4", "QUIT has no argument")
    session.ended = True
    return format_reply(221, "2.0.0", f"{session.service.settings.server_name} closing connection")


COMMANDS: Mapping[bytes, Command] = {
    b"LHLO": Command(run_lhlo, False, "RFC 2033 §4.1"),
    b"HELO": Command(run_hello, False, "RFC 2033 §4.1"),
    b"EHLO": Command(run_hello, False, "RFC 2033 §4.1"),
    b"MAIL": Command(run_mail, True, "RFC 5321 §4.1.1.2"),
    b"RCPT": Command(run_rcpt, True, "RFC 5321 §4.1.1.3"),
    b"DATA": Command(run_data, False, "RFC 2033 §4.2"),
    b"RSET": Command(run_rset, True, "RFC 5321 §4.1.1.5"),
    b"NOOP": Command(run_noop, False, "RFC 5321 §4.1.1.9"),
    b"VRFY": Command(run_vrfy, False, "RFC 5321 §4.1.1.6"),
    b"QUIT": Command(run_quit, False, "RFC 5321 §4.1.1.10"),
}


def _path_and_parameters(
    argument: bytes, prefix: bytes, status: str
) -> tuple[Path, Mapping[bytes, bytes | None]]:
    """What MAIL and RCPT have in common."""
    argument = argument.lstrip(b" \t")
    if argument[: len(prefix)].upper() != prefix:
        raise Refusal(501, "5.5.4", f"{prefix.decode()}<address> is needed")
    try:
        path, rest = parse_path(argument[len(prefix) :])
        return path, parse_parameters(rest)
    except BadPath as error:
        raise Refusal(501, status, str(error)) from None
    except BadParameter as error:
        raise Refusal(501, "5.5.4", str(error)) from None


def _check_size(value: bytes | None, limit_bytes: int) -> None:
    """Refuse a message announced as too large (RFC 1870 §6.1)."""
    if value is None or not value.isdigit() or len(value) > 20:
        raise Refusal(501, "5.5.4", "SIZE is a number of bytes")
    if int(value) > limit_bytes:
        raise Refusal(552, "5.3.4", f"message is larger than {limit_bytes} bytes")


def _format_rejection(problem: MStoreError, whom: str) -> bytes:
    """The reply for one recipient of a message that could not be taken in."""
    if isinstance(problem, BadContent):
        return format_reply(554, "5.6.0", f"<{whom}> {problem}")
    return format_failure(problem, whom)
