"""SORT and THREAD in a mailbox that is used: what is kept of earlier answers changes none."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.imap.session import Session
from mstore.store.orders import Orders
from tests.kit.dialogue import site
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse

QUESTIONS = (
    b"SORT (SUBJECT) UTF-8 ALL",
    b"UID SORT (REVERSE FROM TO) UTF-8 UNSEEN",
    b"SORT (CC REVERSE DISPLAYFROM DISPLAYTO SIZE) UTF-8 FLAGGED",
    b"SORT (REVERSE DATE) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 ALL",
    b"UID THREAD REFERENCES UTF-8 ALL",
    b"THREAD REFS UTF-8 UNSEEN",
    b"UID THREAD ORDEREDSUBJECT UTF-8 FLAGGED",
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with site(tmp_path, {}) as host:
        yield host


def letter(chance: random.Random, number: int) -> bytes:
    word = chance.choice(("", "Re: ")) + chance.choice(("one", "two", "apfel", "Äpfel", ""))
    references = " ".join(f"<{chance.randrange(number + 3)}@x>" for _ in range(chance.randrange(3)))
    return (
        f"Subject: {word}\r\nMessage-ID: <{number}@x>\r\nReferences: {references}\r\n"
        f"Date: {chance.randrange(28) + 1} Jan 2020 12:00:00 +0000\r\n"
        f"From: {chance.choice('xyz')} <{chance.choice('abc')}@d>\r\nTo: {chance.choice('abc')}@d\r\n\r\n"
    ).encode()


def change(chance: random.Random, numbers: Iterator[int]) -> bytes:
    """A few commands of a client."""
    kind = chance.randrange(4)
    if kind == 0:
        message = letter(chance, next(numbers))
        return b"x APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message)
    if kind == 1:
        return b"x UID STORE %d +FLAGS (\\Deleted)\r\nx EXPUNGE\r\n" % chance.randrange(1, 60)
    flag = chance.choice((b"\\Seen", b"\\Flagged"))
    return b"x STORE %d %sFLAGS.SILENT (%s)\r\n" % (chance.randrange(1, 9), chance.choice((b"+", b"-")), flag)


def answers(host: MailHost, commands: bytes) -> list[bytes]:
    said = converse(Session, host.service(), b"a LOGIN joe secret\r\na SELECT INBOX\r\n" + commands)
    return [line for line in said.split(b"\r\n") if line.startswith((b"* SORT", b"* THREAD"))]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_changes_no_answer(host: MailHost, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    numbers = iter(range(1, 1000))
    first = [letter(chance, next(numbers)) for _ in range(30)]
    answers(host, b"x APPEND INBOX" + b"".join(b" {%d+}\r\n%s" % (len(one), one) for one in first) + b"\r\n")
    questions = b"".join(b"q " + question + b"\r\n" for question in QUESTIONS)
    for _ in range(12):
        # Changed beside the questions in one session, and then by another one.
        kept = answers(host, questions + change(chance, numbers) + questions)
        kept += answers(host, change(chance, numbers) + questions)
        assert len(kept) == 3 * len(QUESTIONS)
        with monkeypatch.context() as patch:
            patch.setattr(Orders, "get", lambda *_: None)
            assert answers(host, questions) == kept[-len(QUESTIONS) :]


def test_as_many_messages_may_be_others(host: MailHost) -> None:
    def append(subject: bytes) -> bytes:
        message = b"Subject: %s\r\n\r\n" % subject
        return b"x APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message)

    exchange = append(b"two") + b"x UID STORE 1 +FLAGS (\\Deleted)\r\nx EXPUNGE\r\n"
    ask = b"q THREAD REFERENCES UTF-8 ALL\r\nq UID THREAD ORDEREDSUBJECT UTF-8 UNSEEN\r\n"
    store = b"x STORE %d %sFLAGS (\\Seen)\r\n"
    assert answers(
        host,
        append(b"one") + append(b"two") + append(b"two") + store % (1, b"+") + ask
        + exchange + ask
        + store % (3, b"+") + ask
        + store % (1, b"+") + store % (3, b"-") + ask,
    ) == [
        b"* THREAD (1)((2)(3))", b"* THREAD (2 3)",
        b"* THREAD ((1)(2)(3))", b"* THREAD (2 (3)(4))",
        b"* THREAD ((1)(2)(3))", b"* THREAD (2 3)",
        b"* THREAD ((1)(2)(3))", b"* THREAD (3 4)",
    ]  # fmt: skip


def test_asked_again_nothing_is_read(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    for number in range(1, 6):
        message = letter(chance, number)
        answers(host, b"x APPEND INBOX {%d+}\r\n%s\r\n" % (len(message), message))
    questions = b"".join(
        b"q %s\r\n" % question for question in QUESTIONS if b"ALL" in question or b"UNSEEN" in question
    )
    before = answers(host, questions)

    def refuse(*_: object) -> None:
        raise AssertionError("derived texts are read again")

    monkeypatch.setattr("mstore.store.mailbox.Mailbox.derived", refuse)
    assert answers(host, questions) == before
