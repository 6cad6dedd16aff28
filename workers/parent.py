"""A process and the one that started it: who is told that it is up, and whose end it shares.

Two pipes: the parent keeps the write end of ``liveness`` and says nothing on it, so its end of file means
that the parent is gone; on ``notify`` the child writes lines: ``ready``, ``alive``, ``refused TEXT``. A
daemon may have a socket besides, on which storemgr hands it what only that can read: ``workers/handover.py``.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

EX_REFUSED = 78
"""Exit status of a program that will not run until an administrator mends something."""


class Refused(Exception):
    """The program will not run; the text says why and what to do."""


class Parent:
    """The child's ends of the pipes; all may be missing, as when started by hand."""

    def __init__(
        self, liveness: int | None = None, notify: int | None = None, handover: int | None = None
    ) -> None:
        self.liveness = liveness
        self._notify = notify
        for fd in (liveness, notify, handover):
            if fd is not None:
                os.set_inheritable(fd, False)
        self.handover = None if handover is None else socket.socket(fileno=handover)
        if self.handover is not None:
            self.handover.setblocking(False)
        if notify is not None:
            os.set_blocking(notify, False)

    @classmethod
    def parse(cls, text: str | None) -> Parent:
        """From the ``--managed LIVENESS,NOTIFY[,HANDOVER]`` of a command line."""
        if text is None:
            return cls()
        return cls(*(int(fd) if fd.isdigit() else None for fd in text.split(",")[:3]))

    def tell(self, line: str) -> None:
        """Write a line to the parent, if it still listens."""
        if self._notify is not None:
            try:
                os.write(self._notify, "; ".join(line.splitlines()).encode()[:2000] + b"\n")
            except BlockingIOError:
                pass  # It has enough to read for now.
            except OSError:
                self._notify = None

    def close(self) -> None:
        """Forget the parent: what a forked worker does, who has another one."""
        for fd in (self.liveness, self._notify):
            if fd is not None:
                os.close(fd)
        if self.handover is not None:
            self.handover.close()
        self.liveness = self._notify = self.handover = None


class Lines:
    """The parent's end of a notify pipe: hands over whole lines."""

    def __init__(self, fd: int, receive: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._receive = receive
        self._rest = b""

    @property
    def closed(self) -> bool:
        """Whether the end has been seen and dealt with."""
        return self.fd < 0

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.fd)
        self.fd = -1

    def read(self) -> bool:
        """Take what is there; False at the end of file."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._receive(line.decode("utf-8", "replace"))
        self._rest = self._rest[-4096:]
        return bool(data)


def refuse(name: str, parent: Parent, text: str) -> int:
    """Say why the program does not run, to its parent and on standard error; returns the exit status."""
    parent.tell(f"refused {text}")
    sys.stderr.write("".join(f"{name}: {line}\n" for line in text.splitlines()))
    sys.stderr.flush()
    return EX_REFUSED
