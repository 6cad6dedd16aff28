"""Threads by three algorithms (RFC 5256 §3), also against a plain reading of the rules, and in masses."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mstore.imap.render.threads import format_threads, outline
from mstore.mail.summary import summarize
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.orders import Orders
from mstore.store.sort import Criterion, sort_rows
from mstore.store.thread import thread_rows


def message(subject: str = "", own: str = "", references: str = "", date: str = "") -> bytes:
    lines = []
    if subject:
        lines.append(f"Subject: {subject}")
    if own:
        lines.append(f"Message-ID: <{own}@x>")
    if references:
        lines.append("References: " + " ".join(f"<{one}@x>" for one in references.split()))
    if date:
        lines.append(f"Date: {date} Jan 2020 12:00:00 +0000")
    return "\r\n".join([*lines, "", ""]).encode()


class Messages:
    """Messages as a mailbox has them, without one."""

    def __init__(self, contents: list[bytes]) -> None:
        found = [summarize(content) for content in contents]
        self.slots = [summary.slots for summary in found]
        self.columns = self
        self.full = self
        self.orders = Orders()
        self.flags = np.zeros(len(contents), np.uint64)
        self.sent_date = np.array([summary.sent_date for summary in found], np.int64)
        self.internal_date = np.arange(len(contents), dtype=np.int64)
        self.size = np.array([len(content) for content in contents], np.uint32)

    def derived(self, rows: np.ndarray, slots: tuple[int, ...]) -> list[list[bytes]]:
        return [[self.slots[row][slot] for row in rows.tolist()] for slot in slots]


def thread(algorithm: str, *contents: bytes) -> str:
    forest = thread_rows(Messages(list(contents)), np.arange(len(contents)), algorithm)
    return format_threads(outline(forest), np.arange(1, len(contents) + 1))[9:-2].decode()


def test_ordered_subject() -> None:
    assert thread("orderedsubject") == ""
    assert (
        thread(
            "orderedsubject",
            message("two", date="5"),
            message("One", date="4"),
            message("Re: one", date="2"),
            message("[x] ONE", date="3"),
            message("three", date="1"),
            message("re: Three", date="9"),
        )
        == "(5 6)(3 (4)(2))(1)"
    )


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([], ""),
        ([message("a", "1")], "(1)"),
        ([message("a", "1"), message("b", "2", "1"), message("c", "3", "1 2")], "(1 2 3)"),
        ([message("a", "1"), message("b", "2", "1"), message("c", "3", "1")], "(1 (2)(3))"),
        # A child before its parent, and a gap in the middle that is left out.
        ([message("c", "3", "1 2", "9"), message("a", "1", date="8")], "(2 1)"),
        # Two answers to what is not there; the first by date stands for both.
        ([message("b", "2", "1", "9"), message("c", "3", "1", "8")], "((2)(1))"),
        # One answer alone takes its place.
        ([message("b", "2", "1")], "(1)"),
        # Who references himself, or in a circle.
        ([message("a", "1", "1")], "(1)"),
        ([message("a", "1", "2"), message("b", "2", "1")], "(2 1)"),
        # The second message with an id is another message.
        ([message("a", "1"), message("b", "1"), message("c", "2", "1")], "(1 3)(2)"),
        # A parent from a longer list is replaced by what the message itself says.
        (
            [message("a", "1"), message("z", "3", "1 2"), message("b", "2", "4"), message("y", "4")],
            "(1)(4 3 2)",
        ),
        # Same subject, no references: by the reply, and side by side.
        ([message("a"), message("Re: a")], "(1 2)"),
        ([message("Re: a"), message("a")], "(2 1)"),
        ([message("a"), message("a")], "((1)(2))"),
        ([message("Re: a"), message("a (fwd)")], "((1)(2))"),
        ([message("a"), message("a"), message("Re: a")], "((1)(2)(3))"),
        ([message(), message()], "(1)(2)"),
        # A dummy gathers those with its subject; two dummies become one.
        ([message("a", "2", "1"), message("a", "3", "1"), message("a", "4")], "((1)(2)(3))"),
        (
            [message("a", "2", "1"), message("a", "3", "1"), message("a", "5", "4"), message("b", "6", "4")],
            "((1)(2)(3)(4))",
        ),
    ],
)  # fmt: skip
def test_references(contents: list[bytes], expected: str) -> None:
    assert thread("references", *contents) == expected


def test_refs_threads_by_ids_alone_and_has_the_newest_last() -> None:
    first, second = message("a", "1", date="9"), message("a", "2", date="1")
    assert thread("refs", first, second) == "(1)(2)"
    assert thread("refs", first, second, message("b", "3", "1", "5")) == "(2)(1 3)"
    # Within a thread it is by sent date.
    answers = [message("b", "4", "1", "8"), message("c", "5", "1", "7")]
    assert thread("refs", first, *answers) == "(1 (3)(2))"


def plain(contents: list[bytes], links: list[tuple[int, list[int]]]) -> list[int | str | None]:
    """Step 1 of REFERENCES word by word: the id of the parent of each message, None at the top."""
    owner: dict[int, int | str] = {}
    ids: list[int | str] = []
    for number, (own, _) in enumerate(links):
        unique: int | str = f"unique {number}" if own in owner else own
        owner.setdefault(own, number)
        ids.append(unique)
    parents: dict[int | str, int | str | None] = {}

    def above(one: int | str, other: int | str | None) -> bool:
        while other is not None:
            if one == other:
                return True
            other = parents.get(other)
        return False

    for one, (_, references) in zip(ids, links, strict=True):
        last: int | None = None
        for reference in references:
            if last is not None and parents.get(reference) is None and not above(reference, last):
                parents[reference] = last
            last = reference
        parents[one] = None
        if last is not None and not above(one, last):
            parents[one] = last
    real = set(ids)
    result: list[int | str | None] = []
    for one in ids:
        parent = parents.get(one)
        while parent is not None and parent not in real:
            parent = parents.get(parent)
        result.append(parent)
    return [None if parent is None else ids.index(parent) for parent in result]


@pytest.mark.parametrize("seed", range(150))
def test_links_agree_with_a_plain_reading(seed: int) -> None:
    chance = random.Random(seed)
    links = [
        (chance.randrange(12), [chance.randrange(15) for _ in range(chance.randrange(4))])
        for _ in range(chance.randrange(1, 14))
    ]
    contents = [message(f"s{i}", str(own), " ".join(map(str, refs))) for i, (own, refs) in enumerate(links)]
    forest = thread_rows(Messages(contents), np.arange(len(contents)), "refs")
    found: list[int | None] = [None] * len(contents)
    for parent, below in forest.children.items():
        for child in below:
            found[child] = parent if parent < len(contents) else None
    assert found == plain(contents, links)
    told = [*forest.roots, *[child for below in forest.children.values() for child in below]]
    assert sorted(node for node in told if node < len(contents)) == list(range(len(contents)))


@contextmanager
def mailbox_of(path: Path, contents: list[bytes]) -> Iterator[Mailbox]:
    mailbox = Mailbox.create(path / f"{9:016x}", 7)
    append(mailbox, [NewMessage(content, 5) for content in contents])
    yield mailbox
    mailbox.close()


def test_a_mailbox_is_sorted_and_threaded_by_what_it_keeps(tmp_path: Path) -> None:
    contents = [message("b", "1", date="3"), message("Re: b", "2", "1", "2"), message("a", "3")]
    with mailbox_of(tmp_path, contents) as mailbox:
        rows = np.array([0, 1, 2])
        assert sort_rows(mailbox, rows, [Criterion("subject"), Criterion("date")]).tolist() == [2, 1, 0]
        assert sort_rows(mailbox, rows, [Criterion("subject", True)]).tolist() == [0, 1, 2]
        forest = thread_rows(mailbox, rows, "references")
        assert format_threads(outline(forest), rows + 1) == b"* THREAD (3)(1 2)\r\n"


def big(count: int, shape: str) -> Messages:
    """Many messages without parsing them: only their ids matter."""
    messages = Messages([])
    chance = random.Random(1)
    texts = []
    for number in range(count):
        if shape == "mail":
            references = [chance.randrange(max(number, 1)) + 1 for _ in range(chance.randrange(4))]
        elif shape == "chain" or number < count // 2:
            references = [number] if number else []
        else:  # threads that are hung below the end of a chain
            orphan = 2 * count + number % (count // 4)
            references = [orphan] if number < count * 3 // 4 else [count // 2, orphan]
        texts.append(np.array([0, number + 1, *references], "<u8").tobytes())
    messages.slots = [(b"",) * 5 + (b"S%d" % (number % 9000), b"", text) for number, text in enumerate(texts)]
    messages.sent_date = messages.internal_date = np.arange(count, dtype=np.int64)
    return messages


@pytest.mark.parametrize("shape", ["mail", "chain"])
def test_fifty_thousand_take_no_time_and_no_stack(shape: str) -> None:
    messages = big(50_000, shape)
    for algorithm in ("orderedsubject", "references", "refs"):
        start = time.process_time()
        forest = thread_rows(messages, np.arange(50_000), algorithm)
        text = format_threads(outline(forest), np.arange(1, 50_001))
        assert time.process_time() - start < 10
        assert text.count(b"(") == text.count(b")")


def test_a_laborious_thread_lets_others_run() -> None:
    messages = big(4000, "pairs")
    beats: list[int] = []
    thread_rows(messages, np.arange(4000), "refs", lambda: beats.append(1))
    assert len(beats) > 20
