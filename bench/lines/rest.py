"""A server that nobody asks anything: what it spends by being there."""

from __future__ import annotations

from collections.abc import Iterator

from bench.lines.base import REST, Line, Sample
from bench.servers import Server


class Rest(Line):
    """All its processes, with no session, for some seconds."""

    name = "rest"
    title = "a server at rest"

    def measure(self, server: Server) -> Iterator[Sample]:
        yield Sample("", REST, server.measure_rest(self.scale.rest_s) * 1e3)
