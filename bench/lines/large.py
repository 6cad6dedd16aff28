"""The mailboxes of one user that lines share: filled once, through APPEND, and put aside.

INBOX has fifty thousand messages of 2 KB, four fifths of them seen; TEXT two thousand of 8 KB and more, of
which one in a hundred holds a word that no other has.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.clients import Imap
from bench.corpus import internal_date, message
from bench.lines.base import CPU, Line, Sample, Scale, latencies, spending, timed
from bench.servers import Server

USER = "large"
SIZE = 2000
BATCH = 500
TEXT = "text"
RARE_WORD, RARE_EVERY = b"quetzal", 100


@dataclass(frozen=True, slots=True)
class Work:
    """One command, and how its answer is checked: `check` raises WrongAnswer."""

    what: str
    command: bytes
    check: Callable[[bytes], None]
    aim_first_ms: float | None
    aim_again_ms: float | None
    mailbox: str = "INBOX"
    times: int = 1
    """How often it is done in each later session: what is short is done often, to be seen."""
    settle: bool = True
    """Whether what the server does after the answer counts; not of what is so short that it would be lost."""


class InLarge(Line):
    """Work in these mailboxes."""

    def prepare(self, server: Server) -> None:
        fill(server, self.scale)


class FirstAndAgain(InLarge):
    """Commands that are measured in a mailbox nobody has looked at before, and then again in new sessions."""

    @abstractmethod
    def works(self) -> Iterator[Work]:
        """What is done, each from the beginning."""

    def measure(self, server: Server) -> Iterator[Sample]:
        for work in self.works():
            refresh(server, self.scale)
            first_s, waited = _session(server, work, 1)
            sessions = [_session(server, work, work.times) for _ in range(2)]
            again_s = min(cpu_s for cpu_s, _ in sessions)
            waits = [wait for _, each in sessions for wait in each]
            prefix = f"{work.what}, " if work.what else ""
            yield Sample(f"{prefix}first", CPU, first_s * 1e3, work.aim_first_ms, latencies(waited))
            yield Sample(f"{prefix}again", CPU, again_s * 1e3, work.aim_again_ms, latencies(waits))


def _session(server: Server, work: Work, times: int) -> tuple[float, list[float]]:
    """Server CPU per command, and what each took, in a session of their own."""
    client = server.imap(USER)
    client.select(work.mailbox)
    server.settle()
    answers, waits = list[bytes](), list[float]()
    with spending(server, work.settle) as spent:
        for _ in range(times):
            waits.append(timed(lambda: answers.append(client.command(work.command))))
    client.logout()
    for answer in answers:
        work.check(answer)
    return spent.cpu_s / times, waits


def texts(scale: Scale) -> int:
    """How many messages TEXT has."""
    return scale.messages // 25


def fill(server: Server, scale: Scale) -> None:
    """Fill through the server's own door, set flags as people do; stop, save, start again. Done once."""
    if USER in server.filled:
        return
    server.filled.add(USER)
    client = server.imap(USER)
    client.command(b"CREATE " + TEXT.encode())
    _fill(client, "INBOX", scale.messages, lambda number: message(number, SIZE))
    _fill(client, TEXT, texts(scale), _text)
    count = client.select()
    if count != scale.messages:
        raise AssertionError(f"{count} messages instead of {scale.messages}")
    client.command(b"UID STORE 1:%d +FLAGS.SILENT (\\Seen)" % seen(scale))
    every = b",".join(b"%d" % uid for uid in range(1, scale.messages + 1, 23))
    client.command(b"UID STORE %s +FLAGS.SILENT (\\Answered)" % every)
    every = b",".join(b"%d" % uid for uid in range(1, scale.messages + 1, 61))
    client.command(b"UID STORE %s +FLAGS.SILENT (\\Flagged $Label1)" % every)
    client.logout()
    if scale.pristine:
        server.stop()
        server.save_mail(USER)
        server.start()


def seen(scale: Scale) -> int:
    """So many messages, the oldest, are seen."""
    return scale.messages * 8 // 10


def _fill(client: Imap, mailbox: str, count: int, make: Callable[[int], bytes]) -> None:
    for start in range(0, count, BATCH):
        numbers = range(start, min(count, start + BATCH))
        client.append_all(map(make, numbers), True, mailbox, map(internal_date, numbers))


def _text(number: int) -> bytes:
    made = message(number, 8192 * (1 + number % 5 // 4) + 512 * (number % 7))
    if number % RARE_EVERY == 7:
        made = made.replace(b"7bit\r\n\r\n", b"7bit\r\n\r\nthe %s is a bird\r\n" % RARE_WORD, 1)
    return made


def refresh(server: Server, scale: Scale) -> None:
    """The mailboxes as they were after they were filled; nothing that reading them has cached since.

    To see that everything runs this is left out: a start takes seconds.
    """
    if not scale.pristine:
        return
    server.stop()
    server.restore_mail(USER)
    server.start()
    client = server.imap(USER)
    client.logout()
