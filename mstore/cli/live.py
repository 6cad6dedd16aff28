"""What msadm asks of the workers that run, over their control sockets (``workers/control.py``)."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mstore.base.errors import Unavailable
from mstore.base.options import Settings

PATIENCE_S = 10.0
PROTOCOLS = ("imapd", "pop3d", "lmtpd")
"""The daemons that have sessions."""


def ask_all(
    settings: Settings, do: str, user: str | None, session: str | None = None
) -> list[dict[str, Any]]:
    """What all workers of all daemons answer; each session has its ``service`` added.

    Raises: Unavailable when a worker that is there does not answer; OSError when one may not be asked.
    """
    request = {"do": do, "user": user, "session": session}
    return [
        {"service": service_of(path), **line}
        for path in control_sockets(settings)
        for line in _ask(path, request)
    ]


def control_sockets(settings: Settings, service: str = "") -> list[Path]:
    """The sockets of the workers, of all daemons or of this one; there may be one that a dead worker left."""
    directory = settings.ipc_path("control")
    try:
        return sorted(
            path
            for path in directory.iterdir()
            if service in ("", service_of(path)) and stat.S_ISSOCK(path.lstat().st_mode)
        )
    except FileNotFoundError:
        return []  # No worker runs, or one has just ended.


def service_of(path: Path) -> str:
    """The daemon whose worker has this control socket."""
    return path.name.rpartition(".")[0]


def connect(path: Path, request: dict[str, Any]) -> socket.socket | None:
    """Ask a worker something; its answer is to be read. None when it is gone.

    Raises: OSError when it may not be asked, TimeoutError when it does not listen.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE_S)
    try:
        sock.connect(str(path))
        sock.sendall(json.dumps(request).encode("ascii") + b"\n")
    except (ConnectionRefusedError, FileNotFoundError, BrokenPipeError):
        sock.close()
        return None  # A dead worker has left it.
    except BaseException:
        sock.close()
        raise
    return sock


def invoker() -> str:
    """Who runs this, for the log; asked before rights are given up."""
    try:
        return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _ask(path: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sock = connect(path, request)
    if sock is None:
        return
    try:
        with sock, sock.makefile("rb") as answer:
            lines = answer.read().splitlines()
    except ConnectionError:
        lines = []
    if not lines or json.loads(lines[-1]) != {}:
        raise Unavailable(f"{path}: the worker has not answered in full; try again")
    yield from map(json.loads, lines[:-1])
