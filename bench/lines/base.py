"""What a line is: work done on one server in one round, giving samples; the servers take turns."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.servers import Server

CPU, MEMORY, LATENCY, RATE = "ms CPU", "KB", "ms", "/s"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work: the full measure, or a few seconds of it to see that everything still runs."""

    messages: int
    sessions: int
    deliveries: int
    logins: int
    appends: int
    repeats: int


FULL = Scale(messages=50_000, sessions=500, deliveries=2_000, logins=1_000, appends=1_000, repeats=5)
QUICK = Scale(messages=500, sessions=40, deliveries=60, logins=40, appends=40, repeats=2)


@dataclass(slots=True)
class Sample:
    """One figure of one round."""

    what: str
    unit: str
    value: float
    aim: float | None = None
    more: dict[str, float] = field(default_factory=dict)


class Line(ABC):
    """One kind of work."""

    name = ""
    title = ""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale

    def prepare(self, server: Server) -> None:  # noqa: B027 - most lines need none
        """Bring the server's mail into the state the work starts from; not measured, once."""

    @abstractmethod
    def measure(self, server: Server) -> Iterator[Sample]:
        """Do the work once."""


class Spent:
    """What one stretch of work took: server CPU, and the clock."""

    cpu_s = 0.0
    wall_s = 0.0


@contextmanager
def spending(server: Server, settle: bool = True) -> Iterator[Spent]:
    """Meter a stretch of work; with `settle`, what the server still does afterwards counts as well."""
    spent = Spent()
    cpu, began = server.cpu_s(), time.perf_counter()
    yield spent
    spent.wall_s = time.perf_counter() - began
    if settle:
        server.settle()
    spent.cpu_s = server.cpu_s() - cpu


def percentile(values: list[float], share: float) -> float:
    """The value below which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latencies(values_s: list[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    return {"p50_ms": percentile(values_s, 0.5) * 1e3, "p99_ms": percentile(values_s, 0.99) * 1e3}


def timed(work: Callable[..., object], *arguments: object) -> float:
    """How long a piece of work takes."""
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began
