"""What a web mailer asks for to show a list: flags, dates, sizes and envelopes of everything."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import WrongAnswer
from bench.lines import large
from bench.lines.base import CPU, Line, Sample, latencies, percentile, spending
from bench.servers import Server


class EnvelopeSweep(Line):
    """The sweep over a mailbox nobody has swept before, and then again in new sessions."""

    name = "envelope"
    title = "UID FETCH 1:50000 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"

    def prepare(self, server: Server) -> None:
        large.fill(server, self.scale)

    def measure(self, server: Server) -> Iterator[Sample]:
        large.refresh(server)
        first, times = self._sweep(server)
        again = [self._sweep(server) for _ in range(2)]
        yield Sample("first", CPU, first * 1e3, 120.0, latencies([times]))
        cpu = percentile([cpu for cpu, _ in again], 0.0)
        yield Sample("again", CPU, cpu * 1e3, 120.0, latencies([wall for _, wall in again]))

    def _sweep(self, server: Server) -> tuple[float, float]:
        client = server.imap(large.USER)
        client.select()
        server.settle()
        with spending(server) as spent:
            answer = client.command(
                b"UID FETCH 1:%d (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)" % self.scale.messages
            )
        client.logout()
        if (
            answer.count(b"ENVELOPE (") != self.scale.messages
            or answer.count(b"@bench.example>") < self.scale.messages
        ):
            raise WrongAnswer(f"{answer.count(b'ENVELOPE (')} envelopes, the first {answer[:400]!r}")
        return spent.cpu_s, spent.wall_s
