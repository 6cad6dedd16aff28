"""The one LOGIN that rimap speaks, with the server's side by a script, and over real sockets."""

import socket
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from mstore.auth.driver import no_tls
from mstore.auth.mechanisms import imaplogin
from mstore.auth.mechanisms.imaplogin import Dialogue, Tls
from mstore.auth.mechanisms.rimap import RemoteImap
from mstore.base.errors import Unavailable
from mstore.base.values import RemoteHost

GREETING = b"* OK [CAPABILITY IMAP4rev1 LITERAL+] hello\r\n"
PLAIN = b"* OK [CAPABILITY IMAP4rev1] hello\r\n"
OFFERS = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hello\r\n"


class Scripted:
    """A connection whose other side says the next piece when it is read, byte by byte if asked to."""

    def __init__(self, said: Sequence[bytes], size: int = 4096) -> None:
        self.said = list(said)
        self.heard = b""
        self.size = size
        self.timeouts: list[float] = []

    def recv(self, n: int) -> bytes:
        if not self.said:
            return b""
        piece = self.said[0][: min(n, self.size)]
        self.said[0] = self.said[0][len(piece) :]
        if not self.said[0]:
            del self.said[0]
        return piece

    def sendall(self, data: bytes) -> None:
        self.heard += data

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)


def login(
    *said: bytes, name: bytes = b"joe", password: bytes = b"secret", mode: str = "offered", size: int = 4096
) -> tuple[bool, bytes]:
    connection = Scripted(said, size)

    def start(sock: Scripted, host: str) -> Scripted:
        assert host == "imap.example"
        sock.heard += b"<TLS>"
        return sock

    dialogue = Dialogue(connection, Tls(mode, start, "imap.example"), time.monotonic() + 60)
    return dialogue.login(name, password), connection.heard


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_a_login_is_one_command_after_a_greeting_with_capabilities(size: int) -> None:
    said = (GREETING, b"* 1 EXISTS\r\n* CAPABILITY X\r\nM1 OK in\r\n")
    assert login(*said, size=size) == (True, b'M1 LOGIN "joe" "secret"\r\n')
    assert login(GREETING, b"M1 NO [AUTHENTICATIONFAILED] no\r\n", size=size)[0] is False


def test_nothing_is_read_or_said_after_the_tagged_response() -> None:
    connection = Scripted([GREETING, b"M1 OK in\r\n", b"* BYE\r\n"])
    assert Dialogue(connection, Tls("off", no_tls, "h"), time.monotonic() + 60).login(b"joe", b"x")
    assert connection.said == [b"* BYE\r\n"]
    assert connection.heard.count(b"\r\n") == 1


def test_capabilities_are_asked_for_where_the_greeting_has_none() -> None:
    said = (b"* OK hello\r\n", b"* CAPABILITY IMAP4rev1\r\nM1 OK done\r\n", b"M2 OK\r\n")
    assert login(*said) == (True, b'M1 CAPABILITY\r\nM2 LOGIN "joe" "secret"\r\n')


def test_odd_names_and_passwords_cannot_become_commands() -> None:
    for password, sent in (
        (b'a"b\\c', b'"a\\"b\\\\c"'),
        (b"", b'""'),
        (b" {3}", b'" {3}"'),
        (b"\xc3\xa4", b"{2+}\r\n\xc3\xa4"),
        (b"x\r\nM2 LOGOUT", b"{12+}\r\nx\r\nM2 LOGOUT"),
        (b"x" * 901, b"{901+}\r\n" + b"x" * 901),
        (b"\x7f", b"{1+}\r\n\x7f"),
    ):
        assert login(GREETING, b"M1 OK\r\n", password=password)[1] == b'M1 LOGIN "joe" ' + sent + b"\r\n"
    sent = login(GREETING, b"M1 OK\r\n", name=b'jo"e', password=b"\xff")[1]
    assert sent == b'M1 LOGIN "jo\\"e" {1+}\r\n\xff\r\n'


def test_literals_wait_for_the_server_where_they_must() -> None:
    accepted, heard = login(
        PLAIN, b"+ go\r\n", b"* OK still here\r\n+\r\n", b"M1 OK\r\n", name=b"\xc3\xbc", password=b"a\nb"
    )
    assert accepted and heard == b"M1 LOGIN {2}\r\n\xc3\xbc {3}\r\na\nb\r\n"
    accepted, heard = login(PLAIN, b"M1 NO too odd\r\n", password=b"\xff")
    assert not accepted and heard == b'M1 LOGIN "joe" {1}\r\n'


def test_tls_is_started_where_it_is_offered_and_capabilities_are_asked_anew() -> None:
    said = (OFFERS, b"M1 OK begin\r\n", b"* CAPABILITY IMAP4rev1\r\nM2 OK\r\n", b"M3 OK\r\n")
    for mode in ("offered", "required"):
        accepted, heard = login(*said, mode=mode)
        assert accepted and heard == b'M1 STARTTLS\r\n<TLS>M2 CAPABILITY\r\nM3 LOGIN "joe" "secret"\r\n'
    accepted, heard = login(GREETING, b"M1 OK\r\n", mode="immediate")
    assert accepted and heard.startswith(b"<TLS>M1 LOGIN")


@pytest.mark.parametrize(
    ("said", "mode", "why"),
    [
        ((OFFERS,), "off", "LOGINDISABLED"),
        ((GREETING,), "required", "does not offer STARTTLS"),
        ((OFFERS, b"M1 OK begin\r\n* CAPABILITY IMAP4rev1\r\n"), "offered", "before TLS begins"),
        ((OFFERS, b"M1 NO not now\r\n"), "offered", "answers STARTTLS"),
        ((b"* PREAUTH in already\r\n",), "off", "greets with"),
        ((b"* BYE full\r\n",), "off", "greets with"),
        ((b"220 smtp.example ESMTP\r\n",), "off", "greets with"),
        ((b"",), "off", "closed the connection"),
        ((), "off", "closed the connection"),
        ((GREETING, b"* BYE\r\n* BYE going down\r\n"), "off", "says '\\* BYE going down'"),
        ((GREETING, b"M1 BAD what\r\n"), "off", "answers LOGIN with 'M1 BAD what'"),
        ((GREETING, b"M1 NO [UNAVAILABLE] later\r\n"), "off", "later"),
        ((GREETING, b"M1 NO [PRIVACYREQUIRED] tls\r\n"), "off", "tls"),
        ((GREETING, b"M1 YES\r\n"), "off", "answers LOGIN"),
        ((GREETING, b"M1 \r\n"), "off", "answers LOGIN"),
        ((GREETING, b"M2 OK\r\n"), "off", "is no IMAP server"),
        ((GREETING, b"+ what\r\n"), "off", "asks for more"),
        ((GREETING, b"x" * 20_000), "off", "too long"),
        ((GREETING, b"* x\r\n" * 40_000), "off", "too much"),
        ((GREETING, b"* x {999999999}\r\n"), "off", "too much"),
        ((b"* OK hi\r\n", b"M1 OK\r\n"), "off", "does not tell its capabilities"),
    ],
)
def test_whatever_is_no_clear_answer_is_no_refusal(said: tuple[bytes, ...], mode: str, why: str) -> None:
    with pytest.raises(Unavailable, match=why) as raised:
        login(*said, mode=mode)
    assert "secret" not in str(raised.value)


def test_what_stands_in_a_literal_is_no_response() -> None:
    assert not login(GREETING, b"* X {10}\r\nM1 OK in\r\n y\r\nM1 NO\r\n")[0]


def test_all_of_it_has_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(imaplogin.time, "monotonic", lambda: now_s)
    connection = Scripted([GREETING])
    receive = connection.recv

    def slow(n: int) -> bytes:
        nonlocal now_s
        now_s += 4
        return receive(1)

    connection.recv = slow  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        Dialogue(connection, Tls("off", no_tls, "h"), 110.0).login(b"joe", b"x")
    assert connection.timeouts == [10, 6, 2]


# over sockets


def serving(serve: Callable[[socket.socket], None]) -> int:
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener, listener.accept()[0] as connection:
            serve(connection)

    threading.Thread(target=run, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def test_the_connection_is_closed_when_the_server_has_answered() -> None:
    closed = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        assert connection.recv(4096) == b'M1 LOGIN "joe" "secret"\r\n'
        connection.sendall(b"M1 OK in\r\n")
        if connection.recv(4096) == b"":
            closed.set()

    mechanism = RemoteImap(RemoteHost("127.0.0.1", serving(serve)), "offered", no_tls)
    assert mechanism.verify("joe", b"secret").ok
    assert closed.wait(40)
    assert not mechanism.verify("joe", b"x\0y").ok
    mechanism.close()


def test_a_server_that_says_nothing_is_left_in_time() -> None:
    given_up = threading.Event()
    port = serving(lambda connection: given_up.wait(60))
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match=rf"rimap: 127.0.0.1/{port}: timed out"):
        RemoteImap(RemoteHost("127.0.0.1", port), "off", no_tls, timeout_s=0.2).verify("joe", b"x")
    assert time.monotonic() - began_s < 40
    given_up.set()


def test_a_port_that_is_not_given_is_that_of_imap_or_imaps() -> None:
    assert RemoteImap(RemoteHost("h"), "offered", no_tls)._port == 143
    assert RemoteImap(RemoteHost("h"), "immediate", no_tls)._port == 993
