"""authproxyd's side of the framed protocol: exchanges on a connection, in turn (``docs/authproxyd.md``).

A daemon's worker says hello and names a mechanism and its client; the mechanism's challenges and the client's
responses go back and forth; then comes the judgement. The next exchange may follow on the same connection.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence

from mstore.auth.frames import (
    CANCEL,
    CHALLENGE,
    CONTINUE,
    HELLO,
    MAX_DATA_BYTES,
    MAX_NAME_BYTES,
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
from mstore.base.log import Log

HELLO_S = 30.0
"""Who connects must have said what he wants by then."""
WRITE_S = 30.0
KEPT_S = 120.0
"""So long is waited for a further exchange."""
MAX_STEPS = 10
MOST_WAITING = 4096
"""So many connections may wait, for responses or for a further exchange; the one that has waited longest
makes room for another."""

CANCELLED = "CANCELLED"
PROTOCOL = "PROTOCOL"
NO_MECHANISM = "NOMECHANISM"
INTERNAL = Failed(UNAVAILABLE, "authentication is not possible just now")
_UNJUDGED = frozenset({MALFORMED, UNAVAILABLE})
_ALWAYS = "PLAIN"
"""What LOGIN and USER bring comes by it, also where it is not offered to clients as a mechanism."""

Judged = Callable[[Verdict], object]

_log = Log()


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
        """Leave those that wait; what is being judged is answered."""
        self._is_stopping = True
        for frames in list(self._waiting.values()):
            frames.close()

    def handle(self, connection: Connection, judged: Judged) -> None:
        """Serve one connection and close it; ``judged`` is told of a judgement before the other side is."""
        frames = Frames(connection)
        try:
            if self._greet(frames):
                start = frames.read(HELLO_S)
                while start is not None and self._serve(frames, start, judged):
                    start = self._wait(frames, KEPT_S)
        except ProtocolError as error:
            with contextlib.suppress(OSError):
                frames.write(_no(Failed(PROTOCOL, str(error))), WRITE_S)
        except OSError:
            pass  # It is gone; what it was to be told, it asks again.
        finally:
            frames.close()

    def _greet(self, frames: Frames) -> bool:
        hello = frames.read(HELLO_S)
        if hello is None:
            return False
        if hello.kind != HELLO:
            raise ProtocolError("a hello is needed first")
        if hello.one(b"version") != VERSION:
            raise ProtocolError(f"this is version {VERSION.decode()} of the protocol")
        if hello.all(b"mechanism"):
            raise ProtocolError("mechanisms are ours to name")
        frames.hold(self._hello)
        return True

    def _serve(self, frames: Frames, start: Frame, judged: Judged) -> bool:
        """One exchange; False where nothing was judged, and the connection is to be closed."""
        if start.kind != START:
            raise ProtocolError("a start is needed for an exchange")
        question = _read_question(start)
        mechanism = self._mechanisms.get(question.mechanism)
        if mechanism is None:
            frames.write(_no(Failed(NO_MECHANISM, "there is no such mechanism")), WRITE_S)
            return False
        bound = f"{question.mechanism}-PLUS" in self._mechanisms and bool(question.bindings)
        judge = Judge(self._site, question, bound)
        exchange = _begin(judge, mechanism)
        if exchange is None:
            return self._refuse(frames, judge, INTERNAL, judged)
        try:
            return self._carry_on(frames, judge, exchange, judged)
        finally:
            exchange.close()

    def _carry_on(self, frames: Frames, judge: Judge, exchange: Exchange, judged: Judged) -> bool:
        response: bytes | None = None
        for _ in range(MAX_STEPS):
            step = _step(judge, exchange, response)
            if isinstance(step, tuple):
                grant, final = step
                judged(Verdict(True, mechanism=judge.question.mechanism))
                frames.write(_ok(grant, final), WRITE_S)
                return True
            if isinstance(step, Failed):
                return self._refuse(frames, judge, step, judged)
            frames.write(pack(CHALLENGE, [(b"data", step)]), WRITE_S)
            frame = self._respond(frames)
            if frame is None:
                return False
            if frame.kind == CANCEL:
                frames.write(_no(Failed(CANCELLED, "authentication cancelled"), judge.claimed), WRITE_S)
                return False
            response = frame.one(b"data")
        raise ProtocolError("the exchange has too many steps")

    def _refuse(self, frames: Frames, judge: Judge, failure: Failed, judged: Judged) -> bool:
        judge.conclude(False)
        is_judged = failure.code not in _UNJUDGED
        if is_judged:
            judged(Verdict(False, failure.text, failure.code, judge.question.mechanism))
        if failure.data is not None:
            # The failure stands; whatever the client has to say to its reason changes nothing.
            frames.write(pack(CHALLENGE, [(b"data", failure.data)]), WRITE_S)
            if self._respond(frames) is None:
                return False
        frames.write(_no(failure, judge.claimed), WRITE_S)
        return is_judged

    def _respond(self, frames: Frames) -> Frame | None:
        """The client's response, however long that takes; None when it, or its daemon, is gone."""
        frame = self._wait(frames, self._response_s)
        if frame is not None and frame.kind not in (CONTINUE, CANCEL):
            raise ProtocolError("a response is needed after a challenge")
        return frame

    def _wait(self, frames: Frames, limit_s: float) -> Frame | None:
        """The next frame; None when the other side is gone, and when we are to end."""
        if self._is_stopping:
            return None
        number = id(frames)
        while len(self._waiting) >= self._most_waiting:
            _, longest = self._waiting.popitem(last=False)
            longest.close()
        self._waiting[number] = frames
        try:
            return frames.read(limit_s)
        finally:
            if self._waiting.get(number) is frames:
                del self._waiting[number]


def _begin(judge: Judge, mechanism: Mechanism) -> Exchange | None:
    """The exchange of a mechanism, None where it is faulty."""
    try:
        exchange = mechanism.exchange(judge)
        if not isinstance(exchange, Generator):
            raise TypeError("not a generator")
        return exchange
    except Exception as error:
        _log.hidden("mechanism-failed", error, mechanism=mechanism.offer.name)
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
        _log.hidden("mechanism-failed", error, mechanism=judge.question.mechanism)
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


def _no(failure: Failed, claimed: str = "") -> bytes:
    fields = [(b"code", failure.code.encode()), (b"text", failure.text.encode()[:1000])]
    if claimed:
        fields.append((b"login", claimed.encode()[:MAX_NAME_BYTES]))
    if failure.end:
        fields.append((b"end", b"1"))
    return pack(NO, fields)
