"""Listening sockets: bound by storemgr, or by a daemon that runs alone, and used by workers.

TCP: one socket with SO_REUSEPORT for each worker and address; the kernel spreads connections over them.
storemgr and the daemon keep them open, so that who comes after one that died inherits its queue. Unix: one
socket for all workers. One that somebody else has bound already is used as it is (``workers/inherited.py``).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from mstore.base.values import Address
from workers.inherited import Endpoint, Inherited, show_bound
from workers.parent import Refused
from workers.places import TcpPlace, UnixPlace

BACKLOG = 1024


@dataclass(frozen=True)
class Listener:
    """A bound socket, and what its connections are to be."""

    socket: socket.socket
    tls: bool = False
    role: str = ""
    """Tells the Unix sockets of one daemon apart: ``lmtpd-oq``."""
    proxied: bool = False
    """Connections begin with a header that says whom they are from (``proxyheader``)."""
    is_lent: bool = False
    """Somebody else has bound it, and removes its name."""

    @property
    def name(self) -> str:
        """The address for logs."""
        return show_bound(self.socket)


def _bind(family: int, host: str, port: int, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


def _resolve(address: Address) -> list[Endpoint]:
    """Where an address is; a name may have several."""
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((int(family), str(where[0]), address.port) for family, *_, where in found))


def _complete(group: list[socket.socket], wanted: int) -> None:
    """Bind more sockets to where those are, so that each worker has one; else some share one."""
    first = group[0]
    for option, name in (
        # Accepted connections inherit these: no calls for each of them.
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    ):
        for sock in group:
            sock.setsockopt(option, name, 1)
    if len(group) >= wanted or not first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return
    dual = first.family == socket.AF_INET6 and not first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    host, port = first.getsockname()[:2]
    more: list[socket.socket] = []
    try:
        while len(group) + len(more) < wanted:
            more.append(_bind(first.family, host, port, dual))
    except OSError:
        pass  # Not ours to share.
    if more:
        group += more
        _complete(group, 0)


def open_tcp(place: TcpPlace, inherited: Inherited) -> list[list[socket.socket]]:
    """The sockets of one address, without listening yet; a name with several addresses gives several groups.

    Raises: Refused
    """
    address, opened = place.address, []
    try:
        if address.host == "*":
            port = address.port
            everywhere = [(int(socket.AF_INET6), "::", port), (int(socket.AF_INET), "0.0.0.0", port)]
            opened = inherited.take_tcp(everywhere) or [[_bind_all(port)]]
        else:
            for endpoint in _resolve(address):
                opened += inherited.take_tcp([endpoint]) or [[_bind(*endpoint, dual=False)]]
    except OSError as error:
        for group in opened:
            for sock in group:
                sock.close()
        hint = ""
        if isinstance(error, PermissionError) and address.port < 1024:
            hint = " (ports below 1024 need the superuser; choose one above)"
        text = error.strerror or str(error)
        raise Refused(f"{place.option}: cannot listen on {address}: {text}{hint}") from error
    for group in opened:
        _complete(group, place.wanted)
    return opened


def share_out(sockets: list[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Which worker accepts from which of these: from each somebody does, and each worker from some."""
    if len(sockets) < workers:
        return [[sockets[number % len(sockets)]] for number in range(workers)]
    return [sockets[number::workers] for number in range(workers)]


def make_groups(places: list[TcpPlace], inherited: Inherited, workers: int) -> list[list[Listener]]:
    """The listeners of each worker.

    Raises: Refused
    """
    groups: list[list[Listener]] = [[] for _ in range(workers)]
    for place in places:
        for sockets in open_tcp(place, inherited):
            listeners = {sock: Listener(sock, place.tls, proxied=place.proxied) for sock in sockets}
            for group, mine in zip(groups, share_out(sockets, workers), strict=True):
                group += [listeners[sock] for sock in mine]
    return groups


def bind_unix(path: Path, mode: int, group: int | None = None) -> socket.socket:
    """Bind a Unix socket with this mode, and this group where one is given, without listening yet.

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
        if group is not None:
            os.chown(path, -1, group, follow_symlinks=False)
    except OSError as error:
        sock.close()
        text = "path is too long for a socket" if "too long" in str(error) else error.strerror
        raise Refused(f"{path}: {text}") from error
    finally:
        os.umask(before)
    return sock


def open_unix(place: UnixPlace, inherited: Inherited) -> Listener:
    """The Unix socket of this name, without listening yet.

    Raises: Refused
    """
    lent = inherited.take_unix(place.path)
    if lent is not None:
        return Listener(lent, role=place.name, is_lent=True)
    return Listener(bind_unix(place.path, place.mode), role=place.name)


def close_unix(sock: socket.socket) -> None:
    """Close a bound Unix socket and remove its name."""
    path = sock.getsockname()
    sock.close()
    try:
        os.unlink(path)
    except OSError:
        pass  # Removed by somebody, or not ours to remove: nobody answers on it in any case.
