"""A working day in small: many sessions that do all kinds of things at a given rate, while mail comes in.

Both servers get the same commands at the same times, whether they are quick or not; so CPU is compared for
the same work, and what a command waits for is not the client's own queue.
"""

from __future__ import annotations

import random
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.clients import Imap, WrongAnswer, expect
from bench.corpus import message
from bench.lines.base import CPU, LATENCY, Line, Sample, latencies, percentile, spending, timed
from bench.servers import Server

SESSIONS = 200
COMMANDS_PER_S, DELIVERIES_PER_S = 400, 50
LANES = 4
MESSAGES, SIZE, LISTED = 200, 4096, 30
OTHER = "other"

Request = tuple[bytes, bytes, int]
"""A command, and what must be in its answer so many times (0: at least once)."""


def _list(chance: random.Random) -> Request:
    first = chance.randint(1, MESSAGES - LISTED)
    items = b"(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
    return b"FETCH %d:%d %s" % (first, first + LISTED - 1, items), b"ENVELOPE (", LISTED


def _read(chance: random.Random) -> Request:
    number = chance.randrange(MESSAGES)
    return b"FETCH %d (BODY.PEEK[])" % (number + 1), b"\r\nMessage-ID: <%d.%d@" % (number, SIZE), 1


def _flag(chance: random.Random) -> Request:
    sign = chance.choice((b"+", b"-"))
    return b"STORE %d %sFLAGS (\\Seen)" % (chance.randint(1, MESSAGES), sign), b" OK ", 1


def _append(chance: random.Random) -> Request:
    text = message(chance.randrange(MESSAGES), SIZE)
    return b"APPEND %s (\\Seen) {%d+}\r\n%s" % (OTHER.encode(), len(text), text), b"APPENDUID", 1


KINDS: tuple[tuple[str, int, Callable[[random.Random], Request]], ...] = (
    ("NOOP", 3, lambda _: (b"NOOP", b"", 0)),
    ("FETCH of 30 envelopes", 4, _list),
    ("FETCH of a message", 4, _read),
    ("STORE", 4, _flag),
    ("SEARCH UNSEEN", 2, lambda _: (b"SEARCH UNSEEN", b"* SEARCH", 1)),
    ("STATUS", 2, lambda _: (b"STATUS %s (MESSAGES UNSEEN)" % OTHER.encode(), b"* STATUS", 1)),
    ("APPEND of 4 KB", 1, _append),
)


@dataclass(slots=True)
class _Session:
    """A connection with one command at a time."""

    client: Imap
    tag: bytes = b""
    kind: str = ""
    mark: bytes = b""
    marks: int = 0
    began: float = 0.0
    answer: list[bytes] = field(default_factory=list)

    def send(self, kind: str, request: Request) -> None:
        command, self.mark, self.marks = request
        self.kind, self.answer = kind, []
        self.began = time.perf_counter()
        self.tag = self.client.start(command)

    def take(self) -> bool:
        """Read what has come; true when it is the end of the answer, which must be right."""
        self.answer.append(self.client.receive())
        if not self.answer[-1].endswith(b"\n"):
            return False
        whole = b"".join(self.answer)
        last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        if not last.startswith(self.tag + b" "):
            return False
        expect(last, self.tag + b" OK")
        found = whole.count(self.mark)
        if not found or (self.marks and found != self.marks):
            raise WrongAnswer(f"{self.kind}: {found} times {self.mark!r}: {whole[:300]!r}")
        return True


class Mixed(Line):
    """Sessions of fifty users, seven kinds of commands, and deliveries to the same users."""

    name = "mixed"
    title = "mixed load, 200 sessions, 50 deliveries/s"

    def prepare(self, server: Server) -> None:
        for user in self._users(server):
            client = server.imap(user)
            client.command(b"CREATE " + OTHER.encode())
            client.append_all(message(number, SIZE) for number in range(MESSAGES))
            client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        users = self._users(server)
        sessions, before = list[_Session](), dict[str, int]()
        for number in range(min(SESSIONS, self.scale.sessions)):
            user = users[number % len(users)]
            client = server.imap(user)
            before[user] = client.select()
            sessions.append(_Session(client))
        server.settle()
        waits = {kind: list[float]() for kind, _, _ in KINDS}
        deliveries = _Deliveries(server, users, self.scale.mixed_s)
        with spending(server) as spent:
            deliveries.start()
            self._commands(sessions, waits)
            waits["delivery"] = deliveries.finish()
        for session in sessions:
            session.client.logout()
        self._arrived(server, before, len(waits["delivery"]))
        commands = [wait for kind, _, _ in KINDS for wait in waits[kind]]
        count = len(commands) + len(waits["delivery"])
        yield Sample("per command or delivery", CPU, spent.cpu_s * 1e3 / count, 0.3)
        yield Sample("commands, p99", LATENCY, percentile(commands, 0.99) * 1e3, 7.0, latencies(commands))
        for kind, each in waits.items():
            yield Sample(f"{kind}, p99", LATENCY, percentile(each, 0.99) * 1e3, None, latencies(each))

    def _users(self, server: Server) -> list[str]:
        mixed = [user for user in server.users if user.startswith("mix")]
        return mixed[: max(1, self.scale.sessions // 4)]

    def _commands(self, sessions: list[_Session], waits: dict[str, list[float]]) -> None:
        """Send at the planned times, each by the session that has waited longest."""
        chance = random.Random(len(sessions))
        count = int(COMMANDS_PER_S * self.scale.mixed_s * len(sessions) / SESSIONS)
        weights = [weight for _, weight, _ in KINDS]
        plan = [(kind, make(chance)) for kind, _, make in chance.choices(KINDS, weights, k=count)]
        step_s = self.scale.mixed_s / count
        idle, sent, answered = list(reversed(sessions)), 0, 0
        began = time.perf_counter()
        with selectors.EpollSelector() as selector:
            for session in sessions:
                selector.register(session.client, selectors.EVENT_READ, session)
            while answered < count:
                due_s = began + sent * step_s - time.perf_counter()
                if sent < count and idle and due_s <= 0:
                    session = idle.pop()
                    session.send(*plan[sent])
                    sent += 1
                    continue
                ready = selector.select(60.0 if sent == count or not idle else due_s)
                if not ready and sent == count:
                    raise WrongAnswer(f"{count - answered} commands were not answered")
                now = time.perf_counter()
                for key, _ in ready:
                    if key.data.take():
                        waits[key.data.kind].append(now - key.data.began)
                        idle.insert(0, key.data)
                        answered += 1

    @staticmethod
    def _arrived(server: Server, before: dict[str, int], count: int) -> None:
        """All that was delivered is there."""
        found = 0
        for user, had in before.items():
            client = server.imap(user)
            found += client.select() - had
            client.logout()
        if found != count:
            raise WrongAnswer(f"{found} messages came of {count}")


class _Deliveries:
    """Deliveries at their times, by a few connections."""

    def __init__(self, server: Server, users: list[str], limit_s: float) -> None:
        self._clients = [server.lmtp() for _ in range(LANES)]
        self._users, self._count = users, int(DELIVERIES_PER_S * limit_s)
        self._texts = [message(MESSAGES + number, SIZE) for number in range(self._count)]
        self._waits, self._failures = list[float](), list[BaseException]()
        self._threads = [threading.Thread(target=self._lane, args=(lane,)) for lane in range(LANES)]

    def start(self) -> None:
        self._began = time.perf_counter()
        for thread in self._threads:
            thread.start()

    def finish(self) -> list[float]:
        """Wait for the last; gives what each took."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        for client in self._clients:
            client.quit()
        return self._waits

    def _lane(self, lane: int) -> None:
        try:
            for number in range(lane, self._count, LANES):
                due_s = self._began + number / DELIVERIES_PER_S - time.perf_counter()
                if due_s > 0:
                    time.sleep(due_s)
                user = self._users[number % len(self._users)]
                self._waits.append(timed(self._clients[lane].deliver, [user], self._texts[number]))
        except BaseException as failure:
            self._failures.append(failure)
