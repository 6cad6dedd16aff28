"""Long commands: they tell that they go on, and end when nobody waits for them."""

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mstore.base import clock
from mstore.imap.progress import LOOK_S, TELL_S, Progress
from mstore.imap.session import Session
from mstore.net.stream import Disconnected, Peer, Stream
from mstore.store.append import NewMessage, append
from tests.kit.dialogue import site
from tests.kit.imapgrammar import check_response
from tests.kit.transport import split_responses
from tests.kit.waiting import wait_for, waiting_by_threads


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection: the client's side, and the server's."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname())
        with closing(client), closing(server.accept()[0]) as far:
            yield client, far


class Time:
    """A clock that goes as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(clock, "steady", lambda: self.now)


def serve(far: socket.socket, offers: bool = True) -> Any:
    stream = Stream(far)
    return SimpleNamespace(stream=stream, send=stream.write, offers=lambda _: offers)


def test_the_state_of_a_peer(pair: tuple[socket.socket, socket.socket]) -> None:
    client, far = pair
    stream = Stream(far)
    assert stream.look_at_peer() is Peer.THERE
    client.sendall(b"more\r\n")
    client.shutdown(socket.SHUT_WR)
    wait_for(lambda: stream.look_at_peer() is Peer.SILENT)
    assert stream.read_line() == b"more\r\n"
    stream.close()
    assert stream.look_at_peer() is Peer.THERE


def test_a_client_that_waits_is_told(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = pair
    time = Time(monkeypatch)
    pulse = Progress(serve(far), b"a7")
    for _ in range(10):
        pulse()
    time.now += TELL_S
    pulse()
    pulse()
    pulse.count(3, 10)
    time.now += TELL_S
    pulse()
    pulse.count(10, 10)
    time.now += TELL_S
    pulse()
    far.close()
    with client.makefile("rb") as file:
        told = list(split_responses(file.read()))
    assert [response.split(b"]")[0] for response in told] == [
        b'* OK [INPROGRESS ("a7" NIL NIL)',
        b'* OK [INPROGRESS ("a7" 3 10)',
        b'* OK [INPROGRESS ("a7" NIL NIL)',
    ]
    for response in told:
        check_response(response)


def test_a_tag_that_would_end_the_code_is_left_out(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = pair
    time = Time(monkeypatch)
    pulse = Progress(serve(far), b"a]7")
    time.now += TELL_S
    pulse()
    assert client.recv(1000).startswith(b"* OK [INPROGRESS (NIL NIL NIL)] ")


def test_where_the_code_is_switched_off_the_client_is_told_without_it(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = pair
    time = Time(monkeypatch)
    pulse = Progress(serve(far, offers=False), b"a")
    time.now += TELL_S
    pulse()
    assert client.recv(1000) == b"* OK Still at it\r\n"


def test_a_client_that_has_gone_ends_the_command(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = pair
    time = Time(monkeypatch)
    pulse = Progress(serve(far), b"a")
    client.close()

    def go_on() -> None:
        time.now += LOOK_S
        pulse()

    with pytest.raises(Disconnected):
        wait_for(go_on)


def test_a_client_that_has_only_ended_its_side_gets_its_answer(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = pair
    time = Time(monkeypatch)
    pulse = Progress(serve(far), b"a")
    client.shutdown(socket.SHUT_WR)
    for _ in range(20):
        time.now += LOOK_S
        pulse()
    far.close()
    with client.makefile("rb") as file:
        assert len(list(split_responses(file.read()))) == 1


def test_a_search_ends_when_its_client_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with waiting_by_threads(), site(tmp_path, {}) as host:
        mailbox = host.account("joe").open("INBOX")
        append(mailbox, [NewMessage(b"Subject: x\r\n\r\n%d" % number, number) for number in range(300)])
        read: list[bytes] = []
        original = type(mailbox).read_many

        def slow(*arguments: Any, **named: Any) -> Iterator[list[bytes]]:
            for message in chain.from_iterable(original(*arguments, **named)):
                read.append(message)
                if len(read) == 5:
                    client.close()
                yield [message]

        monkeypatch.setattr(type(mailbox), "read_many", slow)
        monkeypatch.setattr("mstore.imap.progress.LOOK_S", 0.0)
        client, far = socket.socketpair()
        client.sendall(b"a LOGIN joe secret\r\nb SELECT INBOX\r\nc SEARCH BODY nothing\r\n")
        Session(Stream(far), host.service()).run()
        far.close()
        assert 5 <= len(read) < 20
        mailbox.release()
