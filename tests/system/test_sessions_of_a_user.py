"""Too many sessions of one user: told so at login, over all workers; what ends gives its place back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from socket import socket

from tests.kit.clients import raw
from tests.kit.instance import Instance, wait_for


def log_in(store: Instance, user: str) -> tuple[socket, bytes]:
    """A connection, and the answer to LOGIN there."""
    connection = raw(store.imap_address)
    connection.recv(2000)
    connection.sendall(b"a LOGIN %s secret\r\n" % user.encode())
    answer = b""
    while not answer.endswith(b"\r\n") and (more := connection.recv(2000)):
        answer += more
    return connection, answer


def is_let_in(store: Instance, user: str) -> bool:
    """Whether one more session is possible; it is ended at once."""
    try:
        connection, answer = log_in(store, user)
    except ConnectionError:
        return False  # A worker had taken it that has just been killed.
    connection.close()
    return answer.startswith(b"a OK")


def test_one_session_too_many(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann"], ("imapd-connections-per-user 4",))
    store.start()
    sessions = [log_in(store, "joe") for _ in range(4)]
    assert all(answer.startswith(b"a OK") for _, answer in sessions)
    refused, answer = log_in(store, "joe")
    assert answer == b"a NO [LIMIT] You have 4 connections already; close some\r\n"
    assert is_let_in(store, "ann")
    assert "too-many-sessions" in store.log_text() and "user=joe sessions=4" in store.log_text()

    sessions[0][0].sendall(b"b UNAUTHENTICATE\r\n")
    assert b"b OK" in sessions[0][0].recv(2000)
    refused.sendall(b"c LOGIN joe secret\r\n")
    assert b"c OK" in refused.recv(2000), "the place is free, and the connection is good still"
    assert not is_let_in(store, "joe")
    sessions[1][0].close()
    wait_for(lambda: is_let_in(store, "joe"), 30, lambda: "a closed connection keeps its place")
    for connection in (refused, *(each for each, _ in sessions)):
        connection.close()
    store.stop()


def test_the_sessions_of_a_worker_that_died_count_no_more(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], ("imapd-connections-per-user 2",), workers=1)
    store.start()
    store.tolerated.append(r"SIGKILL|signal 9|killed")
    sessions = [log_in(store, "joe")[0] for _ in range(2)]
    assert not is_let_in(store, "joe")
    os.kill(store.worker_pids("imapd")[0], signal.SIGKILL)
    wait_for(lambda: is_let_in(store, "joe"), 30, lambda: "the dead worker's sessions count still")
    for connection in sessions:
        connection.close()
    store.stop()
