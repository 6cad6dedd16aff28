"""What two versions of storemgr tell each other in an upgrade (``workers/upgrade.py``): plan and state."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workers.managed import Managed, Program
from workers.signals import HANDLED

FORMAT = 1
"""Of plan and state; another version of the program must have the same."""
FDS_AT_ONCE = 200
MESSAGE_BYTES = 65_536


class NotUnderstood(Exception):
    """The other version of the program says something else than this one expects."""


def send_plan(channel: socket.socket, sockets: dict[str, list[socket.socket]]) -> None:
    """Say which daemons are wanted, and hand over the sockets of each.

    Raises: OSError
    """
    names = {name: len(found) for name, found in sockets.items()}
    channel.send(json.dumps({"format": FORMAT, "daemons": names}).encode())
    fds = [sock.fileno() for found in sockets.values() for sock in found]
    for place in range(0, len(fds), FDS_AT_ONCE):
        socket.send_fds(channel, [b"sockets"], fds[place : place + FDS_AT_ONCE])


def receive_plan(channel: socket.socket) -> dict[str, list[socket.socket]]:
    """The daemons that are wanted, and the sockets of each.

    Raises: OSError, NotUnderstood
    """
    text = channel.recv(MESSAGE_BYTES)
    sockets: list[socket.socket] = []
    while True:
        word, fds, _, _ = socket.recv_fds(channel, 64, FDS_AT_ONCE)
        if not word:
            break
        sockets += [socket.socket(fileno=fd) for fd in fds]
    try:
        plan = json.loads(text)
        if plan["format"] != FORMAT or sum(plan["daemons"].values()) != len(sockets):
            raise NotUnderstood("the new version cannot take over from this one; restart instead")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise NotUnderstood("the new version has made no plan") from None
    left = iter(sockets)
    return {name: [next(left) for _ in range(count)] for name, count in plan["daemons"].items()}


@dataclass
class Heir:
    """A daemon in the state."""

    name: str
    pid: int
    notify: int
    """Where it is heard; -1 of one that has closed it, and ends."""
    channel: int | None
    ready: bool
    sockets: list[int] = field(default_factory=list)


@dataclass
class State:
    """What a storemgr leaves to the one that it becomes; descriptors by number."""

    lock: int
    liveness: tuple[int, int]
    requests: int
    asker: int | None
    started: float
    lent: list[str]
    waiting: list[tuple[dict[str, Any], int | None]] = field(default_factory=list)
    """Requests that come next, and who is told."""
    connected: list[int] = field(default_factory=list)
    """Askers who have not said what they want."""
    daemons: list[Heir] = field(default_factory=list)
    leaving: list[Heir] = field(default_factory=list)
    """Those that have been told to leave or are to be told, oldest first."""
    format: int = FORMAT

    def fds(self) -> list[int]:
        """All descriptors."""
        found: list[int] = [self.lock, *self.liveness, self.requests, *self.connected]
        found += [fd for fd in (self.asker, *(fd for _, fd in self.waiting)) if fd is not None]
        for heir in (*self.daemons, *self.leaving):
            found += heir.sockets
            found += [fd for fd in (heir.notify, heir.channel) if fd is not None and fd >= 0]
        return found

    def store(self) -> int:
        """Write it to a file in memory; gives its descriptor."""
        fd = os.memfd_create("state", 0)
        with open(fd, "w", encoding="ascii", closefd=False) as file:
            json.dump(asdict(self), file)
        return fd

    @classmethod
    def load(cls, fd: int) -> State:
        """Read it, and let no child have the descriptors."""
        with open(fd, encoding="ascii") as file:
            file.seek(0)
            fields: dict[str, Any] = json.load(file)
        for name in ("daemons", "leaving"):
            fields[name] = [Heir(**heir) for heir in fields[name]]
        state = cls(**fields)
        for each in state.fds():
            os.set_inheritable(each, False)
        return state


def describe(managed: Managed) -> Heir:
    """A daemon that runs, for the state."""
    assert managed.child.pid is not None and managed.lines is not None
    channel = None if managed.channel is None else managed.channel.fileno()
    sockets = [sock.fileno() for sock in managed.sockets]
    return Heir(managed.name, managed.child.pid, managed.lines.fd, channel, managed.ready, sockets)


def become(
    program: Program, config: Path, state: State, environment: Mapping[str, str], *flags: str
) -> None:
    """Become another version of storemgr, with all children and these flags; returns only by failing.

    No signal is lost or ends the process meanwhile.
    Raises: OSError
    """
    fd = state.store()
    fds = state.fds()
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        for each in fds:
            os.set_inheritable(each, True)
        command = program.command("storemgr", config, *flags, "--resume", str(fd))
        os.execve(program.python, command, {**program.environment(), **environment})
    finally:
        for each in fds:
            os.set_inheritable(each, False)
        os.close(fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
