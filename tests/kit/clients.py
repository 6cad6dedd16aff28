"""Clients for tests against running daemons: blocking sockets, every answer checked, no wait without a limit.

They are those of the benchmark, with short limits and what only tests need.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from bench.clients import Address, Lmtp, Pop3, WrongAnswer
from bench.clients import Imap as PlainImap

LIMIT_S = 60.0

__all__ = ["LIMIT_S", "Imap", "Lmtp", "Pop3", "WrongAnswer", "closed", "raw", "wait_for_line"]


class Imap(PlainImap):
    """An IMAP connection whose reads end after a minute."""

    def __init__(self, address: Address, user: str | None = None, password: str = "secret") -> None:
        super().__init__(address, LIMIT_S)
        if user is not None:
            self.login(user, password)

    def bodies(self) -> list[bytes]:
        """All messages of the selected mailbox, whole, in order."""
        answer = self.command(b"UID FETCH 1:* (BODY.PEEK[])")
        bodies = []
        while (at := answer.find(b"BODY[] {")) >= 0:
            size, _, answer = answer[at + 8 :].partition(b"}\r\n")
            bodies.append(answer[: int(size)])
            answer = answer[int(size) :]
        return bodies

    def done(self) -> bytes:
        """End IDLE."""
        self.send(b"DONE\r\n")
        return self.finish(self.idle_tag)


def raw(address: Address, timeout_s: float = LIMIT_S, source: str = "") -> socket.socket:
    """A bare connection, from this address of ours where one is given."""
    if isinstance(address, Path):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        connection.connect(str(address))
        return connection
    return socket.create_connection(address, timeout_s, (source, 0) if source else None)


def closed(connection: socket.socket, limit_s: float = LIMIT_S) -> bytes:
    """What still comes until the other side closes; it must."""
    connection.settimeout(limit_s)
    parts = []
    try:
        while data := connection.recv(65536):
            parts.append(data)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def wait_for_line(clients: Sequence[Imap], ending: bytes, limit_s: float) -> list[float]:
    """Wait until every client has received a line with this end; gives when, by time.monotonic."""
    times, end = list[float](), time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        while len(times) < len(clients):
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise WrongAnswer(f"{len(clients) - len(times)} of {len(clients)} clients got no {ending!r}")
            for key, _ in ready:
                while not key.data.line().endswith(ending):
                    pass
                times.append(time.monotonic())
                selector.unregister(key.fileobj)
    return times
