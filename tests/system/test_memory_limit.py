"""A worker that holds too much memory is replaced, and no command of its sessions is cut."""

from __future__ import annotations

import imaplib
from collections.abc import Callable
from socket import socket

from tests.kit.clients import closed, raw
from tests.kit.instance import Instance, wait_for

PIECE = b"Subject: x\r\n\r\n" + b"x" * 200_000
PIECES = 15


def receive(connection: socket, wanted: bytes) -> bytes:
    """What comes until this has come."""
    found = b""
    while wanted not in found:
        received = connection.recv(65536)
        assert received, found
        found += received
    return found


def test_a_worker_with_too_much_memory_is_replaced(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], ("worker-memory-limit 128M",), workers=1)
    store.start()
    (before,) = store.worker_pids("imapd")
    idle = raw(store.imap_address)
    receive(idle, b"\r\n")
    busy = []
    for _ in range(50):
        connection = raw(store.imap_address, 60)
        receive(connection, b"\r\n")
        connection.sendall(b"a LOGIN joe secret\r\n")
        receive(connection, b"a OK")
        connection.sendall(b"b APPEND INBOX {%d}\r\n" % len(PIECE))
        receive(connection, b"+ ")
        connection.sendall(PIECE)
        busy.append(connection)
    # All are in their commands now, in this worker, and there is room yet.
    for connection in busy:
        for _ in range(PIECES - 1):
            connection.sendall(b" {%d+}\r\n" % len(PIECE) + PIECE)
    wait_for(lambda: "worker-memory-limit" in store.log_text(), 60, lambda: "nobody notices")
    assert "replaced=yes" in store.log_text() and f"pid={before}" in store.log_text()
    wait_for(lambda: len(set(store.worker_pids("imapd")) - {before}) == 1, 30, lambda: "no new worker")
    assert b"BYE [UNAVAILABLE]" in closed(idle)
    for connection in busy:
        connection.sendall(b"\r\n")
        told = receive(connection, b"b OK") + closed(connection)
        assert b"BYE [UNAVAILABLE]" in told, "the session ends behind the command"
    wait_for(lambda: before not in store.worker_pids("imapd"), 30, lambda: "it does not end")
    client = imaplib.IMAP4(*store.imap_address)
    client.login("joe", "secret")
    assert client.select("INBOX")[1] == [str(50 * PIECES).encode()]
    client.logout()
    store.stop()


def test_a_limit_that_is_too_low_is_no_limit(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"])
    store.config.write_text(store.config.read_text() + "worker-memory-limit 1M\n")
    refused = store.msadm("user", "list", check=False)
    assert refused.returncode != 0 and "worker-memory-limit: '1M' is less than 128M" in refused.stderr
