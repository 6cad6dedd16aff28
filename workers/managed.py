"""A daemon as storemgr sees it: its process, what it says, and how it is started."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mstore.base import clock
from workers import handover
from workers.parent import Lines
from workers.signals import HANDLED
from workers.supervisor import Child, Supervisor

ROOT = Path(__file__).resolve().parents[1]
WITH_TLS = ("imapd", "pop3d", "lmtpd")
TAIL_BYTES = 4096
_EVENT = re.compile(r'(?:time=|\{"time":).*?\bpid"?[=:](\d+)\b')


@dataclass(frozen=True)
class Program:
    """Code to run: an interpreter, and the directory where our modules are."""

    python: str
    root: str

    @classmethod
    def own(cls) -> Program:
        """What this process runs, as it is on disk now."""
        return cls(sys.executable, str(ROOT))

    def command(self, module: str, config: Path, *more: str) -> list[str]:
        """A command line for one of our modules."""
        return [self.python, "-P", "-m", f"workers.{module}", "-f", str(config), *more]

    def environment(self) -> dict[str, str]:
        """The environment for it."""
        return {**os.environ, "PYTHONPATH": self.root}


@dataclass(eq=False)
class Managed:
    """What is known of one daemon."""

    name: str
    child: Child
    heard_s: float = 0.0
    ready: bool = False
    was_ready: bool = False
    in_charge: bool = True
    """Whether it has the lock; a successor has not, as long as the one before it does."""
    refusal: str = ""
    lines: Lines | None = None
    channel: socket.socket | None = None
    """Where it is handed what only we may read."""
    sockets: list[socket.socket] = field(default_factory=list)
    """Where it listens; ours to keep while it dies and comes again."""
    log: tuple[Path, int] | None = None
    """Its standard error, and how much of that was there before it started."""

    def last_words(self, status: int) -> str:
        """What it has said of why it ends: its refusal, or the last line of a failure that nobody caught."""
        if self.refusal or self.log is None or not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0:
            return self.refusal
        path, began = self.log
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(began, size - TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip() and not self._is_anothers(line)), "")

    def _is_anothers(self, line: str) -> bool:
        """Whether a line of the log is another process's: who makes room for this one writes there too."""
        said_by = _EVENT.match(line)
        return said_by is not None and int(said_by[1]) != self.child.last_pid

    def leave(self, supervisor: Supervisor) -> None:
        """Have it end with its sessions, if it has any; another takes its place."""
        if self.ready and self.name in WITH_TLS and self.child.pid is not None:
            supervisor.signal(self.child, signal.SIGUSR2)
        else:
            supervisor.end(self.child)

    def make_channel(self) -> socket.socket | None:
        """The daemon's end of a new channel, where it needs one."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self.name not in WITH_TLS:
            return None
        self.channel, theirs = handover.make_channel()
        return theirs


def spawn(program: Program, arguments: Sequence[str], stderr: int, inherited: Sequence[int]) -> int:
    """Start a program in a clean interpreter; it gets these descriptors and no others.

    Raises: OSError
    """
    for fd in inherited:
        os.set_inheritable(fd, True)
    try:
        return os.posix_spawn(
            program.python,
            list(arguments),
            program.environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stderr, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setsigmask=[],
            setsigdef=[*HANDLED, signal.SIGPIPE],
        )
    finally:
        for fd in inherited:
            os.set_inheritable(fd, False)


def start(managed: Managed, program: Program, config: Path, liveness: int, stderr: int) -> tuple[int, int]:
    """Start a daemon; gives its process id and the descriptor on which it is heard.

    Raises: OSError
    """
    notify_read, notify_write = os.pipe2(os.O_CLOEXEC)
    theirs = managed.make_channel()
    told = [liveness, notify_write, *([theirs.fileno()] if theirs is not None else [])]
    listeners = [sock.fileno() for sock in managed.sockets]
    words = ["--managed", ",".join(map(str, told)), "--listeners", ",".join(map(str, listeners))]
    if not managed.in_charge:
        words.append("--successor")
    try:
        pid = spawn(program, program.command(managed.name, config, *words), stderr, [*told, *listeners])
    except BaseException:
        os.close(notify_read)
        raise
    finally:
        os.close(notify_write)
        if theirs is not None:
            theirs.close()
    managed.ready, managed.refusal, managed.heard_s = False, "", clock.steady()
    return pid, notify_read
