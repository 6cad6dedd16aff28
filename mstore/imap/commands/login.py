"""Getting in: STARTTLS, LOGIN, AUTHENTICATE (RFC 3501 §6.2, RFC 4959, RFC 4616); and out: UNAUTHENTICATE.

Passwords go to authproxyd and nowhere else. Whether the name or the password was wrong is never told.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, cast

from mstore.auth.sasl import Credentials
from mstore.auth.sasl import start as start_exchange
from mstore.base.errors import Invalid, MStoreError, Unavailable
from mstore.imap.capability import may_send_password, mechanisms
from mstore.imap.errors import Bad, Bye, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.respond import continue_req
from mstore.net.penalty import Penalty
from mstore.store.access import Access

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.people import People
    from mstore.store.store import Store

MAX_RESPONSE_BYTES = 8192
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
    return log_in(session, Credentials(b"", name, password))


def run_authenticate(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 3501 §6.2.2, with an initial response (RFC 4959 §3)."""
    cursor.space()
    mechanism = cursor.atom().upper()
    initial = None
    if not cursor.at_end():
        cursor.space()
        initial = cursor.rest()
    if mechanism not in mechanisms(session.service, session.stream.tls):
        if mechanism == b"PLAIN" and not may_send_password(session.service, session.stream.tls):
            raise No("PLAIN is disabled on connections without TLS", b"PRIVACYREQUIRED")
        raise No("no such authentication mechanism", b"CANNOT")
    exchange = start_exchange(mechanism.decode("ascii"))
    # "=" stands for an initial response that is empty (RFC 4959 §3).
    response = None if initial is None else b"" if initial == b"=" else _parse_base64(initial)
    while True:
        try:
            step = exchange.step(response)
        except Invalid as error:
            raise Bad(str(error)) from None
        if isinstance(step, Credentials):
            return log_in(session, step)
        session.send(continue_req(base64.b64encode(step)))
        line = session.read_line(MAX_RESPONSE_BYTES)
        if line == b"*":
            raise Bad("authentication cancelled")
        response = _parse_base64(line)


def run_unauthenticate(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 8437 §3: the connection is as it was before login; \\Deleted messages stay."""
    cursor.end()
    session.service.log.info("unauthenticate", session=session.id, user=session.user)
    session.leave()


def log_in(session: Session, credentials: Credentials) -> bytes:
    """Have the credentials checked and open the account; gives the text of the tagged OK.

    Raises: No, after a pause that grows with every failure; Bye after too many.
    """
    service = session.service
    try:
        result = service.authenticate.check(credentials.authcid, credentials.password)
        record = None
        if result.ok:
            record = service.accounts.find(credentials.authcid.decode("utf-8", "replace"))
    except Unavailable as error:
        service.log.error("login", session=session.id, peer=session.stream.peer, error=str(error))
        raise No("Authentication is not possible just now; try again later", b"UNAVAILABLE") from None
    if record is None or not record.enabled:
        _refuse(session, credentials.authcid)
    if credentials.authzid and not _is_same(session, credentials.authzid, record):
        _refuse(session, credentials.authcid, b"AUTHORIZATIONFAILED")
    access = Access(cast("Store", service.store), cast("People", service.accounts), record)
    if service.settings.default_mailboxes:
        _furnish(session, access)
    session.enter(record, access)
    service.log.info("login", session=session.id, user=session.user, peer=session.stream.peer)
    return b"[CAPABILITY " + session.capabilities() + b"] Logged in"


def _furnish(session: Session, access: Access) -> None:
    """See to the default mailboxes; who cannot be given them now is at the next login."""
    try:
        access.account.furnish()
    except Unavailable:
        raise
    except MStoreError as error:
        session.service.log.error("default-mailboxes", session=session.id, error=str(error))


def _is_same(session: Session, authzid: bytes, record: object) -> bool:
    """Whether somebody wants to act as themselves."""
    other = session.service.accounts.find(authzid.decode("utf-8", "replace"))
    return other is not None and other.id == record.id  # type: ignore[attr-defined]


def _refuse(session: Session, name: bytes, code: bytes = b"AUTHENTICATIONFAILED") -> None:
    """Note a failed login, make the client wait, and say no more than that."""
    service = session.service
    service.counters.add("login_failures")
    service.log.warning("login-failed", session=session.id, name=name[:200], peer=session.stream.peer)
    session.stream.flush()
    if session.penalty is None:
        session.penalty = Penalty()
    session.penalty.pay()
    if session.penalty.is_over:
        raise Bye("Too many failed logins")
    raise No("Authorization failed" if code == b"AUTHORIZATIONFAILED" else "Authentication failed", code)


def _parse_base64(text: bytes) -> bytes:
    if not _BASE64.fullmatch(text):
        raise Bad("not correct base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Bad("not correct base64") from None
