"""What can be seen of the running daemons from outside: who runs, since when, doing what, answering where.

Looks at lock files, ``/proc`` and sockets; needs no help from the daemons.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from mstore.base.options import Settings
from mstore.base.values import Address
from mstore.files.lockfile import holder

PATIENCE_S = 5.0


@dataclass(frozen=True)
class Process:
    """One daemon as ``status`` shows it; ``pid`` is None when it does not run."""

    name: str
    pid: int | None
    up_s: float
    doing: str

    @property
    def workers(self) -> str:
        """The number of workers that its title tells, or nothing."""
        return self._number("workers")

    @property
    def sessions(self) -> str:
        """The number of sessions that its title tells, or nothing."""
        return self._number("sessions")

    def _number(self, what: str) -> str:
        found = re.search(rf"(\d+) {what}\b", self.doing)
        return found[1] if found else ""


@dataclass(frozen=True)
class Door:
    """One place where a service is to answer."""

    service: str
    where: str
    greeting: Callable[[], bytes]


def look_up(settings: Settings, name: str) -> Process:
    """A daemon by its lock file."""
    try:
        pid = holder(settings.lock_path(name))
    except OSError:
        pid = None
    if pid is None:
        return Process(name, None, 0.0, "")
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            title = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        with open(f"/proc/{pid}/stat", "rb") as file:
            started_ticks = int(file.read().rsplit(b")", 1)[1].split()[19])
        up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return Process(name, pid, 0.0, "")
    doing = re.fullmatch(r"m-store: \S+ \[(.*)\]", title)
    return Process(name, pid, max(0.0, up_s), doing[1] if doing else title)


def look_up_all(settings: Settings) -> list[Process]:
    """storemgr and the daemons it is to keep running.

    Of one that does not run, storemgr's title tells if it has crashed again and again.
    """
    manager, *others = [look_up(settings, name) for name in ("storemgr", *settings.services())]
    doing, *crashing = manager.doing.split("; ")
    crashes = dict(text.split(" ", 1) for text in crashing if " " in text)
    found = [replace(manager, doing=doing)]
    for process in others:
        text = crashes.get(process.name, "")
        found.append(replace(process, doing=", ".join(filter(None, (process.doing, text)))))
    return found


def reach(address: Address) -> tuple[str, int]:
    """Where to connect in order to reach a listener of this machine."""
    loopback = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
    return loopback.get(address.host, address.host), address.port


def _read_greeting(sock: socket.socket) -> bytes:
    line = b""
    while b"\n" not in line and len(line) < 1000:
        data = sock.recv(1000)
        if not data:
            break
        line += data
    if not line:
        raise OSError(None, "closed the connection without a greeting")
    return line


def _greet_tcp(address: Address, tls: bool, proxied: bool) -> bytes:
    with socket.create_connection(reach(address), PATIENCE_S) as sock:
        if proxied:
            sock.sendall(b"PROXY UNKNOWN\r\n")
        if not tls:
            return _read_greeting(sock)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(sock) as secured:
            return _read_greeting(secured)


def _greet_unix(path: str, speaks: bool) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(path)
        if speaks:
            return _read_greeting(sock)
        # Who waits for a command closes when it is told that none will come.
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(100)


def doors(settings: Settings) -> Iterator[Door]:
    """Every place where something is to answer."""
    for name in settings.services():
        for tls, addresses in ((False, settings.listen(name)), (True, settings.tls_listen(name))):
            for address in addresses:
                proxied = address in settings.proxy_listen
                yield Door(name, str(address), partial(_greet_tcp, address, tls, proxied))
    for socket_name in ("authproxyd", "authproxyd-sasl", "lmtpd", "lmtpd-oq"):
        name = socket_name.partition("-")[0]
        if socket_name == "lmtpd-oq" and not settings.lmtp_enable_overquota_delivery:
            continue
        path, speaks = str(settings.ipc_path(socket_name)), name == "lmtpd"
        yield Door(name, path, partial(_greet_unix, path, speaks))


def taken_doors(settings: Settings) -> list[str]:
    """The listeners whose port is held by another program.

    The daemons cannot see that for themselves when it is a message store of the same user: its sockets may be
    shared, and the system would spread the connections over both.
    """
    found = []
    for name in settings.services():
        for option, addresses in (("", settings.listen(name)), ("-tls", settings.tls_listen(name))):
            found += [f"{name}{option}-listen: cannot listen on {one}" for one in addresses if _is_taken(one)]
    return found


def _is_taken(address: Address) -> bool:
    host = None if address.host == "*" else address.host
    try:
        places = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False  # The daemon will say what is wrong with it.
    return any(_is_held(family, where) for family, _, _, _, where in places)


def _is_held(family: int, where: object) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(where)  # type: ignore[arg-type]
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def silent_doors(settings: Settings, patience_s: float) -> dict[Door, str]:
    """The doors at which nobody answers within the time, each with the last reason."""
    deadline = time.monotonic() + patience_s
    waiting = dict.fromkeys(doors(settings), "")
    while True:
        for door in list(waiting):
            try:
                door.greeting()
                del waiting[door]
            except OSError as error:
                waiting[door] = error.strerror or str(error)
        if not waiting or time.monotonic() >= deadline:
            return waiting
        time.sleep(0.05)
