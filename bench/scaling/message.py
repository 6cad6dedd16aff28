"""Larger and larger messages: what storing and reading them costs, per megabyte."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import WrongAnswer
from bench.corpus import message
from bench.lines.base import CPU, Line, Sample, latencies, spending, timed
from bench.servers import Server

USER = "bodies"
MOST, MOST_BYTES = 200, 100_000_000
"""At each size so many messages, or as many as make so many bytes; two at least."""
MARK = b"7bit\r\n\r\n"


class MessageSize(Line):
    """At each step: APPEND one at a time, and FETCH of each, which must be what was stored."""

    name = "message"
    title = "one message"
    axis = "bytes of the message"

    def measure(self, server: Server) -> Iterator[Sample]:
        for size in self.scale.steps_message:
            yield from self._step(server, size)

    def _step(self, server: Server, size: int) -> Iterator[Sample]:
        name = f"size{size}"
        count = max(2, min(MOST, MOST_BYTES // size) // self.scale.share)
        texts = [sized(number, size) for number in range(min(count, 8))]
        client = server.imap(USER)
        client.command(b"CREATE " + name.encode())
        client.select(name)

        def append(number: int) -> None:
            client.append(texts[number % len(texts)], name)

        def fetch(number: int) -> None:
            answer = client.command(b"FETCH %d (BODY.PEEK[])" % (number + 1))
            if texts[number % len(texts)] not in answer:
                raise WrongAnswer(f"message {number + 1} of {size} bytes is not what was stored")

        megabytes = sum(len(texts[number % len(texts)]) for number in range(count)) / 1e6
        for what, work in (("APPEND", append), ("FETCH", fetch)):
            server.settle()
            with spending(server) as spent:
                times = [timed(work, number) for number in range(count)]
            cpu_ms, waits = spent.cpu_s * 1e3, latencies(times)
            yield Sample(f"{what}, per message", CPU, cpu_ms / count, None, waits, size)
            yield Sample(f"{what}, per MB", CPU, cpu_ms / megabytes, None, {}, size)
            client.command(b"NOOP")
        client.command(b"UNSELECT")
        client.command(b"DELETE " + name.encode())
        client.logout()


def sized(number: int, size: int) -> bytes:
    """A message of nearly that size; a large one repeats some of its text."""
    made = message(number, min(size, 100_000))
    at = made.index(MARK) + len(MARK)
    filler = made[at : made.index(b"\r\n--", at)] + b"\r\n"
    return made[:at] + filler * ((size - len(made)) // len(filler)) + made[at:] if size > len(made) else made
