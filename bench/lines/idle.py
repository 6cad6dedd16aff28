"""Sessions that wait: what opening one costs, what it holds, and what it takes to wake it.

Every session has selected its INBOX and is in IDLE. Memory is what all processes of the server hold with the
sessions minus what they held before. Waking is measured by a delivery to every user: the CPU of the same
deliveries without sessions is taken off, and the delay runs from the acknowledged delivery to EXISTS.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator

from bench.clients import Imap, WrongAnswer
from bench.corpus import message
from bench.lines.base import CPU, LATENCY, MEMORY, Line, Sample, latencies, percentile, spending
from bench.servers import Server

WAIT_S = 60.0


class Idle(Line):
    """Ten sessions per user in IDLE."""

    name = "idle"
    title = "sessions in IDLE"

    def measure(self, server: Server) -> Iterator[Sample]:
        self.fresh(server)
        count = self.scale.sessions
        users = server.crowd[: max(1, count // 10)]
        for user in users:
            client = server.imap(user)
            client.select()
            client.logout()
        alone_s = min(deliveries_alone(server, users) for _ in range(3))
        server.settle()
        before = server.memory()
        with spending(server) as opening:
            clients = [open_idle(server, users[number % len(users)]) for number in range(count)]
        held = server.memory()
        yield Sample("opened to IDLE, per session", CPU, opening.cpu_s * 1e3 / count, 1.0)
        yield Sample(
            "memory (PSS) per session", MEMORY, (held.pss_bytes - before.pss_bytes) / 1024 / count, 20.0
        )
        tables = held.page_table_bytes - before.page_table_bytes
        yield Sample("page tables per session", MEMORY, tables / 1024 / count)
        cpu_s, delays = wake(server, users, clients)
        yield Sample("woken, per session", CPU, (cpu_s - alone_s) * 1e3 / count, 0.2)
        yield Sample("until EXISTS, p99", LATENCY, percentile(delays, 0.99) * 1e3, 50.0, latencies(delays))
        for client in clients:
            client.send(b"DONE\r\n")
            client.finish(client.idle_tag)
            client.logout()
        self.fresh(server)


def open_idle(server: Server, user: str) -> Imap:
    """A session that has selected its INBOX and is in IDLE."""
    client = server.imap(user)
    client.select()
    client.idle()
    return client


def deliveries_alone(server: Server, users: list[str]) -> float:
    """Server CPU of one delivery to each user; in seconds."""
    lmtp = server.lmtp()
    server.settle()
    with spending(server) as spent:
        for number, user in enumerate(users):
            lmtp.deliver([user], message(number, 2000))
    lmtp.quit()
    return spent.cpu_s


def wake(server: Server, users: list[str], clients: list[Imap]) -> tuple[float, list[float]]:
    """Deliver to one user after the other, and wait for all of each user's sessions: CPU, and the delays.

    Session n must be of user n modulo the number of users.
    """
    delays = list[float]()
    lmtp = server.lmtp()
    server.settle()
    with spending(server) as spent:
        for number, user in enumerate(users):
            mine = clients[number :: len(users)]
            lmtp.deliver([user], message(number, 2000))
            delays += until_exists(mine, time.perf_counter())
    lmtp.quit()
    return spent.cpu_s, delays


def until_exists(clients: list[Imap], since: float) -> list[float]:
    """Wait until every session is told of a message; how long after `since` each was."""
    delays = list[float]()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        while len(delays) < len(clients):
            ready = selector.select(WAIT_S)
            if not ready:
                raise WrongAnswer(f"{len(clients) - len(delays)} sessions were not told of a delivery")
            for key, _ in ready:
                while (line := key.data.line()) and not line.endswith(b" EXISTS\r\n"):
                    if not line.startswith(b"* "):
                        raise WrongAnswer(repr(line))
                delays.append(time.perf_counter() - since)
                selector.unregister(key.fileobj)
    return delays
