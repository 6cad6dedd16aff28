"""What the protocols call: against the real other side, and against all kinds of wrong ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.auth.client import Accepted, AuthClient, Facts, Refused
from mstore.auth.exchanges import ExchangeServer
from mstore.auth.frames import CHALLENGE, HELLO, NO, OK, pack
from mstore.auth.offers import Offer, own_offers
from mstore.auth.sasl.table import OWN
from mstore.base.errors import Unavailable
from mstore.base.options import Settings
from mstore.net.stream import Stream
from mstore.net.tls import ClientCertificate
from tests.kit.exchanging import Site
from tests.kit.scripted import ScriptedTransport

FACTS = Facts("imap", "192.0.2.1", "mail.example.org")
HI = pack(HELLO, [(b"version", b"1")])
YES = pack(OK, [(b"login", b"joe"), (b"account", b"joe")])


@pytest.fixture
def client(tmp_path: Path) -> AuthClient:
    return Site(tmp_path).authority.client(Settings())


def test_passwords(client: AuthClient) -> None:
    assert client.check_password(b"joe", b"secret", FACTS) == Accepted("joe", "joe")
    assert client.check_password(b"Joe@example.org", b"secret", FACTS) == Accepted("joe", "joe")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (b"joe", b"wrong"),
        (b"", b"x"),
        (b"joe", b""),
        (b"a\0joe", b"secret"),
        (b"joe", b"secret\0"),
        (b"j\xff", b"x"),
        (b"joe", b"x" * 5000),
        (b"j" * 5000, b"x"),
        (b"joe", b"x" * 20_000),
    ],
)
def test_what_is_no_right_password_has_failed_and_is_nothing_else(
    client: AuthClient, name: bytes, password: bytes
) -> None:
    found = client.check_password(name, password, FACTS)
    assert isinstance(found, Refused) and found.code == "AUTHENTICATIONFAILED"


def test_challenges_and_responses_are_handed_through(client: AuthClient) -> None:
    asked = []

    def ask(challenge: bytes) -> bytes:
        asked.append(challenge)
        return {b"Username:": b"joe", b"Password:": b"secret"}[challenge]

    assert client.authenticate("LOGIN", FACTS, None, ask) == Accepted("joe", "joe")
    assert asked == [b"Username:", b"Password:"]
    assert client.authenticate("LOGIN", FACTS, b"joe", ask) == Accepted("joe", "joe")


def test_an_exchange_may_be_cancelled(client: AuthClient) -> None:
    found = client.authenticate("CRAM-MD5", FACTS, None, lambda challenge: None)
    assert isinstance(found, Refused) and found.code == "CANCELLED"
    found = client.authenticate("CRAM-MD5", FACTS, None, lambda challenge: b"x" * 20_000)
    assert isinstance(found, Refused)
    found = client.authenticate("CRAM-MD5", FACTS, b"x" * 20_000, lambda challenge: None)
    assert isinstance(found, Refused) and found.code == "MALFORMED"


def test_what_the_client_of_the_protocol_raises_ends_the_exchange(client: AuthClient) -> None:
    def ask(challenge: bytes) -> bytes:
        raise KeyError("the client is gone")

    with pytest.raises(KeyError):
        client.authenticate("CRAM-MD5", FACTS, None, ask)


def test_which_mechanisms_a_connection_is_offered(client: AuthClient) -> None:
    plain = Stream(ScriptedTransport([]))
    assert client.names("imap", plain, True) == ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
    assert client.names("pop3", plain, False) == ("SCRAM-SHA-256", "CRAM-MD5")
    secure = _Secure()
    assert client.names("imap", secure, True)[:2] == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
    secure.certificate = ClientCertificate("joe", ())
    assert "EXTERNAL" in client.names("imap", secure, True)
    secure.bindings = {}
    assert "SCRAM-SHA-256-PLUS" not in client.names("imap", secure, True)
    assert client.has_command("APOP") and not client.has_command("PLAIN")
    assert client.needs_privacy("PLAIN") and not client.needs_privacy("CRAM-MD5")


class _Secure:
    peer, tls = "", True

    def __init__(self) -> None:
        self.bindings = {"tls-server-end-point": b"x"}
        self.certificate: ClientCertificate | None = None

    def channel_bindings(self) -> dict[str, bytes]:
        return self.bindings

    def client_certificate(self) -> ClientCertificate | None:
        return self.certificate


@pytest.mark.parametrize(
    ("settings", "there", "missing"),
    [
        ({"authproxy_authmech": "pam"}, {"PLAIN", "EXTERNAL"}, {"CRAM-MD5", "SCRAM-SHA-256", "APOP"}),
        ({}, {"CRAM-MD5", "APOP"}, {"OAUTHBEARER", "XOAUTH2", "ANONYMOUS", "DIGEST-MD5"}),
        ({"oauth_introspection_url": "http://x/"}, {"OAUTHBEARER", "XOAUTH2"}, set()),
        ({"sasl_enable": {"scram-sha-1": True}}, {"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, {"SCRAM-SHA-512"}),
        ({"sasl_enable": {"scram-sha-256": False}}, set(), {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}),
    ],
)
def test_only_what_can_work_is_offered(settings: dict[str, Any], there: set[str], missing: set[str]) -> None:
    names = {offer.name for offer in own_offers(Settings(**settings))}
    assert there <= names and not missing & names


def test_an_offer_is_told_in_words() -> None:
    for offer in own_offers(Settings(sasl_enable={"anonymous": True}, oauth_introspection_url="http://x/")):
        assert Offer.parse(offer.format()) == offer


# other sides


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "authproxyd-sasl"))
        found.listen()
        yield found


def answering(listener: socket.socket, *answers: bytes) -> AuthClient:
    """A client of a server that gives the first of these answers to the first question, and so on."""

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return AuthClient(listener.getsockname(), answer_s=30, absent_s=0)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"NO",
        HI,
        HI[:5],
        HI + YES[:7],
        YES,
        HI + HI,
        pack(HELLO, [(b"version", b"2")]) + YES,
        pack(HELLO, [(b"version", b"1"), (b"mechanism", b"plain")]) + YES,
        pack(HELLO, [(b"version", b"1"), (b"mechanism", b"PLAIN mighty")]) + YES,
        HI + pack(NO, [(b"code", b"UNAVAILABLE"), (b"text", b"x")]),
        HI + pack(CHALLENGE, [(b"data", b"x")]),
        HI + b"O\xff\xff\xff",
    ],
)
def test_what_is_no_answer_is_unavailable(listener: socket.socket, answer: bytes) -> None:
    with pytest.raises(Unavailable):
        answering(listener, answer).authenticate("CRAM-MD5", FACTS, None, lambda challenge: b"x")


def test_a_refusal_may_end_the_connection(listener: socket.socket) -> None:
    refusal = pack(NO, [(b"code", b"UNAVAILABLE"), (b"text", b"too often"), (b"end", b"1")])
    found = answering(listener, HI + refusal).check_password(b"joe", b"x", FACTS)
    assert found == Refused("UNAVAILABLE", "too often", True)


def test_final_data_is_a_last_challenge(listener: socket.socket) -> None:
    final = pack(OK, [(b"login", b"root"), (b"account", b"ann"), (b"final", b"v=x")])
    asked = []

    def ask(response: bytes | None) -> Any:
        return lambda challenge: (asked.append(challenge), response)[1]

    client = answering(listener, HI + final, HI + final, HI + final)
    assert client.authenticate("X", FACTS, None, ask(b"")) == Accepted("ann", "root")
    found = client.authenticate("X", FACTS, None, ask(b"more"))
    assert isinstance(found, Refused) and found.code == "MALFORMED"
    found = client.authenticate("X", FACTS, None, ask(None))
    assert isinstance(found, Refused) and found.code == "CANCELLED"
    assert asked == [b"v=x"] * 3


def test_the_next_exchange_goes_the_same_way(listener: socket.socket, tmp_path: Path) -> None:
    server = ExchangeServer(Site(tmp_path).authority.site, OWN, own_offers(Settings()))
    accepted = []

    def serve() -> None:
        for _ in range(3):
            accepted.append(listener.accept()[0])
            threading.Thread(target=server.handle, args=(accepted[-1], lambda verdict: None)).start()

    accepting = threading.Thread(target=serve)
    accepting.start()
    client = AuthClient(listener.getsockname(), answer_s=30, absent_s=0)
    for _ in range(3):
        assert client.check_password(b"joe", b"secret", FACTS) == Accepted("joe", "joe")
    assert len(accepted) == 1
    assert isinstance(client.check_password(b"joe", b"wrong", FACTS), Refused)
    assert client.check_password(b"ann", b"secret", FACTS) == Accepted("ann", "ann")
    assert len(accepted) == 2, "a connection is not used after a refusal"
    # Where it is cut while nobody asks, nobody is told of that.
    accepted[-1].shutdown(socket.SHUT_RDWR)
    assert client.check_password(b"joe", b"secret", FACTS) == Accepted("joe", "joe")
    accepting.join()
    assert len(accepted) == 3
    client.close()


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        AuthClient(tmp_path / "nobody", absent_s=0.1).check_password(b"joe", b"x", FACTS)


def test_silence_is_unavailable(listener: socket.socket) -> None:
    with pytest.raises(Unavailable):
        AuthClient(listener.getsockname(), answer_s=0.1).check_password(b"joe", b"x", FACTS)


def test_whoever_is_restarted_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "authproxyd-sasl"
    server = ExchangeServer(Site(tmp_path).authority.site, OWN, own_offers(Settings()))

    def come_back() -> None:
        time.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as back:
            back.bind(str(path))
            back.listen()
            back.accept()[0].close()  # Ended before it could answer.
            server.handle(back.accept()[0], lambda verdict: None)

    thread = threading.Thread(target=come_back)
    thread.start()
    client = AuthClient(path, answer_s=30, absent_s=40)
    assert client.check_password(b"joe", b"secret", FACTS) == Accepted("joe", "joe")
    client.close()
    thread.join()


def test_who_was_made_to_wait_by_one_that_ended_asks_the_next_one(listener: socket.socket) -> None:
    hello = pack(HELLO, [(b"version", b"1")])

    def serve() -> None:
        with listener.accept()[0]:
            time.sleep(0.5)  # Longer than the client waits for somebody to be there at all.
        with listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(hello + YES)

    thread = threading.Thread(target=serve)
    thread.start()
    client = AuthClient(listener.getsockname(), answer_s=30, absent_s=0.4)
    assert isinstance(client.check_password(b"joe", b"secret", FACTS), Accepted)
    client.close()
    thread.join()


def test_which_mechanisms_there_are_is_learnt(listener: socket.socket) -> None:
    plain = Stream(ScriptedTransport([]))
    other = pack(HELLO, [(b"version", b"1"), (b"mechanism", b"X-OTHER service=pop3")])
    client = answering(listener, pack(HELLO, [(b"version", b"1"), (b"mechanism", b"X-MINE")]), other + YES)
    assert client.names("imap", plain, True) == ()
    assert client.learn(0) and client.names("imap", plain, True) == ("X-MINE",)
    client.check_password(b"joe", b"x", FACTS)
    assert client.names("imap", plain, True) == () and client.names("pop3", plain, True) == ("X-OTHER",)


def test_learning_waits_no_longer_than_told(tmp_path: Path) -> None:
    assert not AuthClient(tmp_path / "nobody").learn(0)
