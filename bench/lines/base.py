"""What a line is: work done on one server in one round, giving samples; the servers take turns."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.servers import Server

CPU, MEMORY, LATENCY, RATE, REST = "ms CPU", "KB", "ms", "/s", "ms CPU per s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much work: the full measure, or a few seconds of it to see that everything still runs."""

    messages: int
    sessions: int
    deliveries: int
    logins: int
    appends: int
    repeats: int
    mailboxes: int
    mixed_s: float
    rest_s: float
    pristine: bool
    """Whether what is measured "first" begins with servers restarted and a mailbox put back."""
    steps_sessions: tuple[int, ...]
    steps_mailbox: tuple[int, ...]
    steps_message: tuple[int, ...]
    share: int
    """This part of the messages of each size."""


FULL = Scale(
    messages=50_000,
    sessions=500,
    deliveries=2_000,
    logins=1_000,
    appends=1_000,
    repeats=5,
    mailboxes=1_000,
    mixed_s=20.0,
    rest_s=10.0,
    pristine=True,
    steps_sessions=(1, 10, 100, 1_000, 10_000),
    steps_mailbox=(1_000, 10_000, 100_000, 1_000_000),
    steps_message=(1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000),
    share=1,
)
QUICK = Scale(
    messages=500,
    sessions=40,
    deliveries=60,
    logins=40,
    appends=40,
    repeats=2,
    mailboxes=50,
    mixed_s=2.0,
    rest_s=0.5,
    pristine=False,
    steps_sessions=(1, 10, 40),
    steps_mailbox=(200, 2_000),
    steps_message=(1_000, 100_000, 1_000_000),
    share=10,
)


@dataclass(slots=True)
class Sample:
    """One figure of one round."""

    what: str
    unit: str
    value: float
    aim: float | None = None
    more: dict[str, float] = field(default_factory=dict)
    at: float | None = None
    """Of a line that is measured at several sizes: which."""


class Line(ABC):
    """One kind of work."""

    name = ""
    title = ""
    axis = ""
    """What `at` of its samples counts."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale

    def prepare(self, server: Server) -> None:  # noqa: B027 - most lines need none
        """Bring the server's mail into the state the work starts from; not measured, once."""

    def fresh(self, server: Server) -> None:
        """Servers restarted, so that nothing is left of other work; not done to see that everything runs."""
        if self.scale.pristine:
            server.restart()

    @abstractmethod
    def measure(self, server: Server) -> Iterator[Sample]:
        """Do the work once."""


class Spent:
    """What one stretch of work took: server CPU, and the clock."""

    cpu_s = 0.0
    wall_s = 0.0


@contextmanager
def spending(server: Server, settle: bool = True) -> Iterator[Spent]:
    """Meter a stretch of work; with `settle`, what the server still does afterwards counts as well.

    What it spends in that time by being there, whether it is asked or not, is taken off.
    """
    spent = Spent()
    cpu, began = server.cpu_s(), time.perf_counter()
    yield spent
    spent.wall_s = time.perf_counter() - began
    if settle:
        server.settle()
    at_rest_s = server.rest_share * (time.perf_counter() - began)
    spent.cpu_s = max(0.0, server.cpu_s() - cpu - at_rest_s)


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
