"""Takes lines of the log apart, as programs that read it do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mstore.base.log import install

_PAIR = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"=]+))(?: |\Z)')
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(.))")
_SHORT = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def parse(line: str) -> dict[str, str]:
    """The pairs of a logfmt line; AssertionError for what is none."""
    found: dict[str, str] = {}
    at = 0
    while at < len(line):
        pair = _PAIR.match(line, at)
        assert pair is not None, f"not a pair: {line[at:]!r}"
        name, quoted, plain = pair.groups()
        assert name not in found, f"{name} twice: {line!r}"
        found[name] = plain if quoted is None else _ESCAPE.sub(_unescape, quoted)
        at = pair.end()
    return found


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _SHORT[found[3]]


def read(path: Path, *events: str) -> list[dict[str, str]]:
    """The lines of a log file, or those of some events."""
    lines = [parse(line) for line in path.read_text().split("\n")[:-1] if line.startswith("time=")]
    return [line for line in lines if not events or line["event"] in events]


def stories(directory: Path, *events: str) -> Iterator[dict[str, str]]:
    """The lines of all log files together, in the order of time."""
    lines = [line for path in directory.glob("*.log") for line in read(path, *events)]
    yield from sorted(lines, key=lambda line: line["time"])


class Keeper:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def write(self, level: str, pairs: Mapping[str, object]) -> None:
        """Keep a line, without the process."""
        left_out = ("daemon", "pid")
        known = {key: value for key, value in pairs.items() if key not in left_out and value is not None}
        self.lines.append((level, known))

    def flush(self) -> None:
        """Nothing waits."""


@contextmanager
def logged() -> Iterator[list[tuple[str, dict[str, object]]]]:
    """What this process logs meanwhile."""
    keeper = Keeper()
    before = install(keeper)
    try:
        yield keeper.lines
    finally:
        install(before)
