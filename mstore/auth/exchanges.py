"""authproxyd's side of the framed protocol: one exchange on each connection (``docs/authproxyd.md``).

A daemon's worker says hello and names a mechanism and its client; the mechanism's challenges and the client's
responses go back and forth; then comes the judgement, and the connection is closed.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence

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
from mstore.auth.judge import Grant, Judge, Site
from mstore.auth.offers import Offer, format_all
from mstore.auth.sasl.mechanism import MALFORMED, UNAVAILABLE, Exchange, Failed, Mechanism, Question
from mstore.auth.verdict import Verdict

HELLO_S = 30.0
"""Who connects must have said what he wants by then."""
WRITE_S = 30.0
MAX_STEPS = 10
MOST_WAITING = 4096
"""So many exchanges may wait for their clients; the one that waits longest makes room for a further one."""

CANCELLED = "CANCELLED"
PROTOCOL = "PROTOCOL"
NO_MECHANISM = "NOMECHANISM"
INTERNAL = Failed(UNAVAILABLE, "authentication is not possible just now")
_UNJUDGED = frozenset({MALFORMED, UNAVAILABLE})
_ALWAYS = "PLAIN"
"""What LOGIN and USER bring comes by it, also where it is not offered to clients as a mechanism."""

_log = logging.getLogger("authproxyd")


class ExchangeServer:
    """Carries on exchanges; shared by all connections of authproxyd."""

    def __init__(
        self,
        site: Site,
        mechanisms: Mapping[str, Mechanism],
        offers: Sequence[Offer],
        response_s: float = 240.0,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """``response_s`` is how long a client may take for a response: longer than the daemons let it."""
        self._site = site
        self._mechanisms = {offer.name: mechanisms[offer.name] for offer in offers}
        self._mechanisms.setdefault(_ALWAYS, mechanisms[_ALWAYS])
        self._hello = pack(HELLO, [(b"version", VERSION), *format_all(offers)])
        self._response_s = response_s
        self._waiting: OrderedDict[int, Frames] = OrderedDict()
        self._most_waiting = most_waiting
        self._is_stopping = False

    def stop(self) -> None:
        """Leave those that wait for their clients; what is being judged is answered."""
        self._is_stopping = True
        for frames in list(self._waiting.values()):
            frames.close()

    def handle(self, connection: Connection) -> Verdict | None:
        """Serve one connection and close it; gives the judgement, None where there was none."""
        frames = Frames(connection)
        try:
            return self._serve(frames)
        except ProtocolError as error:
            with contextlib.suppress(OSError):
                frames.write(_no(Failed(PROTOCOL, str(error))), WRITE_S)
            return None
        except OSError:
            return None
        finally:
            frames.close()

    def _serve(self, frames: Frames) -> Verdict | None:
        hello = frames.read(HELLO_S)
        if hello is None:
            return None
        if hello.kind != HELLO:
            raise ProtocolError("a hello is needed first")
        if hello.one(b"version") != VERSION:
            raise ProtocolError(f"this is version {VERSION.decode()} of the protocol")
        if hello.all(b"mechanism"):
            raise ProtocolError("mechanisms are ours to name")
        frames.hold(self._hello)
        start = frames.read(HELLO_S)
        if start is None:
            return None
        if start.kind != START:
            raise ProtocolError("a start is needed after the hello")
        question = _read_question(start)
        mechanism = self._mechanisms.get(question.mechanism)
        if mechanism is None:
            frames.write(_no(Failed(NO_MECHANISM, "there is no such mechanism")), WRITE_S)
            return None
        bound = f"{question.mechanism}-PLUS" in self._mechanisms and bool(question.bindings)
        judge = Judge(self._site, question, bound)
        exchange = _begin(judge, mechanism)
        if exchange is None:
            return self._refuse(frames, judge, INTERNAL)
        try:
            return self._carry_on(frames, judge, exchange)
        finally:
            exchange.close()

    def _carry_on(self, frames: Frames, judge: Judge, exchange: Exchange) -> Verdict | None:
        response: bytes | None = None
        for _ in range(MAX_STEPS):
            step = _step(judge, exchange, response)
            if isinstance(step, tuple):
                grant, final = step
                frames.write(_ok(grant, final), WRITE_S)
                return Verdict(True)
            if isinstance(step, Failed):
                return self._refuse(frames, judge, step)
            frames.write(pack(CHALLENGE, [(b"data", step)]), WRITE_S)
            frame = self._wait(frames)
            if frame is None:
                return None
            if frame.kind == CANCEL:
                frames.write(_no(Failed(CANCELLED, "authentication cancelled")), WRITE_S)
                return None
            response = frame.one(b"data")
        raise ProtocolError("the exchange has too many steps")

    def _refuse(self, frames: Frames, judge: Judge, failure: Failed) -> Verdict | None:
        judge.conclude(False)
        if failure.data is not None:
            # The failure stands; whatever the client has to say to its reason changes nothing.
            frames.write(pack(CHALLENGE, [(b"data", failure.data)]), WRITE_S)
            if self._wait(frames) is None:
                return Verdict(False)
        frames.write(_no(failure), WRITE_S)
        return None if failure.code in _UNJUDGED else Verdict(False, failure.text, failure.code)

    def _wait(self, frames: Frames) -> Frame | None:
        """The client's response, however long that takes; None when it, or its daemon, is gone."""
        if self._is_stopping:
            return None
        number = id(frames)
        while len(self._waiting) >= self._most_waiting:
            _, longest = self._waiting.popitem(last=False)
            longest.close()
        self._waiting[number] = frames
        try:
            frame = frames.read(self._response_s)
        finally:
            if self._waiting.get(number) is frames:
                del self._waiting[number]
        if frame is not None and frame.kind not in (CONTINUE, CANCEL):
            raise ProtocolError("a response is needed after a challenge")
        return frame


def _begin(judge: Judge, mechanism: Mechanism) -> Exchange | None:
    """The exchange of a mechanism, None where it is faulty."""
    try:
        exchange = mechanism.exchange(judge)
        if not isinstance(exchange, Generator):
            raise TypeError("not a generator")
        return exchange
    except Exception as error:
        _log.exception("%s has failed: %s", mechanism.offer.name, error)
        return None


Step = bytes | tuple[Grant, bytes | None] | Failed


def _step(judge: Judge, exchange: Exchange, response: bytes | None) -> Step:
    """One step of the mechanism: a challenge, or how it has ended."""
    try:
        try:
            challenge = next(exchange) if response is None else exchange.send(response)
        except StopIteration as done:
            identity = done.value
            grant = judge.authorize(identity)
            judge.conclude(True)
            return grant, identity.final
        if len(challenge) > MAX_DATA_BYTES:
            raise ValueError("challenge is too long")
        return challenge
    except Failed as failure:
        return failure
    except Exception as error:  # A mechanism, or a plugin, that is faulty must not take the others with it.
        judge.login = None
        _log.exception("%s has failed: %s", judge.question.mechanism, type(error).__name__)
        return INTERNAL


def _read_question(frame: Frame) -> Question:
    bindings = {}
    for binding in frame.all(b"binding"):
        kind, _, data = binding.partition(b"=")
        bindings[kind.decode("ascii", "replace")] = data
    common_name = frame.get(b"certificate-cn")
    return Question(
        mechanism=frame.one(b"mechanism").decode("ascii", "replace"),
        service=frame.one(b"service").decode("ascii", "replace"),
        peer=frame.one(b"peer").decode("ascii", "replace"),
        server=frame.one(b"server").decode("ascii", "replace"),
        tls=frame.one(b"tls") == b"1",
        bindings=bindings,
        common_name=None if common_name is None else common_name.decode("utf-8", "replace"),
        emails=tuple(email.decode("utf-8", "replace") for email in frame.all(b"certificate-email")),
        initial=frame.get(b"initial"),
    )


def _ok(grant: Grant, final: bytes | None) -> bytes:
    fields = [(b"login", grant.login.encode())]
    if grant.account is not None:
        fields.append((b"account", grant.account.encode()))
    if final is not None:
        fields.append((b"final", final))
    return pack(OK, fields)


def _no(failure: Failed) -> bytes:
    fields = [(b"code", failure.code.encode()), (b"text", failure.text.encode()[:1000])]
    if failure.end:
        fields.append((b"end", b"1"))
    return pack(NO, fields)
