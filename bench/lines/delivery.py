"""LMTP delivery over persistent connections, as an MTA keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from bench.corpus import message
from bench.lines.base import CPU, RATE, Line, Sample, latencies, spending, timed
from bench.servers import Server

CONNECTIONS = 20
SIZE = 8192


class Delivery(Line):
    """One recipient per message, twenty connections, 8 KB."""

    name = "delivery"
    title = "LMTP delivery of 8 KB, 1 recipient, 20 connections"
    recipients = 1
    aim = 0.5

    def prepare(self, server: Server) -> None:
        client = server.lmtp()
        for number, user in enumerate(server.crowd):
            client.deliver([user], message(number, SIZE))
        client.quit()

    def measure(self, server: Server) -> Iterator[Sample]:
        each = max(1, self.scale.deliveries // self.recipients // CONNECTIONS)
        texts = [[message(lane * each + i, SIZE) for i in range(each)] for lane in range(CONNECTIONS)]
        clients = [server.lmtp() for _ in range(CONNECTIONS)]
        users, times, failures = server.crowd, list[float](), list[BaseException]()

        def lane(number: int) -> None:
            try:
                for i, text in enumerate(texts[number]):
                    first = number * 7 + i * self.recipients
                    names = [users[(first + k) % len(users)] for k in range(self.recipients)]
                    times.append(timed(clients[number].deliver, names, text))
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=lane, args=(number,)) for number in range(CONNECTIONS)]
        with spending(server) as spent:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        for client in clients:
            client.quit()
        count = each * CONNECTIONS * self.recipients
        yield Sample("per recipient", CPU, spent.cpu_s * 1e3 / count, self.aim, latencies(times))
        yield Sample("deliveries", RATE, count / spent.wall_s)


class DeliveryMany(Delivery):
    """Twenty recipients per message."""

    name = "delivery20"
    title = "LMTP delivery of 8 KB, 20 recipients, 20 connections"
    recipients = 20
    aim = 0.3
