import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base import clock
from mstore.base.log import Log, begin_log, capture_logging, install
from mstore.base.logline import LONGEST_VALUE, format_json, format_logfmt, format_value
from mstore.base.logsink import Descriptor
from mstore.base.options import Settings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\r\nb", '"a\\r\\nb"'),
        ("\x1b[0m", '"\\x1b[0m"'),
        ("a\x85b\u2028", '"a\\x85b\\u2028"'),
        ("\udcff", '"\\udcff"'),
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


def test_both_forms_leave_out_what_is_not_known() -> None:
    pairs = {"event": "login", "user": "jo e", "by": None, "size": 3, "ok": True}
    assert format_logfmt(pairs) == 'event=login user="jo e" size=3 ok=yes'
    assert format_json(pairs) == '{"event":"login","user":"jo e","size":3,"ok":true}'


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Log, Path]]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield Log(fd, daemon="imapd"), path
    os.close(fd)


def test_a_line_has_time_level_event_and_process_first(
    written: tuple[Log, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, path = written
    monkeypatch.setattr(clock, "now", lambda: 1.5)
    log.info("login", user="joe", none=None)
    head = "time=1970-01-01T00:00:01.500Z level=info event=login daemon=imapd"
    assert path.read_text() == f"{head} pid={os.getpid()} user=joe\n"


def test_bound_pairs_are_on_every_line(written: tuple[Log, Path]) -> None:
    log, path = written
    log.bind(session=7).warning("odd", what="x y")
    assert path.read_text().endswith(f'event=odd daemon=imapd pid={os.getpid()} session=7 what="x y"\n')


def test_an_exception_is_one_line_that_names_its_place(written: tuple[Log, Path]) -> None:
    log, path = written
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        log.exception("failed", error)
        log.hidden("failed", error)
    lines = path.read_text().splitlines()
    assert "ValueError: first\\nsecond" in lines[0] and "test_log.py:" in lines[0]
    assert "error=ValueError at=" in lines[1] and "first" not in lines[1]


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
    assert 'logger=auth text="cannot judge"' in path.read_text()


def test_a_log_that_cannot_be_written_is_no_error() -> None:
    Log(10_000).info("lost")


def test_the_sink_of_the_process_serves_logs_that_were_made_before(tmp_path: Path) -> None:
    early = Log()
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    before = install(Descriptor(fd, "json"), "imapd")
    try:
        early.info("started")
    finally:
        install(before)
        os.close(fd)
    assert '"event":"started","daemon":"imapd"' in (tmp_path / "log").read_text()


def test_a_file_is_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    before = install(Descriptor())
    try:
        begin_log(Settings(log_format="json"), "pop3d").info("ended")
    finally:
        install(before)
    assert '"event":"ended","daemon":"pop3d"' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (3e5, "3d"), (-5, "0s")]
)
def test_ages(seconds: float, text: str) -> None:
    assert clock.format_age(seconds) == text
