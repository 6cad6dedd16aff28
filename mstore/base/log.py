"""Events, one line each: ``time=… level=… event=… daemon=… pid=… key=value …``.

Where the lines go is said once for a process (``install``); until then to standard error. Which events there
are and what their fields mean stands in ``events.py``. Nothing secret is given to a log: callers log names
and numbers, never passwords or contents.
"""

from __future__ import annotations

import logging
import os
import traceback

from mstore.base.logsink import JOURNAL_SOCKET, SYSLOG_SOCKET, Descriptor, Journal, Sink, Syslog
from mstore.base.options import Settings

_sink: Sink = Descriptor()
_daemon: str | None = None


def install(sink: Sink, daemon: str | None = None) -> Sink:
    """From now on the lines of this process, and of those that it forks, go there; gives the sink before."""
    global _sink, _daemon
    before, _sink = _sink, sink
    _daemon = daemon
    return before


def flush() -> bool:
    """Write what the log has not taken before; to be called now and then. True when it has all of it."""
    return _sink.flush()


def make_sink(settings: Settings) -> Sink:
    """What ``log-to`` and ``log-format`` ask for; a file is standard error, which storemgr sends there."""
    path = settings.log_socket
    if settings.log_to == "syslog":
        return Syslog(str(path or SYSLOG_SOCKET), settings.log_format)
    if settings.log_to == "journal":
        return Journal(str(path or JOURNAL_SOCKET))
    return Descriptor(2, settings.log_format)


def open_sink(settings: Settings, program: str) -> Sink:
    """The same for a program whose standard error is for people: it appends to ``log/PROGRAM.log``."""
    if settings.log_to in ("syslog", "journal"):
        return make_sink(settings)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(settings.log_path / f"{program}.log", flags, 0o640)
    except OSError:
        fd = -1  # Who may do a thing may do it also where the log cannot be written.
    return Descriptor(fd, settings.log_format)


def begin_log(settings: Settings, daemon: str) -> Log:
    """Begin to log as a daemon."""
    install(make_sink(settings), daemon)
    return Log()


class Log:
    """Writes events; ``bind`` makes one that adds the same pairs to all of them."""

    __slots__ = ("_own", "_pairs")

    def __init__(self, sink: Sink | int | None = None, **pairs: object) -> None:
        """Writes where the process does, or to a sink or descriptor of its own."""
        self._own = Descriptor(sink) if isinstance(sink, int) else sink
        self._pairs = pairs

    def bind(self, **pairs: object) -> Log:
        """A log whose lines also carry these pairs."""
        return Log(self._own, **{**self._pairs, **pairs})

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
        self.hidden(event, error, **{"error": f"{type(error).__name__}: {error}", **pairs})

    def hidden(self, event: str, error: BaseException, /, **pairs: object) -> None:
        """The same without what the exception says: it may quote what a client has sent, as a password."""
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        where = " < ".join(f"{os.path.basename(f.filename)}:{f.lineno}:{f.name}" for f in reversed(frames))
        self._write("error", event, {"error": type(error).__name__, **pairs, "at": where})

    def _write(self, level: str, event: str, pairs: dict[str, object]) -> None:
        head = {"event": event, "daemon": _daemon, "pid": os.getpid()}
        (self._own or _sink).write(level, {**head, **self._pairs, **pairs})


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
            self._log.exception("library", error, **pairs)
        elif record.levelno >= logging.ERROR:
            self._log.error("library", **pairs)
        elif record.levelno >= logging.WARNING:
            self._log.warning("library", **pairs)
        else:
            self._log.info("library", **pairs)


def capture_logging(log: Log) -> None:
    """From now on, what libraries log through the standard library appears as events here."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Forward(log))
    root.setLevel(logging.INFO)
