"""Listening sockets that somebody else has bound: storemgr for its daemons, a service manager for any of us.

The protocol of the latter is that of sd_listen_fds(3). A socket is used for the configured address that it is
bound to; names play no part.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping
from pathlib import Path

from mstore.base.log import Log

FIRST_FD = 3
MOST_FDS = 4096
Endpoint = tuple[int, str, int]
"""Family, host and port."""


def show_bound(sock: socket.socket) -> str:
    """Where a socket is bound, in words."""
    bound = sock.getsockname()
    if isinstance(bound, tuple):
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    return str(bound)


class Inherited:
    """What was handed to this process, less what has been taken."""

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._left = list(sockets)
        self.strange: list[str] = []
        """Descriptors that are no listening stream sockets, in words."""

    @classmethod
    def of(cls, fds: Iterable[int] = (), environment: MutableMapping[str, str] = os.environ) -> Inherited:
        """These descriptors and those that a service manager hands over; its variables are taken away."""
        found = cls()
        for fd in fds:
            os.set_inheritable(fd, False)
            found._left.append(socket.socket(fileno=fd))
        for fd in lent_fds(environment):
            found._adopt(fd)
        return found

    def _adopt(self, fd: int) -> None:
        try:
            os.set_inheritable(fd, False)
            sock = socket.socket(fileno=fd)
        except OSError as error:
            self.strange.append(f"descriptor {fd}: {error.strerror}")
            return
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self.strange.append(f"descriptor {fd}: nothing listens on it (Accept=no is needed)")
            sock.close()
        else:
            self._left.append(sock)

    def paths(self) -> set[str]:
        """Where the Unix sockets among them are."""
        return {str(sock.getsockname()) for sock in self._left if sock.family == socket.AF_UNIX}

    def take_tcp(self, endpoints: Iterable[Endpoint]) -> list[list[socket.socket]]:
        """The sockets that are bound to one of these, those that are bound to the same one together."""
        groups: dict[Endpoint, list[socket.socket]] = {endpoint: [] for endpoint in endpoints}
        for sock in list(self._left):
            if sock.family != socket.AF_UNIX:
                host, port = sock.getsockname()[:2]
                group = groups.get((int(sock.family), host, port))
                if group is not None:
                    group.append(sock)
                    self._left.remove(sock)
        return [group for group in groups.values() if group]

    def take_unix(self, path: Path) -> socket.socket | None:
        """The socket with this name."""
        for sock in self._left:
            if sock.family == socket.AF_UNIX and sock.getsockname() == str(path):
                self._left.remove(sock)
                return sock
        return None

    def close_rest(self, log: Log) -> None:
        """Close those that nobody wanted, and say so."""
        for text in self.strange:
            log.warning("not-a-listener", which=text)
        for sock in self._left:
            log.warning("listens-for-nobody", where=show_bound(sock))
            sock.close()
        self._left.clear()


def lent_fds(environment: MutableMapping[str, str]) -> range:
    """The descriptors that a service manager has handed to this very process."""
    words = [environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
    pid, count = words[:2]
    is_ours = pid == str(os.getpid()) and count.isdigit() and len(count) < 6
    return range(FIRST_FD, FIRST_FD + (min(int(count), MOST_FDS) if is_ours else 0))
