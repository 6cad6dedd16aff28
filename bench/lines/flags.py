"""What every client does first: the flags of the whole mailbox."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import WrongAnswer
from bench.lines import large
from bench.lines.base import CPU, Sample, latencies, percentile, spending
from bench.lines.large import InLarge
from bench.servers import Server


class FetchFlags(InLarge):
    """FETCH 1:* (UID FLAGS), in a session that was just opened, and once more in the same."""

    name = "flags"
    title = "FETCH 1:50000 (UID FLAGS)"

    def measure(self, server: Server) -> Iterator[Sample]:
        command = b"FETCH 1:%d (UID FLAGS)" % self.scale.messages
        fresh, again, times = list[float](), list[float](), list[float]()
        for _ in range(self.scale.repeats):
            client = server.imap(large.USER)
            client.select()
            server.settle()
            for spending_s in (fresh, again):
                with spending(server, settle=False) as spent:
                    answer = client.command(command)
                spending_s.append(spent.cpu_s)
                times.append(spent.wall_s)
                if answer.count(b" FETCH (UID ") != self.scale.messages:
                    raise WrongAnswer(f"{answer.count(b' FETCH (')} answers, the first {answer[:100]!r}")
            client.logout()
        yield Sample("fresh session", CPU, percentile(fresh, 0.5) * 1e3, 20.0, latencies(times))
        yield Sample("same session", CPU, percentile(again, 0.5) * 1e3, 16.0)
