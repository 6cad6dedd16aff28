"""A client that connects, logs in, selects its INBOX and goes: what web mailers and phones do all day."""

from __future__ import annotations

from collections.abc import Iterator

from bench.corpus import message
from bench.lines.base import CPU, Line, Sample, latencies, spending, timed
from bench.servers import Server

USERS = 20


class Login(Line):
    """Connections one after the other, over twenty users, whose login both servers have verified before."""

    name = "login"
    title = "connect, LOGIN, SELECT, LOGOUT"

    def prepare(self, server: Server) -> None:
        for user in server.crowd[:USERS]:
            client = server.imap(user)
            client.append_all([message(i, 2000) for i in range(20)])
            client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        def one(number: int) -> None:
            client = server.imap(server.crowd[number % USERS])
            client.select()
            client.logout()

        for number in range(USERS):
            one(number)
        server.settle()
        times = list[float]()
        with spending(server) as spent:
            for number in range(self.scale.logins):
                times.append(timed(one, number))
        yield Sample("per session", CPU, spent.cpu_s * 1e3 / self.scale.logins, 0.8, latencies(times))
