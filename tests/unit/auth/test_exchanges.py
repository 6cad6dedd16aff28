"""authproxyd's side of the framed protocol: who keeps to it, who does not, and who goes away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mstore.auth.exchanges import MAX_STEPS, ExchangeServer
from mstore.auth.frames import CANCEL, CHALLENGE, CONTINUE, HELLO, NO, OK, START, Frame, Frames, pack
from mstore.auth.gate import Turned
from mstore.auth.judge import Judge
from mstore.auth.offers import Offer, own_offers
from mstore.auth.sasl.mechanism import Exchange, Failed, Identity, Mechanism
from mstore.auth.sasl.table import OWN
from mstore.auth.verdict import Verdict
from mstore.base.options import Settings
from tests.kit.exchanging import Site
from tests.kit.waiting import wait_for

HI = pack(HELLO, [(b"version", b"1")])


def start(mechanism: str = "PLAIN", initial: bytes | None = None, **more: bytes) -> bytes:
    fields = [(b"mechanism", mechanism.encode()), (b"service", b"imap"), (b"peer", b"192.0.2.1")]
    fields += [(b"server", b"mail.example.org"), (b"tls", more.pop("tls", b"0"))]
    fields += [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    return pack(START, fields + ([] if initial is None else [(b"initial", initial)]))


def respond(data: bytes) -> bytes:
    return pack(CONTINUE, [(b"data", data)])


class Waking:
    """A socket whose reader is woken when it is closed, as those of the event loop are."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class Talk:
    """A worker's side of one connection."""

    def __init__(self, server: ExchangeServer) -> None:
        self.verdicts: list[Verdict] = []
        self.judged: Callable[[Verdict], object] = self.verdicts.append
        self.socket, far = socket.socketpair()
        theirs = Waking(far)
        self.frames = Frames(self.socket)

        def serve() -> None:
            server.handle(theirs, lambda verdict: self.judged(verdict))

        self.thread = threading.Thread(target=serve)
        self.thread.start()

    def send(self, *data: bytes) -> None:
        self.socket.sendall(b"".join(data))

    def read(self) -> Frame | None:
        return self.frames.read(40)

    def answer(self) -> Frame:
        """The next frame, behind the hello."""
        frame = self.read()
        if frame is not None and frame.kind == HELLO:
            frame = self.read()
        assert frame is not None
        return frame

    def end(self) -> None:
        """Hang up; the server must come to an end."""
        self.socket.close()
        self.thread.join(40)
        assert not self.thread.is_alive()


class Served:
    """A server, and everybody who talks to it."""

    def __init__(self, root: Path) -> None:
        self.site = Site(root)
        self.talks: list[Talk] = []
        self.mechanisms = dict(OWN)
        self.offers = list(own_offers(Settings(sasl_enable={"login": False})))
        self.more: dict[str, Any] = {}
        self.server: ExchangeServer | None = None

    def add(self, name: str, exchange: Callable[[Judge], Exchange]) -> None:
        self.mechanisms[name] = Mechanism(Offer(name), exchange)
        self.offers.append(Offer(name))

    def talk(self, *sent: bytes) -> Talk:
        if self.server is None:
            self.server = ExchangeServer(self.site.authority.site, self.mechanisms, self.offers, **self.more)
        talk = Talk(self.server)
        self.talks.append(talk)
        talk.send(*sent)
        return talk


@pytest.fixture
def served(tmp_path: Path) -> Any:
    made = Served(tmp_path)
    yield made
    for talk in made.talks:
        talk.end()


def told(frame: Frame) -> tuple[bytes, bytes]:
    return frame.kind, frame.one(b"code") if frame.kind == NO else b""


def test_hello_is_answered_with_the_mechanisms(served: Served) -> None:
    talk = served.talk(HI)
    frame = talk.read()
    assert frame is not None and frame.kind == HELLO and frame.one(b"version") == b"1"
    offers = [Offer.parse(text) for text in frame.all(b"mechanism")]
    assert offers == served.offers
    assert [offer.name for offer in offers][-2:] == ["PLAIN", "APOP"]


def test_a_password_is_judged_in_one_round(served: Served) -> None:
    talk = served.talk(HI, start(initial=b"\0Joe\0secret"))
    frame = talk.answer()
    assert frame.kind == OK and frame.one(b"account") == frame.one(b"login") == b"joe"
    assert frame.get(b"final") is None
    talk.end()
    assert talk.verdicts == [Verdict(True, mechanism="PLAIN")]


def test_what_is_told_has_been_counted(served: Served) -> None:
    talk, counted = served.talk(HI), list[bool]()

    def count_slowly(verdict: Verdict) -> None:
        time.sleep(0.1)
        counted.append(verdict.ok)

    talk.judged = count_slowly
    for initial, ok in ((b"\0joe\0secret", True), (b"\0joe\0wrong", False)):
        talk.send(start(initial=initial))
        talk.answer()
        assert counted[-1:] == [ok]


def test_exchanges_follow_each_other(served: Served) -> None:
    talk = served.talk(HI)
    for initial, kind in ((b"\0joe\0secret", OK), (b"\0joe\0wrong", NO), (b"\0ann\0secret", OK)):
        talk.send(start(initial=initial))
        assert talk.answer().kind == kind
    talk.send(start("CRAM-MD5"))
    assert talk.answer().kind == CHALLENGE
    talk.send(HI)
    assert told(talk.answer()) == (NO, b"PROTOCOL")
    assert talk.read() is None
    talk.end()
    assert [verdict.ok for verdict in talk.verdicts] == [True, False, True]


def test_failures_have_a_code_and_a_text(served: Served) -> None:
    talk = served.talk(HI, start(initial=b"\0joe\0wrong"))
    frame = talk.answer()
    assert told(frame) == (NO, b"AUTHENTICATIONFAILED")
    assert frame.one(b"text") == b"login or password is wrong"
    assert frame.get(b"end") is None
    talk.end()
    assert [verdict.ok for verdict in talk.verdicts] == [False]
    frame = served.talk(HI, start(initial=b"ann\0joe\0secret")).answer()
    assert told(frame) == (NO, b"AUTHORIZATIONFAILED")
    assert served.site.gate.noted[-1] == ("192.0.2.1", "joe", True)
    assert told(served.talk(HI, start(initial=b"x")).answer()) == (NO, b"MALFORMED")


def test_plain_is_there_for_login_also_where_it_is_not_offered(served: Served) -> None:
    served.offers = []
    assert served.talk(HI, start(initial=b"\0joe\0secret")).answer().kind == OK
    assert told(served.talk(HI, start("CRAM-MD5")).answer()) == (NO, b"NOMECHANISM")


def test_a_mechanism_that_is_switched_off_is_none(served: Served) -> None:
    for name in ("LOGIN", "DIGEST-MD5", "ANONYMOUS", "NONE", "plain", ""):
        assert told(served.talk(HI, start(name)).answer()) == (NO, b"NOMECHANISM")


def test_the_client_may_cancel(served: Served) -> None:
    talk = served.talk(HI, start("CRAM-MD5"))
    assert talk.answer().kind == CHALLENGE
    talk.send(pack(CANCEL, []))
    assert told(talk.answer()) == (NO, b"CANCELLED")
    talk.end()
    assert talk.verdicts == [] and served.site.gate.noted == []


def test_the_reason_of_a_failure_is_a_challenge_before_it(served: Served) -> None:
    for last in (respond(b"\x01"), pack(CANCEL, [])):
        talk = served.talk(HI, start("SCRAM-SHA-256", b"n,,m=x,n=joe,r=a"))
        frame = talk.answer()
        assert frame.kind == CHALLENGE and frame.one(b"data") == b"e=extensions-not-supported"
        talk.send(last)
        assert told(talk.answer()) == (NO, b"AUTHENTICATIONFAILED")


def test_a_failure_counts_though_the_client_goes_away_before_it_is_told(served: Served) -> None:
    def fail(judge: Judge) -> Exchange:
        judge.admit("joe")
        yield b"first"
        raise Failed(data=b"why")

    served.add("X-FAIL", fail)
    talk = served.talk(HI, start("X-FAIL"))
    assert talk.answer().one(b"data") == b"first"
    talk.send(respond(b""))
    assert talk.answer().one(b"data") == b"why"
    assert served.site.gate.noted == [("192.0.2.1", "joe", False)]
    talk.end()
    assert talk.verdicts == [Verdict(False, "login or password is wrong", "AUTHENTICATIONFAILED", "X-FAIL")]


def test_a_mechanism_that_breaks_takes_nothing_with_it(served: Served) -> None:
    def breaks(judge: Judge) -> Exchange:
        judge.admit("joe")
        yield b""
        raise ZeroDivisionError

    def talks_too_much(judge: Judge) -> Exchange:
        yield b"x" * 20_000
        return Identity("joe")

    served.add("X-BREAK", breaks)
    served.add("X-LONG", talks_too_much)
    served.add("X-NONE", lambda judge: Identity("joe"))  # type: ignore[arg-type, return-value]
    for name in ("X-BREAK", "X-LONG", "X-NONE"):
        talk = served.talk(HI, start(name, b""))
        if name == "X-BREAK":
            talk.answer()
            talk.send(respond(b""))
        assert told(talk.answer()) == (NO, b"UNAVAILABLE")
    assert served.site.gate.noted == []
    assert served.talk(HI, start(initial=b"\0joe\0secret")).answer().kind == OK


def test_an_exchange_without_an_end_is_ended(served: Served) -> None:
    def endless(judge: Judge) -> Exchange:
        while True:
            yield b""

    served.add("X-ENDLESS", endless)
    talk = served.talk(HI, start("X-ENDLESS"))
    for _ in range(MAX_STEPS):
        assert talk.answer().kind == CHALLENGE
        talk.send(respond(b""))
    assert told(talk.answer()) == (NO, b"PROTOCOL")


@pytest.mark.parametrize(
    "sent",
    [
        b"AUTHENTICATE joe secret\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        pack(HELLO, [(b"version", b"2")]),
        pack(HELLO, [(b"version", b"1"), (b"mechanism", b"PLAIN")]),
        start(initial=b"\0joe\0secret"),
        HI + HI,
        HI + respond(b""),
        HI + start("CRAM-MD5") + start("CRAM-MD5"),
        HI + start("CRAM-MD5") + b"????",
        HI + b"S\xff\xff\xff",
        HI + b"S\0\0\x03abc",
        HI + b"S\0\0\0",
    ],
)
def test_who_does_not_keep_to_the_protocol_is_told_and_left(served: Served, sent: bytes) -> None:
    talk = served.talk(sent)
    frame = talk.answer()
    if frame.kind == CHALLENGE:
        frame = talk.answer()
    assert told(frame) == (NO, b"PROTOCOL")
    talk.end()
    assert talk.verdicts == [] and served.site.gate.noted == []


@pytest.mark.parametrize("sent", [b"", HI, HI[:5], HI + start("CRAM-MD5")[:9], HI + start("CRAM-MD5")])
def test_who_goes_away_is_let_go(served: Served, sent: bytes) -> None:
    talk = served.talk(sent)
    time.sleep(0.02)
    talk.end()
    assert talk.verdicts == [] and served.site.gate.noted == []


def test_a_client_that_does_not_answer_is_left_in_the_end(served: Served) -> None:
    served.more = {"response_s": 0.05}
    talk = served.talk(HI, start("CRAM-MD5"))
    assert talk.answer().kind == CHALLENGE
    assert talk.read() is None


def waiting(served: Served) -> set[int]:
    return set() if served.server is None else set(served.server._waiting)


def test_who_waits_longest_makes_room(served: Served) -> None:
    served.more = {"most_waiting": 3}
    talks = []
    for number in (1, 2, 3, 3):
        before = waiting(served)
        talks.append(served.talk(HI, start("CRAM-MD5")))
        assert talks[-1].answer().kind == CHALLENGE
        wait_for(lambda before=before: waiting(served) - before)
        assert len(waiting(served)) == number
    for talk in talks[1:]:
        talk.send(pack(CANCEL, []))
        assert told(talk.answer()) == (NO, b"CANCELLED")
    assert talks[0].read() is None
    wait_for(lambda: not waiting(served))


def test_stopping_leaves_those_who_may_ask_again(served: Served) -> None:
    talk = served.talk(HI, start(initial=b"\0joe\0secret"))
    assert talk.answer().kind == OK
    wait_for(lambda: waiting(served))
    assert served.server is not None
    served.server.stop()
    assert talk.read() is None


def test_stopping_leaves_those_who_wait(served: Served) -> None:
    talk = served.talk(HI, start("CRAM-MD5"))
    assert talk.answer().kind == CHALLENGE
    wait_for(lambda: waiting(served))
    assert served.server is not None
    served.server.stop()
    assert talk.read() is None
    after = served.talk(HI, start("CRAM-MD5"))
    assert after.answer().kind == CHALLENGE and after.read() is None
    assert served.talk(HI, start(initial=b"\0joe\0secret")).answer().kind == OK


def test_the_gate_may_turn_somebody_away_unheard(served: Served) -> None:
    served.site.gate.answer = Turned("come back later")
    for message in (start(initial=b"\0joe\0secret"), start("APOP", b"<a@b>\0joe\0" + b"0" * 32)):
        frame = served.talk(HI, message).answer()
        assert told(frame) == (NO, b"UNAVAILABLE")
        assert frame.one(b"text") == b"come back later" and frame.get(b"end") == b"1"
    assert served.site.gate.noted == []


def test_the_gate_may_have_somebody_wait(served: Served) -> None:
    served.site.gate.answer = 0.1
    began = time.monotonic()
    assert served.talk(HI, start(initial=b"\0joe\0secret")).answer().kind == OK
    assert time.monotonic() - began >= 0.1


def test_a_downgrade_is_seen_where_the_bound_form_is_offered(served: Served) -> None:
    bound = {"tls": b"1", "binding": b"tls-server-end-point=xyz"}
    frame = served.talk(HI, start("SCRAM-SHA-256", b"y,,n=joe,r=a", **bound)).answer()
    assert frame.one(b"data") == b"e=server-does-support-channel-binding"
    frame = served.talk(HI, start("SCRAM-SHA-256", b"y,,n=joe,r=a", tls=b"1")).answer()
    assert frame.one(b"data").startswith(b"r=a")


def test_anonymous_has_no_account(served: Served) -> None:
    served.offers = list(own_offers(Settings(sasl_enable={"anonymous": True})))
    frame = served.talk(HI, start("ANONYMOUS", b"trace")).answer()
    assert frame.kind == OK and frame.get(b"account") is None and frame.one(b"login") == b"anonymous"


def test_many_clients_in_mid_exchange_cost_little(served: Served) -> None:
    """Whatever comes is read no further than a frame may be long."""
    talk = served.talk(HI, start("CRAM-MD5"))
    assert talk.answer().kind == CHALLENGE
    talk.socket.settimeout(40)
    with pytest.raises(OSError):
        for _ in range(10_000):
            talk.socket.sendall(b"R\xff\xff\xff" + b"x" * 4096)
