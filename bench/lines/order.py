"""SORT and THREAD: the order in which a server shows a list that a client does not hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

from bench.clients import WrongAnswer
from bench.corpus import sent_s, subject
from bench.lines.large import FirstAndAgain, Work

_TOKEN = re.compile(rb"[()]|\d+")


class Sort(FirstAndAgain):
    """SORT of the whole mailbox, by the date that headers tell, and by subject."""

    name = "sort"
    title = "SORT of 50,000"

    def works(self) -> Iterator[Work]:
        numbers = range(self.scale.messages)
        by_date = sorted(numbers, key=sent_s)
        yield Work("by date", b"SORT (DATE) UTF-8 ALL", _is(by_date), 150, 12, times=3)
        by_subject = sorted(numbers, key=_collated)
        yield Work("by subject", b"SORT (SUBJECT) UTF-8 ALL", _is(by_subject), 150, 12, times=3)


class Thread(FirstAndAgain):
    """THREAD=REFERENCES of the whole mailbox."""

    name = "thread"
    title = "THREAD=REFERENCES of 50,000"

    def works(self) -> Iterator[Work]:
        yield Work("", b"THREAD REFERENCES UTF-8 ALL", self._check, 150, 50, times=3)

    def _check(self, answer: bytes) -> None:
        """Every message once; conversations whose subjects are the same are one (RFC 5256 §3)."""
        line = next((line for line in answer.split(b"\r\n") if line.startswith(b"* THREAD")), b"")
        depth = threads = 0
        found = list[int]()
        for token in _TOKEN.findall(line):
            if token == b"(":
                threads += depth == 0
                depth += 1
            elif token == b")":
                depth -= 1
            else:
                found.append(int(token))
        numbers = range(self.scale.messages)
        expected = len({_collated(number) for number in numbers})
        if sorted(found) != [number + 1 for number in numbers] or threads != expected:
            raise WrongAnswer(f"{len(found)} messages in {threads} threads instead of {expected}")


def _collated(number: int) -> str:
    """The subject as it is compared (RFC 5051)."""
    return unicodedata.normalize("NFKD", subject(number)).upper()


def _is(numbers: list[int]) -> Callable[[bytes], None]:
    expected = [number + 1 for number in numbers]

    def check(answer: bytes) -> None:
        line = next((line for line in answer.split(b"\r\n") if line.startswith(b"* SORT")), b"")
        found = list(map(int, line.split()[2:]))
        if found != expected:
            at = next(
                (i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), -1
            )
            raise WrongAnswer(f"{len(found)} in another order, from {at}: {found[at : at + 5]}")

    return check
