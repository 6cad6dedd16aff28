"""One command for many messages: flags of all, and thousands copied, moved and expunged."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import Imap, WrongAnswer
from bench.lines import large
from bench.lines.base import CPU, Sample, latencies, percentile, spending
from bench.lines.large import InLarge
from bench.servers import Server


class StoreAll(InLarge):
    """STORE of one flag of every message, which all are then told."""

    name = "storeall"
    title = "STORE 1:50000 +FLAGS (\\Draft), one command"

    def measure(self, server: Server) -> Iterator[Sample]:
        large.refresh(server, self.scale)
        client = server.imap(large.USER)
        client.select()
        count = self.scale.messages
        cpu, times = list[float](), list[float]()
        for _ in range(self.scale.repeats):
            server.settle()
            with spending(server) as spent:
                answer = client.command(b"STORE 1:%d +FLAGS (\\Draft)" % count)
            cpu.append(spent.cpu_s)
            times.append(spent.wall_s)
            if answer.count(b" FETCH (") != count or answer.count(b"\\Draft") != count:
                raise WrongAnswer(f"{answer.count(b'Draft')} flags, the first {answer[:100]!r}")
            client.command(b"STORE 1:%d -FLAGS.SILENT (\\Draft)" % count)
        client.logout()
        yield Sample("", CPU, percentile(cpu, 0.5) * 1e3, 22.0, latencies(times))


class CopyMoveExpunge(InLarge):
    """The oldest tenth is copied to one mailbox, from there moved to another, and there expunged."""

    name = "copy"
    title = "COPY, MOVE and EXPUNGE of 5,000"

    def measure(self, server: Server) -> Iterator[Sample]:
        large.refresh(server, self.scale)
        count = self.scale.messages // 10
        client = server.imap(large.USER)
        for name in (b"copied", b"moved"):
            client.command(b"CREATE " + name)
        cpu, times = [[0.0, 0.0, 0.0] for _ in range(self.scale.repeats)], [list[float]() for _ in range(3)]
        works = (
            ("INBOX", b"COPY 1:%d copied" % count, b"COPYUID", 1),
            ("copied", b"MOVE 1:%d moved" % count, b" EXPUNGE\r\n", count),
            ("moved", b"EXPUNGE", b" EXPUNGE\r\n", count),
        )
        for turn in range(self.scale.repeats):
            for at, (mailbox, command, mark, marks) in enumerate(works):
                client.select(mailbox)
                if command == b"EXPUNGE":
                    client.command(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
                server.settle()
                with spending(server) as spent:
                    answer = client.command(command)
                if answer.count(mark) != marks:
                    raise WrongAnswer(f"{answer.count(mark)} times {mark!r}: {answer[:200]!r}")
                cpu[turn][at] = spent.cpu_s
                times[at].append(spent.wall_s)
                self._holds(client, (0 if at == 2 else count), b"copied" if at == 0 else b"moved")
        client.select()
        for name in (b"copied", b"moved"):
            client.command(b"DELETE " + name)
        client.logout()
        for at, (what, aim) in enumerate((("COPY", 15.0), ("MOVE", 20.0), ("EXPUNGE", 4.0))):
            value = percentile([each[at] for each in cpu], 0.5)
            yield Sample(what, CPU, value * 1e3, aim, latencies(times[at]))

    @staticmethod
    def _holds(client: Imap, count: int, mailbox: bytes) -> None:
        """Seen by another command: so many are there."""
        answer = client.command(b"STATUS %s (MESSAGES)" % mailbox)
        if b"(MESSAGES %d)" % count not in answer:
            raise WrongAnswer(f"{answer!r} instead of {count}")
