"""Both ends of the one-command protocol, alone and against each other."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.auth.client import AuthClient, AuthResult
from mstore.auth.server import Server, format_answer, parse_command, version_text
from mstore.auth.verdict import Verdict
from mstore.base.errors import Unavailable


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


def converse(*sent: bytes, end: bool = False, timeout_s: float = 2.0) -> tuple[bytes, Fixed]:
    """What a client gets that sends these pieces; ``end`` closes its side."""
    mechanism = Fixed()
    ours, theirs = socket.socketpair()
    server = threading.Thread(target=Server(mechanism, timeout_s).handle, args=(theirs,))
    server.start()
    for piece in sent:
        ours.sendall(piece)
    if end:
        ours.shutdown(socket.SHUT_WR)
    answer = b""
    ours.settimeout(5)
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
    assert converse(b"AUTHENTICATE joe", timeout_s=0.1)[0] == b""


def test_a_client_that_ends_early_gets_no_login() -> None:
    assert converse(end=True)[0] == b""
    answer, mechanism = converse(b"AUTHENTICATE joe se cret", end=True)
    assert answer.startswith(b"NO ")
    assert mechanism.asked == []


def test_what_follows_the_command_is_not_answered() -> None:
    assert converse(b"AUTHENTICATE joe se cret\r\nAUTHENTICATE joe x\r\n")[0] == b"OK as told"


def test_a_broken_database_is_told_to_the_log_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer, _ = converse(b"AUTHENTICATE broken hunter2\r\n")
    assert answer == b"NO authentication is not possible just now"
    assert "the database is gone" in caplog.text
    assert "hunter2" not in caplog.text


def test_commands_and_answers_as_bytes() -> None:
    assert parse_command(b"authenticate a b c\n") == (b"a", b"b c")
    assert parse_command(b"AUTHENTICATE a b") is None
    assert format_answer(Verdict(True)) == b"OK"
    assert format_answer(Verdict(False, "why")) == b"NO why"


def test_version_text_names_version_and_mechanisms() -> None:
    assert version_text().startswith("M-Store authproxyd 1.")
    assert "authdb" in version_text()


# the client


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "authproxyd"))
        found.listen()
        yield found


def answering(listener: socket.socket, *pieces: bytes) -> tuple[AuthClient, list[bytes]]:
    """A client of a server that answers one question with these pieces, and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            for piece in pieces:
                connection.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    return AuthClient(listener.getsockname(), timeout_s=2, absent_s=0), asked


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"OK"], AuthResult(True, "")),
        ([b"OK wel", b"come"], AuthResult(True, "welcome")),
        ([b"N", b"O"], AuthResult(False, "")),
        ([b"NO[why]"], AuthResult(False, "[why]")),
        ([b"NO bad \xff"], AuthResult(False, "bad \ufffd")),
    ],
)
def test_answers_are_understood(
    listener: socket.socket, pieces: list[bytes], expected: AuthResult
) -> None:
    client, asked = answering(listener, *pieces)
    assert client.check(b"joe", b"se cret") == expected
    assert asked == [b"AUTHENTICATE joe se cret\r\n"]


@pytest.mark.parametrize("answer", [b"", b"OKAY", b"YES", b"O", b"* OK hello\r\n"])
def test_anything_else_is_no_answer(listener: socket.socket, answer: bytes) -> None:
    client, _ = answering(listener, answer)
    with pytest.raises(Unavailable):
        client.check(b"joe", b"x")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (b"", b"x"),
        (b"a b", b"x"),
        (b"joe", b"a\r\nb"),
        (b"joe\n", b"x"),
        (b"joe", b"a\0"),
        (b"joe", b"x" * 4096),
    ],
)
def test_what_the_protocol_cannot_carry_is_refused_unasked(
    tmp_path: Path, name: bytes, password: bytes
) -> None:
    assert AuthClient(tmp_path / "nobody").check(name, password) == AuthResult(False, "")


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        AuthClient(tmp_path / "nobody", absent_s=0.1).check(b"joe", b"x")


def test_whoever_is_restarted_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "authproxyd"
    server = Server(Fixed())

    def come_back() -> None:
        time.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as back:
            back.bind(str(path))
            back.listen()
            back.accept()[0].close()  # Ended before it could answer.
            server.handle(back.accept()[0])

    threading.Thread(target=come_back, daemon=True).start()
    client = AuthClient(path, timeout_s=2, absent_s=5)
    assert client.check(b"joe", b"se cret") == AuthResult(True, "as told")


def test_a_login_that_cannot_be_judged_is_not_a_wrong_one(listener: socket.socket) -> None:
    server = Server(Fixed())
    threading.Thread(target=lambda: server.handle(listener.accept()[0]), daemon=True).start()
    with pytest.raises(Unavailable):
        AuthClient(listener.getsockname(), timeout_s=2).check(b"broken", b"x")


def test_silence_is_unavailable(listener: socket.socket) -> None:
    with pytest.raises(Unavailable):
        AuthClient(listener.getsockname(), timeout_s=0.1).check(b"joe", b"x")


def test_both_ends_agree(listener: socket.socket) -> None:
    server = Server(Fixed())

    def serve() -> None:
        for _ in range(2):
            server.handle(listener.accept()[0])

    threading.Thread(target=serve, daemon=True).start()
    client = AuthClient(listener.getsockname(), timeout_s=2)
    assert client.check(b"joe", b"se cret") == AuthResult(True, "as told")
    assert client.check(b"joe", b"other") == AuthResult(False, "as told")
