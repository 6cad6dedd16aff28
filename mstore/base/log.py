"""Events as one logfmt line each: ``time=… level=… daemon=… event=… key=value …``.

Lines go to standard error, which the masters redirect to ``log/DAEMON.log``; each is one ``write``, so lines
of several processes never mix. Nothing secret is given to it: callers log names and numbers, never passwords
or contents.
"""

from __future__ import annotations

import logging
import os
import re
import time
import traceback

from mstore.base import clock

_PLAIN = re.compile(r"[!#-<>-~]+\Z")
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')
LONGEST_VALUE = 2000


def format_value(value: object) -> str:
    """One value of a logfmt line: quoted where it must be, and always on one line."""
    if isinstance(value, bytes | bytearray):
        text = bytes(value).decode("utf-8", "backslashreplace")
    elif isinstance(value, float):
        text = f"{value:.3f}"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = str(value)
    if len(text) > LONGEST_VALUE:
        text = text[:LONGEST_VALUE] + "…"
    if _PLAIN.match(text):
        return text
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}.get(char, f"\\x{ord(char):02x}")


def format_line(seconds: float, level: str, event: str, pairs: dict[str, object]) -> str:
    """A whole line, without its end."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    head = f"time={stamp}.{int(seconds * 1000) % 1000:03d}Z level={level}"
    tail = "".join(f" {key}={format_value(value)}" for key, value in pairs.items() if value is not None)
    return f"{head} event={event}{tail}"


class Log:
    """Writes events; ``bind`` makes one that adds the same pairs to all of them."""

    __slots__ = ("_fd", "_pairs")

    def __init__(self, fd: int = 2, **pairs: object) -> None:
        self._fd = fd
        self._pairs = pairs

    def bind(self, **pairs: object) -> Log:
        """A log whose lines also carry these pairs."""
        return Log(self._fd, **{**self._pairs, **pairs})

    def info(self, event: str, **pairs: object) -> None:
        """Something happened as it should."""
        self._write("info", event, pairs)

    def warning(self, event: str, **pairs: object) -> None:
        """Something is odd, and handled."""
        self._write("warning", event, pairs)

    def error(self, event: str, **pairs: object) -> None:
        """Something failed that an administrator should look at."""
        self._write("error", event, pairs)

    def exception(self, event: str, error: BaseException, **pairs: object) -> None:
        """A fault in the program: the exception with where it came from, on one line."""
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        where = " < ".join(f"{os.path.basename(f.filename)}:{f.lineno}:{f.name}" for f in reversed(frames))
        self._write("error", event, {**pairs, "error": f"{type(error).__name__}: {error}", "at": where})

    def _write(self, level: str, event: str, pairs: dict[str, object]) -> None:
        line = format_line(clock.now(), level, event, {**self._pairs, **pairs})
        try:
            os.write(self._fd, line.encode("utf-8", "replace") + b"\n")
        except OSError:
            pass  # A log that cannot be written must not stop the mail.


class _Forward(logging.Handler):
    """Hands the records of the standard library's logging on as events."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one event."""
        pairs: dict[str, object] = {"logger": record.name, "text": record.getMessage()}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._log.exception("log", error, **pairs)
        elif record.levelno >= logging.ERROR:
            self._log.error("log", **pairs)
        elif record.levelno >= logging.WARNING:
            self._log.warning("log", **pairs)
        else:
            self._log.info("log", **pairs)


def capture_logging(log: Log) -> None:
    """From now on, what is logged through the standard library appears as events here."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Forward(log))
    root.setLevel(logging.INFO)
