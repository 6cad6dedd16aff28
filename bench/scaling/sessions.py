"""More and more sessions in IDLE, ten of each user: what they hold, and what work costs beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.clients import Imap
from bench.corpus import message
from bench.lines.base import CPU, LATENCY, MEMORY, Line, Sample, latencies, percentile, spending, timed
from bench.lines.idle import open_idle, until_exists
from bench.servers import Server

EACH = 10
"""Sessions of each user."""
WOKEN = 20
"""Users who get mail at each step, of whom all sessions are woken."""
WARMING = 20
LOGINS = 100


class Sessions(Line):
    """At each step: memory per session, waking some of them, and logins beside them."""

    name = "sessions"
    title = "sessions in IDLE, ten of each user"
    axis = "sessions in IDLE"

    def prepare(self, server: Server) -> None:
        for user in self._users(server, self.scale.steps_sessions[-1]):
            client = server.imap(user)
            client.append_all([message(0, 2000)])
            client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        self.fresh(server)
        self._warm(server)
        server.settle()
        before = server.memory()
        clients = list[Imap]()
        for count in self.scale.steps_sessions:
            users = self._users(server, count)
            opened = count - len(clients)
            with spending(server) as opening:
                clients += [open_idle(server, users[n // EACH]) for n in range(len(clients), count)]
            held = server.memory()
            pss = (held.pss_bytes - before.pss_bytes) / 1024 / count
            tables = (held.page_table_bytes - before.page_table_bytes) / 1024 / count
            yield Sample("opening one", CPU, opening.cpu_s * 1e3 / opened, at=count)
            yield Sample("memory per session, with page tables", MEMORY, pss + tables, at=count)
            delays = list[float]()
            lmtp = server.lmtp()
            for number, user in enumerate(users[:: max(1, len(users) // WOKEN)]):
                mine = [client for n, client in enumerate(clients) if users[n // EACH] == user]
                lmtp.deliver([user], message(number, 2000))
                delays += until_exists(mine, time.perf_counter())
            lmtp.quit()
            yield Sample(
                "woken by a delivery, p99",
                LATENCY,
                percentile(delays, 0.99) * 1e3,
                None,
                latencies(delays),
                count,
            )
            server.settle()
            with spending(server) as spent:
                times = self._login(server, min(LOGINS, self.scale.logins))
            per_login = spent.cpu_s * 1e3 / len(times)
            yield Sample("LOGIN, SELECT, LOGOUT beside them", CPU, per_login, None, latencies(times), count)
        for client in clients:
            client.close()
        self.fresh(server)

    def _users(self, server: Server, sessions: int) -> list[str]:
        return [user for user in server.users if user.startswith("s0")][: max(1, sessions // EACH)]

    def _warm(self, server: Server) -> None:
        """Every process has done all of it once, and every password was verified: the rest is a session's."""
        for known in self._users(server, self.scale.steps_sessions[-1]):
            server.imap(known).logout()
        user = server.crowd[-1]
        clients = [open_idle(server, user) for _ in range(WARMING)]
        lmtp = server.lmtp()
        lmtp.deliver([user], message(0, 2000))
        until_exists(clients, time.perf_counter())
        lmtp.quit()
        for client in clients:
            client.send(b"DONE\r\n")
            client.finish(client.idle_tag)
            client.logout()
        self._login(server, WARMING)

    @staticmethod
    def _login(server: Server, count: int) -> list[float]:
        """What each of so many short sessions took."""

        def one(number: int) -> None:
            client = server.imap(server.crowd[number % 20])
            client.select()
            client.logout()

        return [timed(one, number) for number in range(count)]
