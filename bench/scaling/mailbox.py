"""Larger and larger mailboxes: what one small operation costs in each."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from bench.clients import Imap, WrongAnswer
from bench.corpus import message
from bench.lines.base import CPU, LATENCY, Line, Sample, latencies, percentile, spending, timed
from bench.lines.idle import until_exists
from bench.servers import Server

USER = "grow"
MADE, COPIED = 1000, 100_000
"""So many messages are appended; the others are copied from those that are there, so many at a time."""
UNSEEN = 100
SIZE = 8192
TIDYING_S = 3.0


class MailboxSize(Line):
    """At each step: SELECT, a fetch, a change of flags, an append, and telling a session that waits."""

    name = "mailbox"
    title = "one operation in a mailbox"
    axis = "messages in the mailbox"

    def prepare(self, server: Server) -> None:
        client = server.imap(USER)
        for count in self.scale.steps_mailbox:
            name = _name(count)
            client.command(b"CREATE " + name.encode())
            client.append_all(map(small, range(min(MADE, count))), True, name)
            had = client.select(name)
            while had < count:
                more = min(had, count - had, COPIED)
                client.command(b"COPY 1:%d %s" % (more, name.encode()))
                had += more
            client.command(b"STORE 1:%d +FLAGS.SILENT (\\Seen)" % (count - UNSEEN))
        client.logout()
        if self.scale.pristine:
            self._let_tidy(server)

    def _let_tidy(self, server: Server) -> None:
        """Let the server do what it does some time after so much has come: it is no part of what follows."""
        server.restart()
        client = server.imap(USER)
        for count in self.scale.steps_mailbox:
            client.select(_name(count))
            client.command(b"STORE 1 +FLAGS.SILENT (\\Flagged)")
            time.sleep(TIDYING_S)
        client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        self.fresh(server)
        for count in self.scale.steps_mailbox:
            yield from self._step(server, count)

    def _step(self, server: Server, count: int) -> Iterator[Sample]:
        tries, name = self.scale.repeats * 40, _name(count)
        chance = random.Random(count)
        client = server.imap(USER)
        server.settle()
        with spending(server) as spent:
            if client.select(name) < count:
                raise WrongAnswer(f"{name} has less than {count} messages")
        yield Sample("SELECT, the first", CPU, spent.cpu_s * 1e3, None, latencies([spent.wall_s]), count)

        def fetch(_: int) -> None:
            number = chance.randrange(count)
            answer = client.command(b"FETCH %d (UID BODY.PEEK[])" % (number + 1))
            if b"\r\nMessage-ID: <" not in answer or b" FETCH (UID " not in answer:
                raise WrongAnswer(repr(answer[:300]))

        def flag(turn: int) -> None:
            sign = b"-" if turn % 2 else b"+"
            answer = client.command(b"STORE %d %sFLAGS (\\Flagged)" % (count // 2, sign))
            if (b"\\Flagged" in answer) != (sign == b"+"):
                raise WrongAnswer(repr(answer[:300]))

        text = message(1, SIZE)
        for what, work in (
            ("FETCH of one message", fetch),
            ("STORE of one flag", flag),
            ("APPEND of 8 KB", lambda _: client.append(text, name)),
        ):
            yield _each(server, what, work, tries, count)
        yield self._told(server, client, name, count)
        client.logout()

    def _told(self, server: Server, client: Imap, name: str, count: int) -> Sample:
        """How long another session in IDLE waits to be told of a message that was acknowledged."""
        other = server.imap(USER)
        other.select(name)
        other.idle()
        delays, text = list[float](), message(1, SIZE)
        for _ in range(self.scale.repeats * 4):
            client.append(text, name)
            delays += until_exists([other], time.perf_counter())
            time.sleep(0.05)
        other.close()
        return Sample(
            "told in IDLE of an APPEND, p99",
            LATENCY,
            percentile(delays, 0.99) * 1e3,
            None,
            latencies(delays),
            count,
        )


def _each(server: Server, what: str, work: Callable[[int], None], tries: int, count: int) -> Sample:
    work(1)
    server.settle()
    with spending(server) as spent:
        times = [timed(work, turn) for turn in range(tries)]
    return Sample(what, CPU, spent.cpu_s * 1e3 / tries, None, latencies(times), count)


def _name(count: int) -> str:
    return f"size{count}"


def small(number: int) -> bytes:
    """A message of some 300 bytes."""
    return (
        f"From: Anna Berg <anna{number}@bench.example>\r\nTo: bruno@bench.example\r\n"
        f"Subject: number {number}\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        f"Message-ID: <{number}@bench.example>\r\n\r\n{'x' * 100}\r\n"
    ).encode()
