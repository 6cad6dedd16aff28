"""Reading messages: one after the other, and large ones."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import WrongAnswer
from bench.corpus import message
from bench.lines.base import CPU, Line, Sample, latencies, spending, timed
from bench.servers import Server

USER = "bodies"
SMALL, SIZE, LARGE, LARGE_SIZE = 500, 8192, 20, 2_000_000


class Bodies(Line):
    """UID FETCH n BODY.PEEK[] of 8 KB, and all of some large messages."""

    name = "bodies"
    title = "FETCH of whole messages"

    def prepare(self, server: Server) -> None:
        client = server.imap(USER)
        client.append_all([message(i, SIZE) for i in range(SMALL)])
        client.append_all([message(i, LARGE_SIZE) for i in range(LARGE)], False)
        client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        client = server.imap(USER)
        client.select()
        server.settle()
        times = list[float]()

        def one(number: int) -> None:
            answer = client.command(b"FETCH %d (BODY.PEEK[])" % number)
            if message(number - 1, SIZE) not in answer:
                raise WrongAnswer(f"message {number} is not what was stored")

        one(1)
        with spending(server) as spent:
            for number in range(1, SMALL + 1):
                times.append(timed(one, number))
        yield Sample("8 KB, per message", CPU, spent.cpu_s * 1e3 / SMALL, 0.07, latencies(times))
        with spending(server) as spent:
            answer = client.command(b"FETCH %d:%d (BODY.PEEK[])" % (SMALL + 1, SMALL + LARGE))
        if len(answer) < LARGE * LARGE_SIZE * 0.8:
            raise WrongAnswer(f"{len(answer)} bytes")
        yield Sample("2 MB each, per MB", CPU, spent.cpu_s * 1e3 / (len(answer) / 1e6), 1.0)
        client.logout()
