"""Reading many messages of another server: what it may answer, and how it may fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from mstore.base.numset import parse_numset
from mstore.moving.fetching import Fetch, Fetched, list_uids

Answer = Callable[[bytes, list[int]], bytes]


class Server:
    """What IMAPClient has beneath it: a connection to a server whose answers a function makes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._out = BytesIO()
        self.asked: list[list[int]] = []
        self.most_ahead = 0
        self._waiting: list[bytes] = []

    @property
    def _imap(self) -> Server:
        return self

    def _new_tag(self) -> bytes:
        return b"T%d" % len(self.asked)

    def send(self, data: bytes) -> None:
        found = re.fullmatch(rb"(T\d+) UID FETCH ([\d:,*]+) \((.*)\)\r\n", data)
        assert found is not None, data
        uids = [n for low, high in parse_numset(found[2]).ranges for n in range(low, high + 1) if high]
        self.asked.append(uids)
        self._waiting.append(self._answer(found[1], uids))
        self.most_ahead = max(self.most_ahead, len(self._waiting))

    def _next(self) -> None:
        if self._out.tell() == len(self._out.getvalue()) and self._waiting:
            self._out = BytesIO(self._waiting.pop(0))

    def readline(self) -> bytes:
        self._next()
        return self._out.readline()

    def read(self, size: int) -> bytes:
        return self._out.read(size)


def told(uid: int, body: bytes = b"text\r\n") -> bytes:
    items = b'UID %d FLAGS (\\Seen a) INTERNALDATE "09-Sep-2001 01:46:40 +0000" BODY[] {%d}' % (
        uid,
        len(body),
    )
    return b"* 1 FETCH (%b\r\n%b)\r\n" % (items, body)


def run(uids: list[int], answer: Answer) -> tuple[list[Fetched], Server, Fetch]:
    server: Any = Server(answer)
    fetch = Fetch(uids)
    return list(fetch.run(server)), server, fetch


def read_one(response: bytes) -> Fetched:
    [found], _, _ = run([7], lambda tag, uids: response + tag + b" OK done\r\n")
    return found


def test_many_messages_are_asked_for_at_once_and_one_command_at_a_time() -> None:
    uids = list(range(1, 1001))
    found, server, fetch = run(uids, lambda tag, uids: b"".join(map(told, uids)) + tag + b" OK done\r\n")
    assert [each.uid for each in found] == uids and not fetch.left
    assert {each[1:] for each in found} == {((rb"\Seen", b"a"), 1_000_000_000, b"text\r\n", None)}
    assert server.most_ahead == 1 and len(server.asked) == 2
    assert [uid for asked in server.asked for uid in asked] == uids


@pytest.mark.parametrize(
    "items",
    [
        b'BODY[] {6}\r\ntext\r\n UID 7 INTERNALDATE " 9-Sep-2001 03:46:40 +0200" FLAGS (\\Seen a)',
        b'UID 7 MODSEQ (2) FLAGS (\\Seen a) BODY[] {6}\r\ntext\r\n INTERNALDATE "09-Sep-2001 01:46:40 +0000"',
        b'flags (\\Seen a) uid 7 internaldate "08-Sep-2001 20:16:40 -0530" body[] {5}\r\ntext\n',
    ],
)
def test_the_order_of_items_is_free_and_there_may_be_others(items: bytes) -> None:
    found = read_one(b"* OK still here {5}\r\n* 9 FETCH (FLAGS (x))\r\n* 4 FETCH (%b)\r\n" % items)
    assert found == Fetched(7, (rb"\Seen", b"a"), 1_000_000_000, b"text\r\n")


@pytest.mark.parametrize(
    "body, content", [(b'"a b"', b"a b"), (b"NIL", b""), (b"{0}\r\n", b""), (b'""', b"")]
)
def test_bodies_that_are_no_literals(body: bytes, content: bytes) -> None:
    found = read_one(
        b'* 4 FETCH (UID 7 FLAGS () INTERNALDATE "09-Sep-2001 01:46:40 +0000" BODY[] %b)\r\n' % body
    )
    assert found == Fetched(7, (), 1_000_000_000, content)


def test_a_message_within_a_message_that_looks_like_a_response() -> None:
    body = b"T1 OK done\r\n* BYE\r\n{9}\r\n* 1 FETCH (UID 8 BODY[] {1}\r\n"
    assert read_one(told(7, body)).content == body


def test_of_a_portion_that_is_refused_each_is_asked_for_alone() -> None:
    def answer(tag: bytes, uids: list[int]) -> bytes:
        bad = 3 in uids
        came = [told(uid) for uid in uids if uid < 3 or not bad]
        return b"".join(came) + tag + (b" NO damaged\r\n" if bad else b" OK done\r\n")

    found, server, fetch = run([1, 2, 3, 4, 5], answer)
    assert [(each.uid, each.refusal) for each in found] == [
        (1, None), (2, None), (3, "NO damaged"), (4, None), (5, None),
    ]  # fmt: skip
    assert server.asked == [[1, 2, 3, 4, 5], [3], [4], [5]] and not fetch.left


def test_what_is_expunged_meanwhile_is_gone() -> None:
    found, _, fetch = run([1, 2, 3], lambda tag, uids: told(1) + told(3) + tag + b" OK done\r\n")
    assert [each.uid for each in found] == [1, 3] and not fetch.left


@pytest.mark.parametrize(
    "end", [b"", b"* BYE too slow\r\n", b"* 1 FETCH (UID 2 BODY[] {10}\r\nte", b"* 1 FET"]
)
def test_what_is_left_when_the_connection_ends(end: bytes) -> None:
    server: Any = Server(lambda tag, uids: told(1) + end)
    fetch = Fetch([1, 2, 3])
    messages = fetch.run(server)
    assert next(messages).uid == 1
    with pytest.raises(IMAPClientAbortError):
        next(messages)
    assert list(fetch.left) == [2, 3]
    again: Any = Server(lambda tag, uids: b"".join(map(told, uids)) + tag + b" OK\r\n")
    assert [each.uid for each in fetch.run(again)] == [2, 3]


def test_the_uids_of_a_mailbox() -> None:
    server: Any = Server(
        lambda tag, _: (
            b"* 2 FETCH (UID 9)\r\n* 1 FETCH (FLAGS ())\r\n* 1 FETCH (UID 4 FLAGS ())\r\n" + tag + b" OK\r\n"
        )
    )
    assert list_uids(server) == [4, 9]
    refusing: Any = Server(lambda tag, _: tag + b" NO not now\r\n")
    with pytest.raises(IMAPClientError, match="not now"):
        list_uids(refusing)


def test_the_order_stays_where_a_portion_is_refused() -> None:
    uids = list(range(1, 451))

    def answer(tag: bytes, asked: list[int]) -> bytes:
        if len(asked) > 1 and 150 in asked:
            return b"".join(map(told, asked[:10])) + tag + b" NO not now\r\n"
        return b"".join(map(told, asked)) + tag + b" OK done\r\n"

    found, _, fetch = run(uids, answer)
    assert [each.uid for each in found] == uids and not fetch.left
