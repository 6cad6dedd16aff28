"""Getting in: STARTTLS, LOGIN, AUTHENTICATE (RFC 3501 §6.2, RFC 4959); and out: UNAUTHENTICATE.

What a client sends goes to authproxyd and nowhere else. Whether the name or the password was wrong is never
told.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, cast

from mstore.auth.client import AUTHENTICATIONFAILED, CANCELLED, MALFORMED, Accepted, Facts, Refused
from mstore.base.errors import MStoreError, Unavailable
from mstore.imap.capability import may_send_password, mechanisms
from mstore.imap.errors import Bad, Bye, CommandFailed, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.respond import continue_req
from mstore.net.nologin import read_nologin
from mstore.net.penalty import Penalty
from mstore.store.access import Access
from mstore.store.acts import Actor, act_as

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.people import People
    from mstore.store.store import Store

MAX_RESPONSE_BYTES = 16384
"""RFC 5034 §4 asks as much of POP3: 12,288."""
CODES = frozenset(
    (
        "AUTHENTICATIONFAILED",
        "AUTHORIZATIONFAILED",
        "UNAVAILABLE",
        "EXPIRED",
        "PRIVACYREQUIRED",
        "CONTACTADMIN",
    )
)
"""What authproxyd's codes are in RFC 5530."""
_TEXTS = {AUTHENTICATIONFAILED: "Authentication failed", "AUTHORIZATIONFAILED": "Authorization failed"}
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def run_starttls(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """RFC 3501 §6.2.1: answers itself, because the OK goes out in plain text and nothing may follow it."""
    cursor.end()
    stream, context = session.stream, session.service.tls
    if context is None or stream.tls:
        raise Bad("TLS is active already" if stream.tls else "TLS is not available")
    if stream.has_input():
        # Whoever put this there meant it to be taken for something said under TLS.
        stream.discard_input()
        raise Bad("nothing may follow STARTTLS before the TLS negotiation")
    session.send(tag + b" OK Begin TLS negotiation now\r\n")
    stream.start_tls(context)
    return b""


def run_login(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.2.3."""
    cursor.space()
    name = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    if not may_send_password(session.service, session.stream.tls):
        raise No("LOGIN is disabled on connections without TLS", b"PRIVACYREQUIRED")
    _check_open(session)
    try:
        found = session.service.authenticate.check_password(name, password, _facts(session))
    except Unavailable as error:
        raise _unavailable(session, error) from None
    return log_in(session, found, "LOGIN", name)


def run_authenticate(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.2.2, with an initial response (RFC 4959 §3)."""
    cursor.space()
    mechanism = cursor.atom().upper().decode("ascii", "replace")
    initial = None
    if not cursor.at_end():
        cursor.space()
        initial = cursor.rest()
    service = session.service
    if mechanism not in mechanisms(service, session.stream):
        private = may_send_password(service, session.stream.tls)
        if not private and service.authenticate.needs_privacy(mechanism):
            raise No(f"{mechanism} is disabled on connections without TLS", b"PRIVACYREQUIRED")
        raise No("no such authentication mechanism", b"CANNOT")
    _check_open(session)
    # "=" stands for an initial response that is empty (RFC 4959 §3).
    response = None if initial is None else b"" if initial == b"=" else _parse_base64(initial)

    def ask(challenge: bytes) -> bytes | None:
        session.send(continue_req(base64.b64encode(challenge)))
        line = session.read_line(MAX_RESPONSE_BYTES)
        return None if line == b"*" else _parse_base64(line)

    try:
        found = service.authenticate.authenticate(mechanism, _facts(session), response, ask)
    except Unavailable as error:
        raise _unavailable(session, error) from None
    return log_in(session, found, mechanism)


def run_unauthenticate(session: Session, tag: bytes, cursor: Cursor) -> bytes | None:
    """RFC 8437 §3: the connection is as it was before login, but for TLS; \\Deleted messages stay.

    Where it is compressed it answers itself, for the compression ends with the answer (§4.1).
    """
    cursor.end()
    stream = session.stream
    if stream.deflated and stream.has_input():
        raise Bye("Compression ends with UNAUTHENTICATE")
    session.service.log.info("unauthenticated", session=session.id, user=session.user)
    session.leave()
    if not stream.deflated:
        return None
    session.send(tag + b" OK UNAUTHENTICATE completed\r\n")
    stream.end_deflate()
    return b""


def _check_open(session: Session) -> None:
    """Take leave of who was connected before the doors were closed; nobody is asked about a password."""
    closed = read_nologin(session.service.settings.nologin_path)
    if closed is not None:
        raise Bye(closed, b"ALERT")


def log_in(session: Session, found: Accepted | Refused, mechanism: str, name: bytes | None = None) -> bytes:
    """Open the account of somebody who may log in; gives the text of the tagged OK.

    Raises: No, after a pause that grows with every failure; Bye after too many; Bad for what is no login.
    """
    service = session.service
    if isinstance(found, Refused):
        raise _refuse(session, found, mechanism, name)
    if found.account is None:
        return _enter_anonymously(session, mechanism)
    try:
        record = service.accounts.find(found.account)
    except Unavailable as error:
        raise _unavailable(session, error) from None
    if record is None or not record.enabled:
        raise _refuse(session, Refused(AUTHENTICATIONFAILED, login=found.login), mechanism, name)
    access = Access(cast("Store", service.store), cast("People", service.accounts), record)
    by = found.login if found.login != record.name else None
    _act_as(session, record.name, by)
    if service.settings.default_mailboxes:
        _furnish(session, access)
    session.enter(record, access)
    service.counters.add_of("logins", mechanism.lower())
    service.log.info(
        "login", session=session.id, user=session.user, by=by, mechanism=mechanism, peer=session.stream.peer
    )
    return b"[CAPABILITY " + session.capabilities() + b"] Logged in"


def _enter_anonymously(session: Session, mechanism: str) -> bytes:
    """Admit a session that is nobody's (RFC 4505); gives the text of the tagged OK.

    The trace that the client leaves is in the log of authproxyd.
    """
    service = session.service
    session.enter(None, Access(cast("Store", service.store), cast("People", service.accounts), None))
    _act_as(session, session.user, None)
    service.counters.add_of("logins", mechanism.lower())
    service.log.info(
        "login", session=session.id, user=session.user, mechanism=mechanism, peer=session.stream.peer
    )
    return b"[CAPABILITY " + session.capabilities() + b"] Logged in as nobody in particular"


def _act_as(session: Session, user: str | None, by: str | None) -> None:
    """Let the audit log, if there is one, know who it is that changes something from now on."""
    if session.service.settings.audit_log:
        act_as(Actor({"user": user, "by": by, "session": session.id, "peer": session.stream.peer}))


def _furnish(session: Session, access: Access) -> None:
    """See to the default mailboxes; who cannot be given them now is at the next login."""
    try:
        access.account.furnish()
    except Unavailable:
        raise
    except MStoreError as error:
        session.service.log.error(
            "default-mailboxes-failed", session=session.id, user=access.person.name, error=str(error)
        )


def _facts(session: Session) -> Facts:
    return Facts.of(session.stream, "imap", session.service.settings.server_name)


def _unavailable(session: Session, error: Unavailable) -> No:
    session.service.log.error(
        "login-unavailable", session=session.id, peer=session.stream.peer, error=str(error)
    )
    return No("Authentication is not possible just now; try again later", b"UNAVAILABLE")


def _refuse(session: Session, refused: Refused, mechanism: str, name: bytes | None) -> CommandFailed:
    """Note a failed login, make the client wait, and give what there is to say: no more than needs be."""
    if refused.code in (MALFORMED, CANCELLED):
        return Bad(refused.text)
    service = session.service
    service.counters.add_of("login_failures", mechanism.lower())
    service.log.warning(
        "login-failed", session=session.id, name=(name or refused.login or "")[:200] or None,
        mechanism=mechanism, code=refused.code, peer=session.stream.peer,
    )  # fmt: skip
    session.stream.flush()
    if session.penalty is None:
        session.penalty = Penalty()
    session.penalty.pay()  # also who is turned away: a program that comes again at once has to wait
    if refused.end:
        return Bye(refused.text or "Too many failed logins")
    if session.penalty.is_over:
        return Bye("Too many failed logins")
    text = _TEXTS.get(refused.code, refused.text)
    return No(text, refused.code.encode() if refused.code in CODES else None)


def _parse_base64(text: bytes) -> bytes:
    if not _BASE64.fullmatch(text):
        raise Bad("not correct base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Bad("not correct base64") from None
