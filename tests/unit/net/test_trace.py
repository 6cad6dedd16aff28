"""A trace's bounds, and what a stream tells its taps."""

from __future__ import annotations

import pytest

from mstore.net.stream import LineTooLong, Stream
from mstore.net.trace import ENTRY_COST_BYTES, LINE_BYTES, PIECE_BYTES, QUEUE_BYTES, Tap, Trace
from tests.kit.scripted import ScriptedTransport
from tests.kit.watching import Watching


class PlainTap(Tap):
    """Shows everything."""

    has_literals = True

    def judge(self, line: bytes, has_content: bool) -> bytes:
        self.begin_command()
        return b"(rest) " + line if has_content else line


class Talk:
    """What has a stream, as sessions do."""

    def __init__(self, *pieces: bytes) -> None:
        self.transport = ScriptedTransport(pieces)
        self.stream = Stream(self.transport)


def watch(talk: Talk, in_step: bool = True, whole: bool = False, content_bytes: int = 10) -> Watching:
    watching = Watching(PlainTap, whole=whole, content_bytes=content_bytes)
    watching.attach(talk, in_step)
    return watching


def test_a_trace_that_nobody_takes_is_bounded_and_says_what_is_lost() -> None:
    watching = Watching(PlainTap)
    entry = {"text": "x" * 700, "direction": "note"}
    for _ in range(10_000):
        watching.trace.put(dict(entry))
    kept = QUEUE_BYTES // (700 + ENTRY_COST_BYTES)
    assert watching.woken == kept
    first = watching.trace.take(10_000)
    assert len(first) == 10
    watching.trace.put(dict(entry))
    rest = watching.lines()
    assert len(rest) == kept - 10 + 2
    assert rest[-2:] == [f"{10_000 - kept} lost", "-- " + "x" * 700]
    assert watching.lines() == []


def test_what_is_lost_last_is_told_without_waiting_for_more() -> None:
    trace = Trace("joe", 10, False, lambda: None)
    for _ in range(5):
        trace.put({"text": "x" * (QUEUE_BYTES // 2 - ENTRY_COST_BYTES)})
    assert [entry.get("lost") for entry in trace.take(QUEUE_BYTES)] == [None, None, 3]
    assert trace.take(QUEUE_BYTES) == []


def test_lines_contents_and_answers_in_order() -> None:
    talk = Talk(b"one {9}\r\n012345", b"678 two\r\nthr", b"ee\nnothing follows")
    watching = watch(talk)
    stream = talk.stream
    assert stream.read_line() == b"one {9}\r\n"
    stream.write(b"+ OK\r\n")
    assert stream.read_exact(9) == b"012345678"
    assert stream.read_line() == b" two\r\n"
    stream.write(b"* 1 FETCH (BODY[] {12}\r\nline\r\n")
    stream.write(b"{3}\r\nx)\r")
    stream.write(b"\none OK\r\n")
    assert stream.read_line() == b"three\n"
    assert stream.read_line() == b""
    assert watching.lines() == [
        "C: one {9}",
        "S: + OK",
        "C: (9) '012345678'",
        "C: (rest)  two",
        "S: * 1 FETCH (BODY[] {12}",
        "S: (12) 'line\\r\\n{3}\\r'",
        "S: )",
        "S: one OK",
        "C: three",
    ]


def test_content_that_is_given_back_was_not_there() -> None:
    for whole in (False, True):
        talk = Talk(b"abcdef\r\nNOOP\r\n")
        watching = watch(talk, whole=whole)
        assert talk.stream.read_some() == b"abcdef\r\nNOOP\r\n"
        talk.stream.unread(b"NOOP\r\n")
        assert talk.stream.read_line() == b"NOOP\r\n"
        assert watching.lines() == ["C: (8) 'abcdef\\r\\n'", "C: (rest) NOOP"]


def test_large_contents_and_lines_are_shortened_or_come_in_pieces() -> None:
    data = b"y" * (3 * PIECE_BYTES + 5)
    for whole in (False, True):
        talk = Talk(data + b"\r\n", data)
        watching = watch(talk, whole=whole)
        talk.stream.read_line()
        assert b"".join(talk.stream.read_chunks(len(data), 1000)) == data
        talk.stream.write(data)
        talk.stream.write(data + b"\r\n")
        lines = watching.lines()
        if whole:
            assert [line.endswith("…") for line in lines[:4]] == [True, True, True, False]
            assert sum(line.count("y") for line in lines) == 4 * len(data)
            assert max(len(line) for line in lines) < PIECE_BYTES + 30
        else:
            assert [line.count("y") for line in lines] == [LINE_BYTES, 10, LINE_BYTES]
            assert [line[:10] for line in lines] == ["C: (49157)", "C: (49157)", "S: (98316)"]


def test_an_answer_under_way_is_left_out_up_to_the_next_command() -> None:
    talk = Talk(b"next\r\n")
    watching = watch(talk, in_step=False)
    talk.stream.write(b"rest of a literal {9}\r\n)\r\n")
    talk.stream.read_line()
    talk.stream.write(b"OK\r\n")
    assert watching.lines() == ["-- the rest of an answer was left out", "C: next", "S: OK"]


def test_a_line_that_is_too_long_is_told_and_what_is_drained_is_not() -> None:
    talk = Talk(b"z" * 100 + b"\nPASS secret\r\n", b"more secrets\r\n")
    watching = watch(talk)
    with pytest.raises(LineTooLong):
        talk.stream.read_line(50)
    talk.stream.write(b"BYE\r\n")
    talk.stream.drain()
    assert watching.lines() == ["-- a line that is too long", "S: BYE"]


def test_a_large_literal_is_not_larger_than_the_queue_where_all_is_wanted() -> None:
    data = b"y" * (QUEUE_BYTES // 2)
    talk = Talk(data + b"\r\n")
    watching = watch(talk, whole=True)
    assert talk.stream.read_exact(len(data)) == data
    talk.stream.read_line()
    lines = watching.lines()
    assert sum(line.count("y") for line in lines) == len(data)
    assert lines[-2].startswith(f"C: ({len(data)}) ") and lines[-1] == "C: (rest) "
