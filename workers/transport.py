"""A worker's end of a connection: a socket that lets the other sessions run while it waits for its peer.

It does what ``mstore.net.stream.Stream`` and the authentication client ask of a socket, and no more, at less
than half the price of gevent's: reading is tried before it is waited for, what watches the socket is made at
the first wait and then left watching, and a wait arms no timer of its own but notes when it is to end, which
is looked at when the timer of an earlier wait goes off.

One greenlet may read and another write at the same time, each with a time limit of its own. TLS is gevent's:
``detach`` gives it the socket.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time
from typing import Any

import gevent
from greenlet import getcurrent, greenlet

LONGEST_PAUSE_S = 0.05


class Transport:
    """A connected stream socket, which it owns."""

    __slots__ = (
        "_alarm_s",
        "_deadline_s",
        "_hub",
        "_is_watched",
        "_read_watcher",
        "_reader",
        "_socket",
        "_timeout_s",
        "_timer",
        "_write_watcher",
        "_writer",
        "send_timeout_s",
    )

    def __init__(self, sock: socket.SocketType, send_timeout_s: float | None = None) -> None:
        """Take a socket that does not block."""
        self.send_timeout_s = send_timeout_s
        """How long the peer may take nothing of what is sent; None for as long as a read may last."""
        self._socket = sock
        self._hub: Any = gevent.get_hub()
        self._timeout_s: float | None = None
        self._reader: greenlet | None = None
        self._read_watcher: Any = None
        self._is_watched = False
        self._deadline_s = 0.0
        self._timer: Any = None
        self._alarm_s = math.inf
        self._writer: greenlet | None = None
        self._write_watcher: Any = None

    def settimeout(self, seconds: float | None) -> None:
        """How long a wait that begins from now on may last; None for ever, 0 not at all."""
        self._timeout_s = seconds

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""
        return self._socket.fileno()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set an option of the socket.

        Raises: OSError
        """
        self._socket.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """An option of the socket.

        Raises: OSError
        """
        return self._socket.getsockopt(level, option, size)

    def recv(self, size: int) -> bytes:
        """What has come, when something has; nothing at the end of input.

        Raises: TimeoutError, OSError, also when the connection is closed meanwhile.
        """
        while True:
            try:
                return self._socket.recv(size)
            except BlockingIOError:
                if self._timeout_s == 0.0:
                    raise
            try:
                self._wait_readable()
            except TimeoutError:
                # When we were held up, both are due, and the timer comes before what was sent in time.
                try:
                    return self._socket.recv(size)
                except BlockingIOError:
                    pass
                raise

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises: TimeoutError when the peer takes nothing for too long; OSError, also when closed meanwhile.
        """
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def detach(self) -> tuple[int, int, int, int]:
        """Family, type, protocol and descriptor of the socket, which is the caller's from now on."""
        sock = self._socket
        self._let_go()
        return sock.family, sock.type, sock.proto, sock.detach()

    def close(self) -> None:
        """Close the connection; who waits for it finds out. May be called more than once."""
        self._let_go()
        self._socket.close()

    # -- inside ----------------------------------------------------------------------------------------

    def _wait_readable(self) -> None:
        if self._reader is not None:
            raise OSError(errno.EALREADY, "somebody else reads")
        if not self._is_watched:
            if self._read_watcher is None:
                self._read_watcher = self._hub.loop.io(self._socket.fileno(), 1)
            self._read_watcher.start(self._wake_reader)
            self._is_watched = True
        if self._timeout_s is not None:
            self._deadline_s = deadline_s = time.monotonic() + self._timeout_s
            if deadline_s < self._alarm_s:
                self._arm(self._timeout_s)
        else:
            self._deadline_s = math.inf
        self._reader = getcurrent()
        try:
            failure = self._hub.switch()
        finally:
            self._reader = None
        if failure is not None:
            raise failure

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None:
            reader.switch(None)
        elif self._is_watched:
            # The peer speaks while its last command is carried out: nobody wants to hear of it now.
            self._read_watcher.stop()
            self._is_watched = False

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._alarm_s = time.monotonic() + seconds
        self._timer = self._hub.loop.timer(seconds)
        self._timer.start(self._alarm)

    def _alarm(self) -> None:
        self._timer.close()
        self._timer = None
        self._alarm_s = math.inf
        reader = self._reader
        if reader is None or self._deadline_s == math.inf:
            return
        left_s = self._deadline_s - time.monotonic()
        if left_s > 0:
            self._arm(left_s)
        else:
            reader.switch(TimeoutError("timed out"))

    def _send_rest(self, data: memoryview) -> None:
        timeout_s = self._timeout_s if self.send_timeout_s is None else self.send_timeout_s
        if timeout_s == 0.0:
            raise TimeoutError("timed out")
        while data:
            late = None
            try:
                self._wait_writable(timeout_s)
            except TimeoutError as error:
                late = error  # unless there is room by now, as above
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if late is not None:
                    raise late from None

    def _wait_writable(self, seconds: float | None) -> None:
        if self._writer is not None:
            raise OSError(errno.EALREADY, "somebody else writes")
        watcher = self._hub.loop.io(self._socket.fileno(), 2)
        timer = None if seconds is None else self._hub.loop.timer(seconds)
        self._write_watcher = watcher
        self._writer = getcurrent()
        try:
            watcher.start(self._wake_writer, None)
            if timer is not None:
                timer.start(self._wake_writer, TimeoutError("timed out"))
            failure = self._hub.switch()
        finally:
            self._writer = self._write_watcher = None
            watcher.close()
            if timer is not None:
                timer.close()
        if failure is not None:
            raise failure

    def _wake_writer(self, failure: OSError | None) -> None:
        if self._writer is not None:
            self._writer.switch(failure)

    def _let_go(self) -> None:
        """Watch no more, and wake who waits."""
        if self._read_watcher is not None:
            self._read_watcher.close()
            self._read_watcher = None
            self._is_watched = False
        if self._timer is not None:
            self._timer.close()
            self._timer = None
            self._alarm_s = math.inf
        if self._write_watcher is not None:
            self._write_watcher.close()
        if self._reader is not None or self._writer is not None:
            self._hub.loop.run_callback(self._cut)

    def _cut(self) -> None:
        for waiting in (self._reader, self._writer):
            if waiting is not None:
                waiting.switch(OSError(errno.EBADF, os.strerror(errno.EBADF)))


def connect_unix(path: str, timeout_s: float) -> Transport:
    """Connect to a Unix socket, letting the others run meanwhile.

    Raises: OSError
    """
    sock = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    transport = Transport(sock)
    transport.settimeout(timeout_s)
    deadline_s, pause_s = 0.0, 0.001
    while True:
        error = sock.connect_ex(path)
        if not error:
            return transport
        # Such a socket says this when the queue of the other side is full, and cannot be waited for.
        if error == errno.EAGAIN:
            now_s = time.monotonic()
            deadline_s = deadline_s or now_s + timeout_s
            if now_s < deadline_s:
                gevent.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
        transport.close()
        raise OSError(error, os.strerror(error))
