"""The control socket of a worker: what administrators ask of its running sessions, and what they say there.

A request is one line of JSON: ``{"do": "who"}``, or ``kick``, ``trace`` or ``talk``, with ``user`` and
``session`` to choose by, and in ``by`` who asks, for the log. The answer to the first two is a line of JSON
for each session, then ``{}``; to ``trace`` one for each thing said, until the asker hangs up (``tracing``).
After ``talk`` comes ``{}``, or a line that says what is wrong, and from there on the connection is a session
of the user's. The socket is named for the worker's process id; the daemon removes it when it has died.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import gevent
import gevent.socket

from mstore.base import blocking
from mstore.base.log import Log
from mstore.base.options import Settings
from workers.listeners import bind_unix
from workers.parent import Refused
from workers.peers import peer_uid

MODE = 0o600
REQUEST_BYTES = 4096
PATIENCE_S = 10.0
"""How long a request and the taking of its answer may last."""
AT_ONCE = 4
"""So many askers are served at a time; more are turned away."""
TRACES_AT_ONCE = 8
PIECE = 200
"""So many lines of an answer are made in one go."""
NEEDS_USER = ("kick", "trace", "talk")
REQUESTS = ("who", *NEEDS_USER)


class Desk(Protocol):
    """Who answers: the connections of the worker."""

    def answer(self, request: dict[str, Any]) -> Iterable[dict[str, Any]]: ...
    def adopt(self, accepted: Any, user: str) -> None: ...
    @property
    def accepting(self) -> bool: ...


def bind_control(settings: Settings, daemon: str, pid: int, log: Log) -> socket.socket | None:
    """Listen for administrators; called before the worker is confined. A worker can do without: None."""
    directory = settings.ipc_path("control")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        bound = bind_unix(directory / f"{daemon}.{pid}", MODE)
    except (OSError, Refused) as error:
        log.warning("no-control-socket", reason=str(error))
        return None
    bound.listen(AT_ONCE)
    bound.setblocking(False)
    return bound


def remove_control(settings: Settings, daemon: str, pid: int) -> None:
    """Remove what a dead worker has left."""
    try:
        settings.ipc_path(f"control/{daemon}.{pid}").unlink(missing_ok=True)
    except OSError:
        pass  # Nobody answers on it in any case.


def remove_stale(settings: Settings, daemon: str) -> None:
    """Remove what workers have left that died after their daemon."""
    try:
        names = os.listdir(settings.ipc_path("control"))
    except FileNotFoundError:
        return  # The last daemon of all has removed it.
    for name in names:
        service, _, pid = name.rpartition(".")
        if service == daemon and pid.isdigit() and _has_ended(int(pid)):
            remove_control(settings, daemon, int(pid))


def _has_ended(pid: int) -> bool:
    """Whether a process is no more, or only until init waits for it: not every init does so at once."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def remove_directory(settings: Settings) -> None:
    """Remove the directory of the sockets when the last daemon ends."""
    try:
        settings.ipc_path("control").rmdir()
    except OSError:
        pass  # Others have sockets there.


class Control:
    """Answers on a control socket, each asker in a greenlet of its own."""

    def __init__(
        self,
        bound: socket.socket,
        desk: Desk,
        trace: Callable[[Any, dict[str, Any]], None],
        log: Log,
    ) -> None:
        """``trace`` serves an asker until he hangs up."""
        self._bound = bound
        self._desk = desk
        self._trace = trace
        self._log = log
        self._busy = self._tracing = 0
        self._watcher = gevent.get_hub().loop.io(bound.fileno(), 1)
        self._watcher.start(self._accept)

    def _accept(self) -> None:
        try:
            accepted, _ = self._bound.accept()
        except OSError:
            return  # The asker is gone, or descriptors are short: it may ask again.
        if self._busy >= AT_ONCE or not is_allowed(accepted):
            accepted.close()
            return
        gevent.spawn_raw(self._serve, accepted)

    def _serve(self, accepted: socket.socket) -> None:
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        asker = gevent.socket.socket(family, kind, protocol, accepted.detach())
        self._busy += 1
        try:
            with gevent.Timeout(PATIENCE_S, TimeoutError("timed out")):
                request = parse_request(_read_line(asker))
                if request["do"] in ("who", "kick"):
                    self._answer(asker, request)
                elif request["do"] == "talk":
                    self._talk(asker, request)
        except (OSError, ValueError) as error:
            self._log.info("control-failed", reason=str(error))
            request = {}
        except Exception as error:
            self._log.exception("control-failed", error)
            request = {}
        finally:
            self._busy -= 1
        if request.get("do") == "trace":
            self._follow(asker, request)
        asker.close()

    def _answer(self, asker: Any, request: dict[str, Any]) -> None:
        """Send a line for each session, in pieces: there may be many, and other things to do."""
        lines: list[str] = []
        for line in self._desk.answer(request):
            lines.append(json.dumps(line))
            if len(lines) == PIECE:
                asker.sendall(("\n".join(lines) + "\n").encode("ascii"))
                lines.clear()
                blocking.breathe()
        asker.sendall("\n".join([*lines, "{}\n"]).encode("ascii"))

    def _talk(self, asker: Any, request: dict[str, Any]) -> None:
        """Hand the connection over to a session of the user's."""
        if not self._desk.accepting:
            asker.sendall(b'{"error": "the worker is about to end"}\n')
            return
        self._log.info("talk", user=request["user"], by=request.get("by"))
        asker.sendall(b"{}\n")
        accepted = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, asker.detach())
        accepted.setblocking(False)
        self._desk.adopt(accepted, request["user"])

    def _follow(self, asker: Any, request: dict[str, Any]) -> None:
        """Send a trace until the asker hangs up."""
        if self._tracing >= TRACES_AT_ONCE:
            return
        self._tracing += 1
        self._log.info("trace", user=request["user"], by=request.get("by"))
        try:
            self._trace(asker, request)
        except OSError:
            pass  # That is how he hangs up.
        except Exception as error:
            self._log.exception("control-failed", error)
        finally:
            self._tracing -= 1


def is_allowed(asker: socket.socket) -> bool:
    """Whether the process at the other end is root's or of our own user."""
    return peer_uid(asker) in (0, os.geteuid())


def parse_request(line: bytes) -> dict[str, Any]:
    """What is asked for.

    Raises: ValueError
    """
    try:
        request = json.loads(line)
    except RecursionError:
        raise ValueError("request is nested too deeply") from None
    if not isinstance(request, dict) or request.get("do") not in REQUESTS:
        raise ValueError("request is not known")
    if any(not isinstance(request.get(key), str | None) for key in ("user", "session", "by")):
        raise ValueError("user, session and by are strings")
    if request["do"] in NEEDS_USER and request.get("user") is None:
        raise ValueError(f"{request['do']} needs a user")
    size_bytes, whole = request.get("bytes", 0), request.get("whole", False)
    if type(size_bytes) is not int or not 0 <= size_bytes <= 1 << 20 or type(whole) is not bool:
        raise ValueError("bytes is a number below a million, whole is true or false")
    return request


def _read_line(asker: Any) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = asker.recv(REQUEST_BYTES)
        line += piece
        if not piece or len(line) > REQUEST_BYTES:
            raise ValueError("request is not a line")
    return line
