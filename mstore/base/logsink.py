"""Where the lines of the log go: a descriptor, the syslog, the journal of systemd.

No sink ever waits. What is not taken at once is kept for a while, and goes before the next line or with
``flush``; what is more than ``MOST_WAITING`` lines is lost, and ``event=log-lost`` tells later how many. The
sockets are not connected, so a syslog that was started anew is found again.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from mstore.base import clock
from mstore.base.logline import FORMATS, format_logfmt, format_stamp, to_text

Pairs = Mapping[str, object]
PRIORITIES = {"info": 6, "warning": 4, "error": 3}
"""Syslog's severities (RFC 5424 §6.2.1)."""
MAIL = 2
"""Syslog's facility of mail systems."""
SYSLOG_SOCKET = "/dev/log"
JOURNAL_SOCKET = "/run/systemd/journal/socket"
MOST_WAITING = 1000
"""So many lines are kept for a log that does not take them."""
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Sink(Protocol):
    """Takes lines."""

    def write(self, level: str, pairs: Pairs) -> None: ...
    def flush(self) -> bool: ...


class Lossy(ABC):
    """What all sinks have in common: they keep some lines, count what they lose, and tell it."""

    def __init__(self) -> None:
        self.lost = 0
        self._waiting: deque[bytes] = deque()

    def write(self, level: str, pairs: Pairs) -> None:
        """Write one line, or keep it, or lose it."""
        if self._waiting:
            self.flush()
        if self.lost and not self._waiting:
            told = {"event": "log-lost", "daemon": pairs.get("daemon"), "pid": os.getpid()}
            self._put(self._format("warning", {**told, "lines": self.lost}))
            self.lost = 0
        self._put(self._format(level, pairs))

    def _put(self, data: bytes) -> None:
        if not self._waiting and self._send(data):
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(data)
        else:
            self.lost += 1

    def flush(self) -> bool:
        """Write what has had to wait, as far as it is taken now; True when nothing waits any more."""
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()
        return not self._waiting

    @abstractmethod
    def _format(self, level: str, pairs: Pairs) -> bytes:
        """The line as it is sent."""

    @abstractmethod
    def _send(self, data: bytes) -> bool:
        """Whether it was taken."""


class Descriptor(Lossy):
    """A file, a pipe or a terminal; each line is one ``write``, so lines of several processes never mix."""

    def __init__(self, fd: int = 2, form: str = "logfmt") -> None:
        super().__init__()
        self._fd = fd
        self._form: Callable[[Pairs], str] = FORMATS[form]
        self._poll: select.poll | None = None
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            return
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def _format(self, level: str, pairs: Pairs) -> bytes:
        line = self._form({"time": format_stamp(clock.now()), "level": level, **pairs})
        return line.encode("utf-8", "replace") + b"\n"

    def _send(self, data: bytes) -> bool:
        try:
            # Whoever reads a pipe may be slow. Where there is room, there is room for PIPE_BUF bytes.
            if self._poll is not None and self._poll.poll(0) != [(self._fd, select.POLLOUT)]:
                return False
            if self._poll is not None and len(data) > select.PIPE_BUF:
                data = data[: select.PIPE_BUF - 1] + b"\n"
            os.write(self._fd, data)
        except OSError:
            return False  # A log that cannot be written must not stop the mail.
        return True


class _Datagrams(Lossy):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )

    def _send(self, data: bytes) -> bool:
        try:
            self._socket.sendto(data, self._path)
        except OSError:
            return False
        return True


class Syslog(_Datagrams):
    """The syslog, as the C library's ``syslog`` writes it (RFC 3164 §4.1), which adds the time itself."""

    def __init__(self, path: str = SYSLOG_SOCKET, form: str = "logfmt") -> None:
        super().__init__(path)
        self._form: Callable[[Pairs], str] = FORMATS[form]

    def _format(self, level: str, pairs: Pairs) -> bytes:
        now = time.localtime(clock.now())
        when = (
            f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
        )
        head = f"<{MAIL << 3 | PRIORITIES[level]}>{when} {pairs.get('daemon', 'm-store')}[{os.getpid()}]: "
        return (head + self._form({"level": level, **pairs})).encode("utf-8", "replace")


class Journal(_Datagrams):
    """The journal of systemd, by its own protocol: each pair is a field, ``MSTORE_USER`` and the like."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        super().__init__(path)

    def _format(self, level: str, pairs: Pairs) -> bytes:
        fields: dict[str, object] = {
            "MESSAGE": format_logfmt(pairs),
            "PRIORITY": PRIORITIES[level],
            "SYSLOG_FACILITY": MAIL,
            "SYSLOG_IDENTIFIER": pairs.get("daemon", "m-store"),
            "SYSLOG_PID": os.getpid(),
        }
        fields |= {f"MSTORE_{key.upper()}": value for key, value in pairs.items() if value is not None}
        made = []
        for key, value in fields.items():
            data = to_text(value).encode("utf-8", "replace")
            # A length in front, so that no value can begin another field.
            made.append(b"%b\n%b%b\n" % (key.encode("ascii"), struct.pack("<Q", len(data)), data))
        return b"".join(made)
