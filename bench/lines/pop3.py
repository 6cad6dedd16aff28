"""A POP3 session that fetches ten messages and deletes them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.corpus import message
from bench.lines.base import CPU, Line, Sample, latencies, spending, timed
from bench.servers import PASSWORD, Server

USERS = 10


class Pop3Session(Line):
    """Log in, STAT, ten times RETR and DELE, QUIT."""

    name = "pop3"
    title = "POP3 session, 10 RETR and DELE"

    def measure(self, server: Server) -> Iterator[Sample]:
        users = [user for user in server.users if user.startswith("pop")][:USERS]
        rounds = max(1, self.scale.repeats)
        for user in users:
            client = server.imap(user)
            client.append_all([message(i, 4096) for i in range(10 * rounds)])
            client.logout()
        server.settle()
        times = list[float]()
        with spending(server) as spent:
            for number in range(rounds * len(users)):
                times.append(timed(self._session, server, users[number % len(users)]))
        yield Sample("per session", CPU, spent.cpu_s * 1e3 / len(times), 2.0, latencies(times))

    def _session(self, server: Server, user: str) -> None:
        client = server.pop3()
        client.command(b"USER " + user.encode())
        client.command(b"PASS " + PASSWORD.encode())
        client.command(b"STAT")
        for number in range(1, 11):
            text = client.many(b"RETR %d" % number)
            if b"Message-ID: <" not in text:
                raise AssertionError(repr(text[:200]))
            client.command(b"DELE %d" % number)
        client.command(b"QUIT")
        client.close()
