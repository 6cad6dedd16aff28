"""APPEND as a client does it that saves what it sent: one at a time, each durable when it is answered."""

from __future__ import annotations

from collections.abc import Iterator

from bench.corpus import message
from bench.lines.base import CPU, RATE, Line, Sample, latencies, spending, timed
from bench.servers import Server

USER = "append"
SIZE = 8192


class Append(Line):
    """One connection, 8 KB, one after the other."""

    name = "append"
    title = "APPEND of 8 KB, one at a time"

    def measure(self, server: Server) -> Iterator[Sample]:
        texts = [message(i, SIZE) for i in range(self.scale.appends)]
        client = server.imap(USER)
        before = client.select()
        times = list[float]()
        with spending(server) as spent:
            for text in texts:
                times.append(timed(client.append, text))
        client.logout()
        client = server.imap(USER)
        if client.select() != before + len(texts):
            raise AssertionError("appended messages are missing")
        client.logout()
        yield Sample("per message", CPU, spent.cpu_s * 1e3 / len(texts), 0.35, latencies(times))
        yield Sample("messages", RATE, len(texts) / spent.wall_s)
