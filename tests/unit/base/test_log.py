import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base import clock
from mstore.base.log import LONGEST_VALUE, Log, capture_logging, format_line, format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\r\nb", '"a\\r\\nb"'),
        ("\x1b[0m", '"\\x1b[0m"'),
        (b"\xff", r"\xff"),
        (3, "3"),
        (0.25, "0.250"),
        (True, "yes"),
        ("a=b", '"a=b"'),
    ],
)
def test_values_stay_on_one_line(value: object, text: str) -> None:
    assert format_value(value) == text


def test_long_values_are_cut() -> None:
    assert len(format_value("x" * 100_000)) < LONGEST_VALUE + 10


def test_line_has_time_level_and_event_first() -> None:
    line = format_line(1.5, "info", "login", {"user": "joe", "none": None})
    assert line == "time=1970-01-01T00:00:01.500Z level=info event=login user=joe"


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Log, Path]]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield Log(fd, daemon="imapd"), path
    os.close(fd)


def test_bound_pairs_are_on_every_line(written: tuple[Log, Path]) -> None:
    log, path = written
    log.bind(session=7).warning("odd", what="x y")
    assert path.read_text().endswith('level=warning event=odd daemon=imapd session=7 what="x y"\n')


def test_an_exception_is_one_line_that_names_its_place(written: tuple[Log, Path]) -> None:
    log, path = written
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        log.exception("failed", error)
    text = path.read_text()
    assert text.count("\n") == 1
    assert "ValueError: first\\nsecond" in text and "test_log.py:" in text


def test_standard_logging_is_captured(written: tuple[Log, Path]) -> None:
    log, path = written
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        capture_logging(log)
        logging.getLogger("auth").error("cannot %s", "judge")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert 'level=error event=log daemon=imapd logger=auth text="cannot judge"' in path.read_text()


def test_a_log_that_cannot_be_written_is_no_error() -> None:
    Log(fd=10_000).info("lost")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (3e5, "3d"), (-5, "0s")]
)
def test_ages(seconds: float, text: str) -> None:
    assert clock.format_age(seconds) == text
