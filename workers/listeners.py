"""Listening sockets: bound by a daemon while it may, kept by it while it runs, used by its workers.

TCP: one socket with SO_REUSEPORT for each worker and address; the kernel spreads connections over them. The
daemon keeps them open, so a replaced worker inherits the queue of the one that died. Unix: one socket for
all workers.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from mstore.base.values import Address
from workers.parent import Refused

BACKLOG = 1024


@dataclass(frozen=True)
class Listener:
    """A bound socket, and what its connections are to be."""

    socket: socket.socket
    tls: bool = False
    role: str = ""
    """Tells the Unix sockets of one daemon apart: ``lmtpd-oq``."""

    @property
    def name(self) -> str:
        """The address for logs."""
        return format_name(self.socket)


def format_name(sock: socket.socket) -> str:
    """Where a socket is bound, in words."""
    bound = sock.getsockname()
    if isinstance(bound, tuple):
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    return str(bound)


def _bind(family: int, host: str, port: int, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted connections inherit these: no calls for each of them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_all(port: int) -> socket.socket:
    """All addresses of both families with one socket, or of IPv4 where there is no IPv6."""
    try:
        return _bind(socket.AF_INET6, "::", port, dual=True)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENOPROTOOPT):
            raise
        return _bind(socket.AF_INET, "0.0.0.0", port, dual=False)


def bind_tcp(option: str, address: Address) -> list[socket.socket]:
    """Bind one address, without listening yet; a name with several addresses gives several sockets.

    Raises: Refused
    """
    bound: list[socket.socket] = []
    try:
        if address.host == "*":
            return [_bind_all(address.port)]
        flags = socket.AI_PASSIVE
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
        for family, *_, where in dict.fromkeys((entry[0], entry[4]) for entry in found):
            bound.append(_bind(family, str(where[0]), address.port, dual=False))
        return bound
    except OSError as error:
        for sock in bound:
            sock.close()
        hint = ""
        if isinstance(error, PermissionError) and address.port < 1024:
            hint = " (ports below 1024 need the superuser; choose one above)"
        text = error.strerror or str(error)
        raise Refused(f"{option}: cannot listen on {address}: {text}{hint}") from error


def bind_unix(path: Path, mode: int) -> socket.socket:
    """Bind a Unix socket with this mode, without listening yet.

    The caller holds the daemon's lock file, so a socket that is there belongs to a daemon that is dead, even
    if workers of its still answer for a moment; it is replaced.

    Raises: Refused
    """
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
        else:
            raise Refused(f"{path}: is in the way of a socket")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        text = "path is too long for a socket" if "too long" in str(error) else error.strerror
        raise Refused(f"{path}: {text}") from error
    finally:
        os.umask(before)
    return sock


def close_unix(sock: socket.socket) -> None:
    """Close a bound Unix socket and remove its name."""
    path = sock.getsockname()
    sock.close()
    try:
        os.unlink(path)
    except OSError:
        pass  # Removed by somebody, or not ours to remove: nobody answers on it in any case.
