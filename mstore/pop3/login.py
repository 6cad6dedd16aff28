"""Logging in: USER and PASS, AUTH, STLS, and what all ways have in common.

A password is accepted over TLS, or in clear text where ``cleartext-login-enable`` is on. It is checked by
authproxyd; nothing here sees a verifier. A failure is answered after a pause, and with [AUTH], whether it was
the name or the password.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from mstore.accounts import AccountRecord
from mstore.auth import sasl
from mstore.base.errors import Busy, Invalid, MStoreError
from mstore.net.penalty import Penalty
from mstore.net.stream import LineTooLong
from mstore.pop3.maildrop import Maildrop
from mstore.pop3.reply import AUTH, IN_USE, TEMPORARY, Refusal, refusal_of

if TYPE_CHECKING:
    from mstore.pop3.session import Session

RESPONSE_LIMIT_BYTES = 8192


def may_send_passwords(session: Session) -> bool:
    """Whether a password may come over this connection."""
    return session.stream.tls or session.service.settings.cleartext_login_enable


def may_start_tls(session: Session) -> bool:
    """Whether STLS makes sense here."""
    return session.service.tls is not None and not session.stream.tls


def mechanisms(session: Session) -> list[str]:
    """The SASL mechanisms offered on this connection; all there are send a password."""
    if not may_send_passwords(session):
        return []
    return [name for name in sasl.SASL if session.service.settings.may_use(name.lower())]


def run_user(session: Session, argument: bytes) -> None:
    """Take a name; whether it exists is told to nobody (RFC 1939 §7, §13)."""
    _check_passwords(session)
    if not argument:
        raise Refusal("a name is needed", wrong=True)
    session.claimed = argument
    session.ok("now the password")


def run_pass(session: Session, argument: bytes) -> None:
    """Log in with the name just given; spaces belong to the password (RFC 1939 §7)."""
    _check_passwords(session)
    name, session.claimed = session.claimed, b""
    if not name:
        raise Refusal("say USER first", wrong=True)
    _log_in(session, sasl.Credentials(b"", name, argument))


def run_auth(session: Session, argument: bytes) -> None:
    """Log in by a SASL mechanism; alone, list them.

    RFC 5034 §4.
    """
    names = mechanisms(session)
    words = argument.split()
    if not words:
        session.ok("mechanisms follow")
        session.send("".join(name + "\r\n" for name in names).encode() + b".\r\n")
        return
    name = words[0].decode("ascii", "replace").upper()
    if name not in names:
        _check_passwords(session)
        raise Refusal("mechanism is not offered")
    if len(words) > 2:
        raise Refusal("AUTH needs a mechanism and at most an initial response", wrong=True)
    exchange = sasl.start(name)
    try:
        step = exchange.step(_from_base64(words[1]) if len(words) == 2 else None)
        while isinstance(step, bytes):
            step = exchange.step(_ask(session, step))
    except Invalid as error:
        raise Refusal(str(error), AUTH, wrong=True) from None
    _log_in(session, step)


def run_stls(session: Session, argument: bytes) -> None:
    """Begin TLS (RFC 2595 §4); what was sent in clear text behind the command is dropped."""
    if argument:
        raise Refusal("no argument is allowed here", wrong=True)
    if not may_start_tls(session):
        raise Refusal("TLS is active already" if session.stream.tls else "TLS is not configured", wrong=True)
    if session.stream.has_input():
        # Whoever put this there meant it to be taken for something said under TLS.
        session.stream.discard_input()
        raise Refusal("nothing may follow STLS before the TLS negotiation", wrong=True)
    session.claimed = b""
    session.ok("begin TLS negotiation")
    session.stream.start_tls(session.service.tls)


def _check_passwords(session: Session) -> None:
    if not may_send_passwords(session):
        raise Refusal("passwords are only accepted over TLS", wrong=True)


def _ask(session: Session, challenge: bytes) -> bytes:
    """Send a challenge and return the client's response, both in base64 on the wire."""
    session.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
    try:
        line = session.read_line(RESPONSE_LIMIT_BYTES)
    except LineTooLong:
        raise Refusal("response is too long", wrong=True) from None
    if line == b"*":
        raise Refusal("authentication cancelled")
    return b"" if not line else _from_base64(line)


def _from_base64(word: bytes) -> bytes:
    """Decode strictly (RFC 5034 §4 "MUST reject"); a lone ``=`` is the empty response."""
    if word == b"=":
        return b""
    try:
        return binascii.a2b_base64(word, strict_mode=True)
    except (binascii.Error, ValueError):
        raise Refusal("response is not base64", wrong=True) from None


def _failed(session: Session, name: bytes) -> Refusal:
    """Note a failed login and wait, then give what there is to say about it."""
    service = session.service
    service.counters.add("login_failures")
    service.log.warning("login-failed", name=name[:200], peer=session.stream.peer)
    session.stream.flush()
    if session.penalty is None:
        session.penalty = Penalty()
    session.penalty.pay()
    if session.penalty.is_over:
        session.cut()
    return Refusal("authentication failed", AUTH)


def _log_in(session: Session, credentials: sasl.Credentials) -> None:
    """Check the password, take the maildrop, and go into the TRANSACTION state.

    RFC 1939 §4.
    """
    service = session.service
    try:
        record = _check(session, credentials)
    except MStoreError as error:
        session.report("login", error)
        raise Refusal("authentication is unavailable, try again later", TEMPORARY) from error
    if record is None:
        raise _failed(session, credentials.authcid)
    try:
        maildrop = Maildrop(service.store.account(record))
    except Busy:
        raise Refusal("maildrop is in use by another session", IN_USE) from None
    except MStoreError as error:
        session.report("open", error)
        raise refusal_of(error) from error
    session.enter(record.name, maildrop)
    session.ok(f"maildrop has {maildrop.summary}")


def _check(session: Session, credentials: sasl.Credentials) -> AccountRecord | None:
    """The account of those credentials, if they are right and everybody acts as themselves.

    Raises: Unavailable, Corrupt.
    """
    service = session.service
    if not service.authenticate.check(credentials.authcid, credentials.password).ok:
        return None
    record: AccountRecord | None = service.accounts.find(credentials.authcid.decode("utf-8", "replace"))
    if record is None or not record.enabled:
        return None
    if credentials.authzid:
        other = service.accounts.find(credentials.authzid.decode("utf-8", "replace"))
        if other is None or other.id != record.id:
            return None
    return record
