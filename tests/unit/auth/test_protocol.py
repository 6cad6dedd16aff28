"""authproxyd's side of the one-command protocol."""

import contextlib
import socket
import threading
import time

import pytest

from mstore.auth.gate import Turned
from mstore.auth.server import Server, format_answer, parse_command, version_text
from mstore.auth.verdict import Verdict
from mstore.base.errors import Unavailable
from tests.kit.loglines import logged


class Fixed:
    """Lets joe in with ``se cret``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []

    def verify(self, login: str, password: bytes) -> Verdict:
        self.asked.append((login, password))
        if login == "broken":
            raise Unavailable("the database is gone")
        return Verdict(login == "joe" and password == b"se cret", "as told" if login == "joe" else "")

    def close(self) -> None: ...


class Door:
    """A gate that turns jim away, and keeps what it is told."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, bool]] = []

    def admit(self, peer: str, login: str) -> float | Turned:
        return Turned("too often") if login == "jim" else 0.001

    def note(self, peer: str, login: str, ok: bool) -> None:
        self.noted.append((peer, login, ok))


def converse(
    *sent: bytes, end: bool = False, timeout_s: float = 40.0, gate: Door | None = None
) -> tuple[bytes, Fixed]:
    """What a client gets that sends these pieces; ``end`` closes its side."""
    mechanism = Fixed()
    ours, theirs = socket.socketpair()
    answering = Server(mechanism, timeout_s, gate)
    server = threading.Thread(target=answering.handle, args=(theirs, lambda verdict: None))
    server.start()
    for piece in sent:
        ours.sendall(piece)
    if end:
        ours.shutdown(socket.SHUT_WR)
    answer = b""
    ours.settimeout(40)
    while data := ours.recv(4096):
        answer += data
    ours.close()
    server.join()
    return answer, mechanism


def test_the_answer_is_a_word_and_a_text_without_a_line_end() -> None:
    assert converse(b"AUTHENTICATE joe se cret\r\n")[0] == b"OK as told"
    assert converse(b"AUTHENTICATE joe wrong\r\n")[0] == b"NO as told"
    assert converse(b"AUTHENTICATE jim wrong\r\n")[0] == b"NO"


def test_the_password_is_the_rest_of_the_line() -> None:
    assert converse(b"AUTHENTICATE joe  a  b \r\n")[1].asked == [("joe", b" a  b ")]


def test_a_command_may_come_in_pieces() -> None:
    line = b"AUTHENTICATE joe se cret\r\n"
    assert converse(*[line[i : i + 1] for i in range(len(line))])[0] == b"OK as told"


@pytest.mark.parametrize("line", [b"\r\n", b"HELP\r\n", b"AUTHENTICATE\r\n", b"AUTHENTICATE joe\r\n", b"AUTHENTICATE  x y\r\n", b"AUTHENTICATED joe x\r\n", b"\x16\x03\x01\n", b"AUTHENTICATE joe a\rb\r\n", b"AUTHENTICATE joe a\0b\r\n"])  # fmt: skip  # noqa: E501
def test_what_is_no_command_is_refused_unasked(line: bytes) -> None:
    answer, mechanism = converse(line)
    assert answer == b"NO the command is: AUTHENTICATE login password"
    assert mechanism.asked == []


def test_an_empty_password_never_fits() -> None:
    answer, mechanism = converse(b"AUTHENTICATE joe \r\n")
    assert answer.startswith(b"NO ")
    assert mechanism.asked == []


def test_a_name_that_is_not_utf8_is_nobodys() -> None:
    answer, mechanism = converse(b"AUTHENTICATE j\xff x\r\n")
    assert answer.startswith(b"NO ")
    assert mechanism.asked == []


def test_a_line_is_at_most_four_kilobytes() -> None:
    exact = b"AUTHENTICATE joe " + b"x" * (4096 - 19) + b"\r\n"
    assert converse(exact)[1].asked == [("joe", b"x" * (4096 - 19))]
    answer, mechanism = converse(b"AUTHENTICATE joe " + b"x" * 4080)
    assert answer.startswith(b"NO ")
    assert mechanism.asked == []


def test_a_slow_client_is_left() -> None:
    with contextlib.suppress(ConnectionError):  # before it has said that much, if it was held up itself
        assert converse(b"AUTHENTICATE joe", timeout_s=0.1)[0] == b""


def test_a_client_that_ends_early_gets_no_login() -> None:
    assert converse(end=True)[0] == b""
    answer, mechanism = converse(b"AUTHENTICATE joe se cret", end=True)
    assert answer.startswith(b"NO ")
    assert mechanism.asked == []


def test_what_follows_the_command_is_not_answered() -> None:
    assert converse(b"AUTHENTICATE joe se cret\r\nAUTHENTICATE joe x\r\n")[0] == b"OK as told"


def test_a_broken_database_is_told_to_the_log_without_the_password() -> None:
    with logged() as lines:
        answer, _ = converse(b"AUTHENTICATE broken hunter2\r\n")
    assert answer == b"NO authentication is not possible just now"
    assert "the database is gone" in str(lines)
    assert "hunter2" not in str(lines)


def test_commands_and_answers_as_bytes() -> None:
    assert parse_command(b"authenticate a b c\n") == (b"a", b"b c")
    assert parse_command(b"AUTHENTICATE a b") is None
    assert format_answer(Verdict(True)) == b"OK"
    assert format_answer(Verdict(False, "why")) == b"NO why"


def test_version_text_names_version_and_mechanisms() -> None:
    assert version_text().startswith("M-Store authproxyd 1.")
    assert "authdb" in version_text()


def test_what_is_told_has_been_counted() -> None:
    counted = list[bool]()

    def count_slowly(verdict: Verdict) -> None:
        time.sleep(0.1)
        counted.append(verdict.ok)

    ours, theirs = socket.socketpair()
    server = threading.Thread(target=Server(Fixed()).handle, args=(theirs, count_slowly))
    server.start()
    ours.sendall(b"AUTHENTICATE joe se cret\r\n")
    assert ours.recv(100) == b"OK as told"
    assert counted == [True]
    server.join()
    ours.close()


def test_the_gate_is_asked_before_a_judgement_and_told_of_it() -> None:
    gate = Door()
    assert converse(b"AUTHENTICATE joe se cret\r\n", gate=gate)[0] == b"OK as told"
    assert converse(b"AUTHENTICATE joe wrong\r\n", gate=gate)[0].startswith(b"NO")
    answer, mechanism = converse(b"AUTHENTICATE jim x\r\n", gate=gate)
    assert answer == b"NO too often" and mechanism.asked == []
    converse(b"AUTHENTICATE broken x\r\n", gate=gate)
    assert gate.noted == [("local", "joe", True), ("local", "joe", False)]
