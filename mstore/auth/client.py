"""What the protocols call to have somebody log in: exchanges with authproxyd over ``ipc/authproxyd-sasl``.

The protocols hand challenges and responses through and know no mechanism; what a client sends is neither kept
nor logged. A connection carries one exchange at a time; a few are kept for the next ones.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mstore.auth.frames import (
    CANCEL,
    CHALLENGE,
    CONTINUE,
    HELLO,
    MAX_DATA_BYTES,
    NO,
    OK,
    START,
    VERSION,
    Connection,
    Frame,
    Frames,
    ProtocolError,
    pack,
)
from mstore.auth.offers import Offer
from mstore.base import blocking
from mstore.base.errors import Invalid, Unavailable

ANSWER_S = 60.0
"""How long authproxyd may take for an answer; those that fail often are answered late."""
ABSENT_S = 5.0
"""How long authproxyd may be gone before that is told, for it is when it is restarted."""
PAUSE_S = 0.05
LEARN_S = 1.0
MOST_KEPT = 8
"""So many connections without an exchange a process has open at most."""

AUTHENTICATIONFAILED = "AUTHENTICATIONFAILED"
MALFORMED = "MALFORMED"
CANCELLED = "CANCELLED"
_UNAVAILABLE = "UNAVAILABLE"
_HELLO = pack(HELLO, [(b"version", VERSION)])

Ask = Callable[[bytes], bytes | None]
"""Sends a challenge to the client and gives its response; None when the client cancels."""


class SecureStream(Protocol):
    """What is asked of a client's connection (``mstore.net.stream``)."""

    peer: str
    tls: bool

    def channel_bindings(self) -> Mapping[str, bytes]: ...
    def client_certificate(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What authproxyd is told about a client."""

    service: str
    peer: str
    server: str
    tls: bool = False
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    common_name: str | None = None
    emails: tuple[str, ...] = ()

    @classmethod
    def of(cls, stream: SecureStream, service: str, server: str) -> Facts:
        """About the client at the other end of a stream."""
        certificate = stream.client_certificate()
        common_name, emails = (certificate.common_name, certificate.emails) if certificate else (None, ())
        bindings = stream.channel_bindings()
        return cls(service, stream.peer, server, stream.tls, bindings, common_name, tuple(emails))


@dataclass(frozen=True, slots=True)
class Accepted:
    """Somebody may log in."""

    account: str | None
    """The name of the account to act as; None for an anonymous login."""
    login: str
    """The account of who has proved who he is: another one where an administrator acts as somebody."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody may not log in: the response code (RFC 5530), a text, and whether to end the connection."""

    code: str
    text: str = ""
    end: bool = False
    login: str | None = None
    """The name that the client has claimed, as it gave it, where it did: nobody may be called so."""


def connect_plain(path: str, timeout_s: float) -> Connection:
    """Connect to a Unix socket by blocking; workers bring their own."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


class AuthClient:
    """Asks authproxyd; shared by all sessions of a process."""

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        offers: Sequence[Offer] = (),
        connect: Callable[[str, float], Connection] = connect_plain,
        answer_s: float = ANSWER_S,
        absent_s: float = ABSENT_S,
    ) -> None:
        """``offers`` are the mechanisms until authproxyd has said which there are."""
        self.socket_path = Path(socket_path)
        self._offers = tuple(offers)
        self._said: list[bytes] | None = None
        self._names: dict[tuple[str, bool, bool, bool, bool], tuple[str, ...]] = {}
        self._connect = connect
        self._answer_s = answer_s
        self._absent_s = absent_s
        self._kept: list[Frames] = []

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            self._kept.pop().close()

    def names(self, service: str, stream: SecureStream, passwords: bool) -> tuple[str, ...]:
        """The mechanisms to offer to a client, best first; ``passwords`` tells whether it may send one."""
        bound = certified = False
        if stream.tls:
            bound, certified = bool(stream.channel_bindings()), stream.client_certificate() is not None
        key = (service, stream.tls, passwords, bound, certified)
        found = self._names.get(key)
        if found is None:
            fitting = [offer for offer in self._offers if not offer.command and offer.fits(*key)]
            found = self._names[key] = tuple(offer.name for offer in fitting)
        return found

    def has_command(self, name: str) -> bool:
        """Whether there is a mechanism that is a command of its own."""
        return any(offer.command and offer.name == name for offer in self._offers)

    def needs_privacy(self, name: str) -> bool:
        """Whether a mechanism, which is not offered, would be if a password might be sent."""
        return any(offer.name == name and offer.password for offer in self._offers)

    def check_password(self, name: bytes, password: bytes, facts: Facts) -> Accepted | Refused:
        """Whether somebody may log in with a password: LOGIN of IMAP, USER and PASS of POP3.

        Raises: Unavailable
        """
        if not name or not password or b"\0" in name or b"\0" in password:
            return Refused(AUTHENTICATIONFAILED)
        found = self.authenticate("PLAIN", facts, b"\0%b\0%b" % (name, password), lambda challenge: None)
        # What PLAIN cannot carry is nobody's name or password.
        if isinstance(found, Refused) and found.code in (MALFORMED, CANCELLED):
            return Refused(AUTHENTICATIONFAILED)
        return found

    def authenticate(
        self, mechanism: str, facts: Facts, initial: bytes | None, ask: Ask
    ) -> Accepted | Refused:
        """Carry on an exchange between a client and authproxyd, to its end.

        What ``ask`` raises ends the exchange, and is raised.
        Raises: Unavailable when authproxyd does not answer, or not by its protocol.
        """
        if initial is not None and len(initial) > MAX_DATA_BYTES:
            return Refused(MALFORMED, "the initial response is too long")
        start = _pack_start(mechanism, facts, initial)
        with _reachable():
            frames, frame = self._begin(start)
        try:
            while frame.kind == CHALLENGE:
                response = ask(frame.one(b"data"))
                with _reachable():
                    frame = self._respond(frames, response)
        except BaseException:
            frames.close()
            raise
        if frame.kind == OK and len(self._kept) < MOST_KEPT:
            self._kept.append(frames)
        else:
            frames.close()
        if frame.kind == NO:
            code = frame.one(b"code").decode("ascii", "replace")
            text = frame.one(b"text").decode("utf-8", "replace")
            if code == _UNAVAILABLE and frame.get(b"end") is None:
                raise Unavailable("the authentication service cannot judge just now; its log says why")
            login = frame.get(b"login")
            name = None if login is None else login.decode("utf-8", "ignore")
            return Refused(code, text, frame.get(b"end") is not None, name)
        if frame.kind != OK:
            raise Unavailable("the authentication service does not keep to its protocol")
        return _conclude(frame, ask)

    def learn(self, limit_s: float = float("inf")) -> bool:
        """Find out which mechanisms there are; waits for authproxyd, no longer than so."""
        until_s = time.monotonic() + limit_s
        while True:
            with contextlib.suppress(OSError, ProtocolError):
                frames = Frames(self._connect(os.fspath(self.socket_path), self._answer_s))
                try:
                    frames.write(_HELLO, self._answer_s)
                    self._greet(frames)
                    return True
                finally:
                    frames.close()
            if time.monotonic() >= until_s:
                return False
            blocking.sleep(LEARN_S)

    def _begin(self, start: bytes) -> tuple[Frames, Frame]:
        """Begin an exchange, on a connection that is kept or on a new one; gives the first answer."""
        while self._kept:
            frames = self._kept.pop()
            try:
                frames.write(start, self._answer_s)
                frame = frames.read(self._answer_s)
                if frame is not None:
                    return frames, frame
            except (BrokenPipeError, ConnectionResetError):
                pass  # The other side has ended it: it waits for nobody for ever, and at times begins anew.
            except BaseException:
                frames.close()
                raise
            frames.close()
        return self._begin_anew(_HELLO + start)

    def _begin_anew(self, start: bytes) -> tuple[Frames, Frame]:
        """Ask again where nobody is there, or who was ended before answering, until somebody should be."""
        until_s = 0.0
        while True:
            frames = None
            try:
                frames = Frames(self._connect(os.fspath(self.socket_path), self._answer_s))
                # An answer may be there already when the other side closes without having read all.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    frames.write(start, self._answer_s)
                self._greet(frames)
                frame = frames.read(self._answer_s)
                if frame is None:
                    raise ConnectionResetError("closed without an answer")
                return frames, frame
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
                if frames is not None:
                    frames.close()
                until_s = until_s or time.monotonic() + self._absent_s
                if time.monotonic() >= until_s:
                    raise
            except BaseException:
                if frames is not None:
                    frames.close()
                raise
            blocking.sleep(PAUSE_S)

    def _greet(self, frames: Frames) -> None:
        """Take the other side's hello, and what mechanisms it has."""
        frame = frames.read(self._answer_s)
        if frame is None:
            raise ConnectionResetError("closed without an answer")
        if frame.kind != HELLO or frame.one(b"version") != VERSION:
            raise ProtocolError("no hello of our version")
        said = frame.all(b"mechanism")
        if said != self._said:
            try:
                self._offers = tuple(map(Offer.parse, said))
            except Invalid as error:
                raise ProtocolError(str(error)) from None
            self._said = said
            self._names.clear()

    def _respond(self, frames: Frames, response: bytes | None) -> Frame:
        if response is not None and len(response) > MAX_DATA_BYTES:
            response = None
        sent = pack(CANCEL, []) if response is None else pack(CONTINUE, [(b"data", response)])
        frames.write(sent, self._answer_s)
        frame = frames.read(self._answer_s)
        if frame is None:
            raise ConnectionResetError("closed without an answer")
        return frame


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise Unavailable(f"the authentication service cannot be reached: {reason}") from None
    except ProtocolError as error:
        raise Unavailable(f"the authentication service does not keep to its protocol: {error}") from None


def _conclude(frame: Frame, ask: Ask) -> Accepted | Refused:
    """A success; what the client is told with it is a last challenge here (RFC 4422 §3.6)."""
    final = frame.get(b"final")
    if final is not None:
        response = ask(final)
        if response is None:
            return Refused(CANCELLED, "authentication cancelled")
        if response:
            return Refused(MALFORMED, "nothing is to be said to the server's last message")
    account = frame.get(b"account")
    name = None if account is None else account.decode("utf-8", "replace")
    return Accepted(name, frame.one(b"login").decode("utf-8", "replace"))


def _pack_start(mechanism: str, facts: Facts, initial: bytes | None) -> bytes:
    fields = [
        (b"mechanism", mechanism.encode()),
        (b"service", facts.service.encode()),
        (b"peer", facts.peer.encode()[:256]),
        (b"server", facts.server.encode()),
        (b"tls", b"1" if facts.tls else b"0"),
    ]
    fields += [(b"binding", kind.encode() + b"=" + data) for kind, data in facts.bindings.items()]
    if facts.common_name is not None:
        fields.append((b"certificate-cn", facts.common_name.encode()[:1024]))
    fields += [(b"certificate-email", email.encode()[:1024]) for email in facts.emails[:8]]
    if initial is not None:
        fields.append((b"initial", initial))
    return pack(START, fields)
