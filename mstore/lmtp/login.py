"""Logging in over TCP: AUTH, STARTTLS, and who may hand in mail.

Over the Unix socket there is none of this: who may enter its directory may deliver. Over TCP whoever connects
is nobody until AUTH; authproxyd judges, and nothing here sees a verifier. Mail is taken from the accounts
that ``lmtp-users`` names, or from administrators where it names none.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mstore.accounts import LoginRules
from mstore.auth.client import AUTHENTICATIONFAILED, CANCELLED, MALFORMED, Accepted, Facts, Refused
from mstore.base.errors import MStoreError
from mstore.lmtp.reply import Refusal, format_reply
from mstore.net.penalty import Penalty
from mstore.net.service import Service
from mstore.net.stream import LineTooLong, StreamFailed

if TYPE_CHECKING:
    from mstore.lmtp.session import Session

AUTH_LIMIT_BYTES = 16384
"""RFC 4954 §4 asks for lines of 12,288."""
NOT_PERMITTED = "NOT-PERMITTED"
"""In the log: the password was right, and whose it is may not hand in mail."""

_REPLIES: Mapping[str, tuple[int, str]] = {
    CANCELLED: (501, "5.7.0"),
    MALFORMED: (501, "5.5.4"),
    "UNAVAILABLE": (454, "4.7.0"),
    NOT_PERMITTED: (535, "5.7.1"),
}
"""What authproxyd's codes are in RFC 4954 §4, §6; all others say that somebody is not who he claims to be."""
_FAILED = (535, "5.7.8")
_TEXTS = dict.fromkeys((AUTHENTICATIONFAILED, "AUTHORIZATIONFAILED"), "authentication failed")
_LATER = format_reply(421, "4.7.0", "closing connection, try again later")
_MANY = format_reply(421, "4.7.0", "too many failed logins")


def may_start_tls(session: Session) -> bool:
    """Whether STARTTLS makes sense here."""
    return session.service.tls is not None and not session.stream.tls


def mechanisms(session: Session) -> tuple[str, ...]:
    """The SASL mechanisms offered on this connection."""
    return session.service.authenticate.names("lmtp", session.stream, _may_send_passwords(session))


def describe_login(session: Session) -> list[str]:
    """The lines of LHLO's answer that a client over TCP gets besides (RFC 3207 §2, RFC 4954 §3)."""
    lines = ["STARTTLS"] if may_start_tls(session) else []
    names = mechanisms(session)
    if names:
        lines.append(f"AUTH {' '.join(names)}")
    return lines


def run_starttls(session: Session, argument: bytes) -> bytes:
    """Begin TLS and forget everything that was said before it; answers itself (RFC 3207 §4)."""
    stream = session.stream
    if argument.strip():
        raise Refusal(501, "5.5.4", "STARTTLS has no argument")
    if stream.tls:
        raise Refusal(503, "5.5.1", "TLS is active already")
    if session.service.tls is None:
        raise Refusal(502, "5.5.1", "TLS is not configured")
    if stream.has_input():
        # Whoever put this there meant it to be taken for something said under TLS.
        stream.discard_input()
        raise Refusal(503, "5.5.1", "nothing may follow STARTTLS before the TLS negotiation")
    session.begin()
    stream.write(format_reply(220, "2.0.0", "begin TLS negotiation"))
    stream.start_tls(session.service.tls)
    return b""


def run_auth(session: Session, argument: bytes) -> bytes:
    """Log in by a SASL mechanism (RFC 4954 §4)."""
    if not session.hello:
        raise Refusal(503, "5.5.1", "say LHLO first")
    if session.user is not None:
        raise Refusal(503, "5.5.1", "you have logged in already")
    words = argument.split()
    if not 1 <= len(words) <= 2:
        raise Refusal(501, "5.5.4", "AUTH needs a mechanism and at most an initial response")
    name = words[0].decode("ascii", "replace").upper()
    if name not in mechanisms(session):
        if session.service.authenticate.needs_privacy(name) and not _may_send_passwords(session):
            raise Refusal(538, "5.7.11", "passwords are only accepted over TLS")
        raise Refusal(504, "5.5.4", "mechanism is not offered")
    initial = None
    if len(words) == 2:
        initial = b"" if words[1] == b"=" else _from_base64(words[1])
    facts = Facts.of(session.stream, "lmtp", session.service.settings.server_name)
    try:
        found = session.service.authenticate.authenticate(
            name, facts, initial, lambda challenge: _ask(session, challenge)
        )
        user = _admit(session.service, found)
    except StreamFailed:
        raise
    except MStoreError as error:
        session.service.counters.add("errors")
        session.service.log.error(
            "login-unavailable", session=session.id, peer=session.stream.peer, error=str(error)
        )
        raise Refusal(454, "4.7.0", "authentication is unavailable, try again later") from error
    if isinstance(user, Refused):
        raise _refuse(session, user, name, found)
    session.enter(user, found.login if found.login != user else None, name)
    return format_reply(235, "2.7.0", "authentication succeeded")


def _may_send_passwords(session: Session) -> bool:
    return session.stream.tls or bool(session.service.settings.cleartext_login_enable)


def _ask(session: Session, challenge: bytes) -> bytes | None:
    """Send a challenge and return the client's response, both in base64 on the wire; None when it cancels."""
    try:
        line = session.ask(b"334 " + base64.b64encode(challenge) + b"\r\n", AUTH_LIMIT_BYTES)
    except LineTooLong:
        raise Refusal(500, "5.5.6", "response is too long") from None
    return None if line == b"*" else _from_base64(line)


def _from_base64(word: bytes) -> bytes:
    """Decode strictly (RFC 4954 §4 "MUST reject")."""
    try:
        return binascii.a2b_base64(word, strict_mode=True)
    except (binascii.Error, ValueError):
        raise Refusal(501, "5.5.2", "response is not base64") from None


def _admit(service: Service, found: Accepted | Refused) -> str | Refused:
    """The name of the account that may hand in mail from now on.

    Raises: Unavailable, Corrupt, StorageFailed.
    """
    if isinstance(found, Refused):
        return found
    record = service.accounts.find(found.account) if found.account is not None else None
    if record is None or not record.enabled:
        return Refused(AUTHENTICATIONFAILED)
    name: str = record.name
    if not _may_deliver(service, name):
        return Refused(NOT_PERMITTED, "you may not hand in mail here")
    return name


def _may_deliver(service: Service, name: str) -> bool:
    settings = service.settings
    if not settings.lmtp_users:
        return service.accounts.is_administrator(name)
    rules = LoginRules.of(settings.default_domain, settings.single_domain)
    return rules.key(name) in map(rules.key, settings.lmtp_users)


def _refuse(session: Session, refused: Refused, mechanism: str, found: Accepted | Refused) -> Refusal:
    """Note a failed login and wait, then give what there is to say about it."""
    code, status = _REPLIES.get(refused.code, _FAILED)
    refusal = Refusal(code, status, _TEXTS.get(refused.code, refused.text))
    if refused.code in (CANCELLED, MALFORMED):
        return refusal
    session.service.counters.add_of("login_failures", mechanism.lower())
    session.service.log.warning(
        "login-failed", session=session.id, name=(found.login or "")[:200] or None,
        mechanism=mechanism, code=refused.code, peer=session.stream.peer,
    )  # fmt: skip
    session.stream.flush()
    if session.penalty is None:
        session.penalty = Penalty()
    session.penalty.pay()  # also who is turned away: a program that comes again at once has to wait
    if refused.end:
        session.end_soon(_LATER)
    elif session.penalty.is_over:
        session.end_soon(_MANY)
    return refusal
