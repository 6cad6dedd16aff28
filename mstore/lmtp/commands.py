"""The command table of LMTP and all its commands.

A command gets the session and what stands behind its verb, and returns its reply; it raises ``Refusal`` to
refuse. RFC 5321 §4.1 as changed by RFC 2033 §4; the extensions announced are those in ``run_lhlo``. Over TCP
there are two more commands, and until the client has logged in most of them are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mstore.base import clock
from mstore.base.errors import MStoreError
from mstore.lmtp.content import BadContent
from mstore.lmtp.deliver import Envelope, check_room, deliver, find_recipient
from mstore.lmtp.incoming import Incoming
from mstore.lmtp.login import describe_login, run_auth, run_starttls
from mstore.lmtp.parameters import Mailing, check_rcpt_parameters, parse_mail_parameters
from mstore.lmtp.path import BadPath, Path, parse_path
from mstore.lmtp.receive import read_chunk, read_content
from mstore.lmtp.reply import Refusal, format_failure, format_reply

if TYPE_CHECKING:
    from mstore.lmtp.session import Session

RECIPIENTS_LIMIT = 50_000
REPLY_PATIENCE_S = 0.02
"""How long a reply may wait for those after it (RFC 2033 §5 "as soon as possible")."""

_CHUNK = re.compile(rb"([0-9]{1,19})(?:[ \t]+(LAST))?", re.IGNORECASE)
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
    session.end_transaction()
    settings = session.service.settings
    lines = [
        settings.server_name,
        "PIPELINING",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
        f"SIZE {settings.message_size_limit}",
    ]
    if not session.service.trusted:
        lines += describe_login(session)
    last = len(lines) - 1
    return "".join(f"250{' ' if i == last else '-'}{line}\r\n" for i, line in enumerate(lines)).encode()


def run_hello(session: Session, argument: bytes) -> bytes:
    """Refuse HELO and EHLO, so that a client of the wrong protocol is found out (RFC 2033 §4.1)."""
    raise Refusal(500, "5.5.1", "this is LMTP, say LHLO")


def run_mail(session: Session, argument: bytes) -> bytes:
    """Begin a transaction.

    RFC 5321 §4.1.1.2, RFC 1870 §6, RFC 6152 §3, RFC 3030 §3, RFC 6531 §3.4, RFC 4954 §5.
    """
    if not session.hello:
        raise Refusal(503, "5.5.1", "say LHLO first")
    if session.envelope is not None:
        raise Refusal(503, "5.5.1", "a transaction is under way")
    path, rest = _path_and_rest(argument, b"FROM:", "5.1.7")
    mailing = parse_mail_parameters(rest, has_auth=not session.service.trusted)
    limit_bytes = session.service.settings.message_size_limit
    if mailing.size_bytes > limit_bytes:
        raise Refusal(552, "5.3.4", f"message is larger than {limit_bytes} bytes")
    _check_ascii(path, mailing)
    session.envelope = Envelope(path, mailing, session.describe_client())
    return format_reply(250, "2.1.0", f"<{path.text}> sender OK")


def run_rcpt(session: Session, argument: bytes) -> bytes:
    """Add a recipient, if there is such a user, and room for what was announced.

    RFC 5321 §4.1.1.3, RFC 3461 §4, RFC 1870 §6.2.
    """
    envelope, service = session.envelope, session.service
    if envelope is None or session.incoming is not None:
        raise Refusal(503, "5.5.1", "say MAIL first")
    path, rest = _path_and_rest(argument, b"TO:", "5.1.3")
    if not path.local:
        raise Refusal(501, "5.1.3", "a recipient is needed")
    check_rcpt_parameters(rest)
    _check_ascii(path, envelope.mailing)
    if len(envelope.recipients) >= RECIPIENTS_LIMIT:
        raise Refusal(452, "4.5.3", "too many recipients")
    try:
        recipient = find_recipient(service, path)
        if envelope.mailing.size_bytes:
            check_room(service, recipient, envelope.mailing.size_bytes)
    except (Refusal, MStoreError) as error:
        service.counters.add("recipients_refused")
        if isinstance(error, Refusal):
            raise
        return format_failure(error, path.text, service.settings.lmtp_overquota_reply == "permanent")
    envelope.recipients.append(recipient)
    text = f"a message from <{envelope.sender.text}> for <{path.text}>"
    service.follower.enter(session, recipient.record.name, text)
    return format_reply(250, "2.1.5", f"<{path.text}> recipient OK")


def run_data(session: Session, argument: bytes) -> bytes:
    """Receive the message and deliver it: one reply for each accepted recipient, in their order.

    RFC 2033 §4.2.
    Durable: each positive reply is written after its message is on disk.
    """
    if argument.strip():
        raise Refusal(501, "5.5.4", "DATA has no argument")
    envelope = _ready(session)
    if session.incoming is not None or envelope.mailing.is_binary:
        raise Refusal(503, "5.5.1", "this message comes by BDAT")
    incoming = session.begin_message(envelope)
    session.stream.write(b"354 send the message, end with a line of one dot\r\n")
    session.stream.flush()
    read_content(session.stream, incoming.content)
    _finish(session, envelope, incoming)
    return b""


def run_bdat(session: Session, argument: bytes) -> bytes:
    """Receive a chunk of the message; with the last one deliver it, as behind DATA.

    RFC 3030 §2. A chunk that cannot be used is read to its end all the same, and ends the transaction.
    """
    match = _CHUNK.fullmatch(argument.strip())
    if match is None:
        # Where the next command begins is not known any more.
        session.end_soon()
        raise Refusal(501, "5.5.4", "BDAT needs a number of bytes, and LAST or nothing")
    size_bytes, is_last = int(match[1]), match[2] is not None
    try:
        envelope = _ready(session)
    except Refusal:
        read_chunk(session.stream, None, size_bytes)
        raise
    incoming = session.incoming or session.begin_message(envelope)
    read_chunk(session.stream, incoming.content, size_bytes)
    incoming.received_bytes += size_bytes
    if is_last:
        _finish(session, envelope, incoming)
        return b""
    if incoming.problem is not None:
        problem = incoming.problem
        _note_refused(session, envelope, problem)
        session.end_transaction()
        return _format_rejection(problem, "")
    return format_reply(250, "2.0.0", f"{incoming.received_bytes} bytes received")


def _ready(session: Session) -> Envelope:
    """The transaction that has all it needs but the message.

    Raises: Refusal.
    """
    if session.envelope is None:
        raise Refusal(503, "5.5.1", "say MAIL and RCPT first")
    if not session.envelope.recipients:
        raise Refusal(503, "5.5.1", "no valid recipients")
    return session.envelope


def _finish(session: Session, envelope: Envelope, incoming: Incoming) -> None:
    """All of the message is there: deliver it, and reply for each recipient; the transaction is over."""
    stream = session.stream
    try:
        session.envelope = None
        try:
            spool = incoming.complete()
        except MStoreError as problem:
            _note_refused(session, envelope, problem)
            stream.writelines(_format_rejection(problem, r.path.text) for r in envelope.recipients)
            return
        sent_s = clock.steady()
        for reply in deliver(session.service, envelope, spool):
            stream.write(reply)
            now_s = clock.steady()
            if now_s - sent_s > REPLY_PATIENCE_S:
                stream.flush()
                sent_s = now_s
    finally:
        session.end_transaction()


def _note_refused(session: Session, envelope: Envelope, problem: MStoreError) -> None:
    session.service.counters.add("errors")
    session.service.log.warning(
        "message-refused", id=envelope.id, session=session.id, sender=envelope.sender.text, error=str(problem)
    )


def run_rset(session: Session, argument: bytes) -> bytes:
    """Give up the transaction (RFC 5321 §4.1.1.5)."""
    if argument.strip():
        raise Refusal(501, "5.5.4", "RSET has no argument")
    session.end_transaction()
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


def run_barred(session: Session, argument: bytes) -> bytes:
    """Refuse what a client may not do before it has logged in (RFC 4954 §6)."""
    raise Refusal(530, "5.7.0", "authentication is required")


def run_barred_bdat(session: Session, argument: bytes) -> bytes:
    """The same; the chunk that comes behind it is nothing to spend time on."""
    session.end_soon()
    return run_barred(session, argument)


COMMANDS: Mapping[bytes, Command] = {
    b"LHLO": Command(run_lhlo, False, "RFC 2033 §4.1"),
    b"HELO": Command(run_hello, False, "RFC 2033 §4.1"),
    b"EHLO": Command(run_hello, False, "RFC 2033 §4.1"),
    b"MAIL": Command(run_mail, True, "RFC 5321 §4.1.1.2"),
    b"RCPT": Command(run_rcpt, True, "RFC 5321 §4.1.1.3"),
    b"DATA": Command(run_data, False, "RFC 2033 §4.2"),
    b"BDAT": Command(run_bdat, True, "RFC 3030 §2"),
    b"RSET": Command(run_rset, True, "RFC 5321 §4.1.1.5"),
    b"NOOP": Command(run_noop, False, "RFC 5321 §4.1.1.9"),
    b"VRFY": Command(run_vrfy, False, "RFC 5321 §4.1.1.6"),
    b"QUIT": Command(run_quit, False, "RFC 5321 §4.1.1.10"),
}
"""Those of the Unix socket."""
SENDERS: Mapping[bytes, Command] = {
    **COMMANDS,
    b"AUTH": Command(run_auth, False, "RFC 4954 §4"),
    b"STARTTLS": Command(run_starttls, False, "RFC 3207 §4"),
}
"""Those of a client that has logged in over TCP."""
_BARRED = {
    **{verb: Command(run_barred, True, "RFC 4954 §6") for verb in (b"MAIL", b"RCPT")},
    **{verb: Command(run_barred, False, "RFC 4954 §6") for verb in (b"DATA", b"VRFY")},
    b"BDAT": Command(run_barred_bdat, False, "RFC 4954 §6"),
}
STRANGERS: Mapping[bytes, Command] = {**SENDERS, **_BARRED}
"""Those of a client that has not."""


def _path_and_rest(argument: bytes, prefix: bytes, status: str) -> tuple[Path, bytes]:
    """What MAIL and RCPT have in common: an address, and what stands behind it."""
    argument = argument.lstrip(b" \t")
    if argument[: len(prefix)].upper() != prefix:
        raise Refusal(501, "5.5.4", f"{prefix.decode()}<address> is needed")
    try:
        return parse_path(argument[len(prefix) :])
    except BadPath as error:
        raise Refusal(501, status, str(error)) from None


def _check_ascii(path: Path, mailing: Mailing) -> None:
    """Pass an address that may stand in this transaction (RFC 6531 §3.5)."""
    if not (mailing.utf8 or path.is_ascii):
        raise Refusal(553, "5.6.7", "an address beyond ASCII needs SMTPUTF8")


def _format_rejection(problem: MStoreError, whom: str) -> bytes:
    """The reply for one recipient of a message that could not be taken in; or for all, without a name."""
    if isinstance(problem, BadContent):
        return format_reply(554, "5.6.0", f"<{whom}> {problem}" if whom else str(problem))
    return format_failure(problem, whom)
