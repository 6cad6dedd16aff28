"""Many mailboxes: what a client that shows a tree of folders with counts asks for."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import WrongAnswer
from bench.corpus import message
from bench.lines.base import CPU, Line, Sample, latencies, percentile, spending
from bench.servers import Server

USER = "boxes"
MESSAGES = 3
ITEMS = b"(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"


class Mailboxes(Line):
    """LIST of all, LIST with STATUS of all, and STATUS of each by pipelined commands."""

    name = "list"
    title = "LIST and STATUS of 1,000 mailboxes"

    def prepare(self, server: Server) -> None:
        client = server.imap(USER)
        client.pipeline((b"CREATE " + name for name in self._names()), 20)
        for name in self._names()[::10]:
            client.append_all([message(i, 2000) for i in range(MESSAGES)], mailbox=name.decode())
        client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        names = self._names()
        client = server.imap(USER)
        for what, aim, command, mark in (
            ("LIST", 2.0, b'LIST "" box*', b"* LIST "),
            ("LIST with STATUS", 4.0, b'LIST "" box* RETURN (STATUS %s)' % ITEMS, b"* STATUS "),
        ):
            client.command(command)
            server.settle()
            cpu, times = list[float](), list[float]()
            for _ in range(self.scale.repeats):
                with spending(server, settle=False) as spent:
                    answer = client.command(command)
                cpu.append(spent.cpu_s)
                times.append(spent.wall_s)
                if answer.count(mark) != len(names) or answer.count(b"\r\n* LIST ") != len(names) - 1:
                    raise WrongAnswer(f"{answer.count(mark)} of {mark!r}: {answer[:200]!r}")
            yield Sample(what, CPU, percentile(cpu, 0.5) * 1e3, aim, latencies(times))
        server.settle()
        with spending(server) as spent:
            for start in range(0, len(names), 50):
                some = names[start : start + 50]
                tags = [client.start(b"STATUS %s %s" % (name, ITEMS)) for name in some]
                for at, tag in enumerate(tags, start):
                    answer = client.finish(tag)
                    if b"MESSAGES %d " % (0 if at % 10 else MESSAGES) not in answer:
                        raise WrongAnswer(repr(answer))
        client.logout()
        yield Sample("one STATUS, pipelined", CPU, spent.cpu_s * 1e3 / len(names), 0.02)

    def _names(self) -> list[bytes]:
        return [b"box%04d" % number for number in range(self.scale.mailboxes)]
