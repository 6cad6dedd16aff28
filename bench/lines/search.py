"""SEARCH: by flag, by date, by what headers say, by text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.clients import WrongAnswer
from bench.corpus import arrived_s, sender, subject
from bench.lines import large
from bench.lines.large import FirstAndAgain, Work

DAY_S = 86_400
NAME, WORD = ("Irene", "Lund"), "invoice"


class Search(FirstAndAgain):
    """Four searches of the large mailbox, each of them first, and again."""

    name = "search"
    title = "SEARCH in 50,000"

    def works(self) -> Iterator[Work]:
        count = self.scale.messages
        all_numbers = range(count)
        since_s = arrived_s(count * 3 // 4) // DAY_S * DAY_S
        day = time.strftime("%d-%b-%Y", time.gmtime(since_s)).encode()
        address = ".".join(NAME).lower().encode()
        unseen = range(large.seen(self.scale), count)
        yield Work("UNSEEN", b"SEARCH UNSEEN", _finds(unseen), 0.5, 0.5, times=10, settle=False)
        found = [number for number in all_numbers if arrived_s(number) >= since_s]
        yield Work("SINCE", b"SEARCH SINCE %s" % day, _finds(found), 0.5, 0.5, times=10, settle=False)
        found = [number for number in all_numbers if sender(number) == NAME]
        yield Work("FROM", b'SEARCH FROM "%s@"' % address, _finds(found), 40, 40, times=10)
        found = [number for number in all_numbers if WORD in subject(number).lower()]
        yield Work("SUBJECT", b'SEARCH SUBJECT "%s"' % WORD.encode(), _finds(found), 40, 40, times=10)


class SearchText(FirstAndAgain):
    """SEARCH TEXT of a word that few messages have."""

    name = "text"
    title = "SEARCH TEXT in 2,000 messages of 8 KB and more"

    def works(self) -> Iterator[Work]:
        found = range(7, large.texts(self.scale), large.RARE_EVERY)
        command = b'SEARCH TEXT "%s"' % large.RARE_WORD
        yield Work("", command, _finds(found), 120, 120, large.TEXT, times=3)


def _finds(numbers: range | list[int]) -> Callable[[bytes], None]:
    """The answer must name these messages, and no others."""
    expected = {number + 1 for number in numbers}

    def check(answer: bytes) -> None:
        found = next((line for line in answer.split(b"\r\n") if line.startswith(b"* SEARCH")), b"")
        numbers = set(map(int, found.split()[2:]))
        if numbers != expected:
            wrong = sorted(numbers ^ expected)[:10]
            raise WrongAnswer(f"{len(numbers)} found instead of {len(expected)}, wrong are {wrong}")

    return check
