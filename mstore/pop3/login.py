"""Logging in: USER and PASS, APOP, AUTH, STLS, and what all ways have in common.

A password is accepted over TLS, or in clear text where ``cleartext-login-enable`` is on. authproxyd judges;
nothing here sees a verifier. A failure is answered after a pause, and with [AUTH], whether it was the name or
the password.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from mstore.auth.client import AUTHENTICATIONFAILED, CANCELLED, MALFORMED, Accepted, Facts, Refused
from mstore.auth.stamp import make_stamp
from mstore.base.errors import Busy, MStoreError
from mstore.net.nologin import read_nologin
from mstore.net.penalty import Penalty
from mstore.net.stream import LineTooLong, StreamFailed
from mstore.pop3.maildrop import Maildrop, TooSoon
from mstore.pop3.reply import ALERT, AUTH, IN_USE, LOGIN_DELAY, PERMANENT, TEMPORARY, Refusal, refusal_of

if TYPE_CHECKING:
    from mstore.pop3.session import Session

RESPONSE_LIMIT_BYTES = 16384
"""RFC 5034 §4 asks for 12,288 at least."""
APOP = "APOP"
_CODES = {
    "AUTHENTICATIONFAILED": AUTH,
    "AUTHORIZATIONFAILED": AUTH,
    "EXPIRED": AUTH,
    "UNAVAILABLE": TEMPORARY,
    "CONTACTADMIN": PERMANENT,
}
"""What authproxyd's codes are in RFC 3206."""
_TEXTS = {AUTHENTICATIONFAILED: "authentication failed", "AUTHORIZATIONFAILED": "authentication failed"}


def may_send_passwords(session: Session) -> bool:
    """Whether a password may come over this connection."""
    return session.stream.tls or bool(session.service.settings.cleartext_login_enable)


def may_start_tls(session: Session) -> bool:
    """Whether STLS makes sense here."""
    return session.service.tls is not None and not session.stream.tls


def mechanisms(session: Session) -> tuple[str, ...]:
    """The SASL mechanisms offered on this connection."""
    return session.service.authenticate.names("pop3", session.stream, may_send_passwords(session))


def make_greeting(session: Session) -> str:
    """The greeting, with the timestamp of APOP where that is offered (RFC 1939 §7)."""
    service = session.service
    text = f"{service.settings.server_name} POP3 M-Store ready"
    if service.authenticate.has_command(APOP):
        session.stamp = make_stamp(service.settings.server_name)
        text += f" {session.stamp.decode()}"
    return text


def run_user(session: Session, argument: bytes) -> None:
    """Take a name; whether it exists is told to nobody (RFC 1939 §7, §13)."""
    _check_passwords(session)
    if not argument:
        raise Refusal("a name is needed", wrong=True)
    _check_utf8(argument)
    session.claimed = argument
    session.ok("now the password")


def run_pass(session: Session, argument: bytes) -> None:
    """Log in with the name just given; spaces belong to the password (RFC 1939 §7)."""
    _check_passwords(session)
    name, session.claimed = session.claimed, b""
    if not name:
        raise Refusal("say USER first", wrong=True)
    _check_utf8(argument)
    _check_open(session)
    try:
        found = session.service.authenticate.check_password(name, argument, _facts(session))
    except MStoreError as error:
        raise _unavailable(session, error) from error
    log_in(session, found, "PASS", name)


def run_apop(session: Session, argument: bytes) -> None:
    """Log in with a digest of the greeting's timestamp and the password (RFC 1939 §7)."""
    if not session.stamp:
        raise Refusal("APOP is not offered", wrong=True)
    session.claimed = b""
    name, _, digest = argument.rpartition(b" ")
    if not name or b"\0" in argument:
        raise Refusal("APOP needs a name and a digest", wrong=True)
    message = b"%b\0%b\0%b" % (session.stamp, name, digest)
    found = _authenticate(session, APOP, message, lambda challenge: None)
    log_in(session, found, APOP, name)


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
        if session.service.authenticate.needs_privacy(name):
            _check_passwords(session)
        raise Refusal("mechanism is not offered")
    if len(words) > 2:
        raise Refusal("AUTH needs a mechanism and at most an initial response", wrong=True)
    initial = _from_base64(words[1]) if len(words) == 2 else None
    found = _authenticate(session, name, initial, lambda challenge: _ask(session, challenge))
    log_in(session, found, name)


def run_stls(session: Session, argument: bytes) -> None:
    """Begin TLS (RFC 2595 §4); what was sent in clear text behind the command is dropped."""
    if argument:
        raise Refusal("no argument is allowed here", wrong=True)
    if not may_start_tls(session):
        raise Refusal("TLS is active already" if session.stream.tls else "TLS is not configured", wrong=True)
    if session.utf8:
        raise Refusal("STLS comes before UTF8", wrong=True)
    if session.stream.has_input():
        # Whoever put this there meant it to be taken for something said under TLS.
        session.stream.discard_input()
        raise Refusal("nothing may follow STLS before the TLS negotiation", wrong=True)
    session.claimed = b""
    session.ok("begin TLS negotiation")
    session.stream.start_tls(session.service.tls)


def _check_open(session: Session) -> None:
    """Take leave of who was connected before the doors were closed; nobody is asked about a password."""
    closed = read_nologin(session.service.settings.nologin_path)
    if closed is not None:
        session.cut()
        raise Refusal(closed, ALERT)


def _check_passwords(session: Session) -> None:
    if not may_send_passwords(session):
        raise Refusal("passwords are only accepted over TLS", wrong=True)


def _check_utf8(word: bytes) -> None:
    """Pass a name or a password (RFC 6856 §2.2 "MUST reject")."""
    try:
        word.decode()
    except UnicodeDecodeError:
        raise Refusal("names and passwords are in UTF-8", wrong=True) from None


def _facts(session: Session) -> Facts:
    return Facts.of(session.stream, "pop3", session.service.settings.server_name)


def _authenticate(
    session: Session, mechanism: str, initial: bytes | None, ask: Callable[[bytes], bytes | None]
) -> Accepted | Refused:
    _check_open(session)
    try:
        found: Accepted | Refused = session.service.authenticate.authenticate(
            mechanism, _facts(session), initial, ask
        )
    except (StreamFailed, LineTooLong):
        raise
    except MStoreError as error:
        raise _unavailable(session, error) from error
    return found


def _unavailable(session: Session, error: MStoreError) -> Refusal:
    session.service.counters.add("errors")
    session.service.log.error(
        "login-unavailable", session=session.id, peer=session.stream.peer, error=str(error)
    )
    return Refusal("authentication is unavailable, try again later", TEMPORARY)


def _ask(session: Session, challenge: bytes) -> bytes | None:
    """Send a challenge and return the client's response, both in base64 on the wire; None when it cancels."""
    session.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
    try:
        line = session.read_line(RESPONSE_LIMIT_BYTES)
    except LineTooLong:
        raise Refusal("response is too long", wrong=True) from None
    if line == b"*":
        return None
    return b"" if not line else _from_base64(line)


def _from_base64(word: bytes) -> bytes:
    """Decode strictly (RFC 5034 §4 "MUST reject"); a lone ``=`` is the empty response."""
    if word == b"=":
        return b""
    try:
        return binascii.a2b_base64(word, strict_mode=True)
    except (binascii.Error, ValueError):
        raise Refusal("response is not base64", wrong=True) from None


def _refuse(session: Session, refused: Refused, mechanism: str, name: bytes | None) -> Refusal:
    """Note a failed login and wait, then give what there is to say about it."""
    if refused.code == CANCELLED:
        return Refusal(refused.text)
    if refused.code == MALFORMED:
        return Refusal(refused.text, AUTH, wrong=True)
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
    if refused.end or session.penalty.is_over:
        session.cut()
    return Refusal(_TEXTS.get(refused.code, refused.text), _CODES.get(refused.code, ""))


def log_in(session: Session, found: Accepted | Refused, mechanism: str, name: bytes | None = None) -> None:
    """Take the maildrop of somebody who may log in, and go into the TRANSACTION state.

    RFC 1939 §4.
    """
    service = session.service
    if isinstance(found, Refused):
        raise _refuse(session, found, mechanism, name)
    try:
        record = service.accounts.find(found.account) if found.account is not None else None
    except MStoreError as error:
        raise _unavailable(session, error) from error
    if record is None or not record.enabled:
        raise _refuse(session, Refused(AUTHENTICATIONFAILED, login=found.login), mechanism, name)
    settings = service.settings
    try:
        account = service.store.account(record)
        maildrop = Maildrop(account, settings.pop3d_login_delay, settings.pop3d_retr_marks_seen)
    except Busy:
        raise Refusal("maildrop is in use by another session", IN_USE) from None
    except TooSoon as error:
        raise Refusal(str(error), LOGIN_DELAY) from None
    except MStoreError as error:
        session.report("open", error)
        raise refusal_of(error) from error
    session.enter(record.name, maildrop, found.login if found.login != record.name else None, mechanism)
    session.ok(f"maildrop has {maildrop.summary}")
