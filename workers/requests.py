"""What administrators ask of storemgr on ``ipc/storemgr``: a line of JSON, answered by another in the end.

``{"do": "reload"}``, or ``{"do": "upgrade", "python": …, "root": …}`` with the program to become. The answer
has ``failed``, a list of what went wrong; of a reload also ``needs_restart``.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

from mstore.base.log import Log
from workers.peers import peer_uid
from workers.supervisor import Supervisor

NAME = "storemgr"
MODE = 0o600
MOST_BYTES = 16_384
MOST_ASKERS = 16


class Asker:
    """One connection of an administrator's program."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.said = b""
        sock.setblocking(False)

    def answer(self, **fields: Any) -> None:
        """Tell the outcome, and end the connection; one that is gone is not told."""
        try:
            self.socket.send(json.dumps(fields).encode("ascii") + b"\n")
        except OSError:
            pass  # It has not waited.
        self.socket.close()


class Requests:
    """The socket and who is connected to it."""

    def __init__(
        self,
        bound: socket.socket,
        supervisor: Supervisor,
        obey: Callable[[dict[str, Any], Asker], None],
        log: Log,
    ) -> None:
        self.bound = bound
        self._supervisor = supervisor
        self._obey = obey
        self._log = log
        self._askers: list[Asker] = []
        bound.setblocking(False)
        supervisor.watch(bound.fileno(), self._accept)

    def close(self) -> None:
        """Hear nobody any more."""
        for asker in list(self._askers):
            self._forget(asker)
            asker.socket.close()
        self._supervisor.unwatch(self.bound.fileno())
        self.bound.close()

    def _accept(self) -> None:
        try:
            accepted, _ = self.bound.accept()
        except OSError:
            return  # The asker is gone, or descriptors are short: it may ask again.
        if peer_uid(accepted) not in (0, os.geteuid()) or len(self._askers) >= MOST_ASKERS:
            accepted.close()
            return
        self.add(accepted)

    def add(self, sock: socket.socket) -> None:
        """Hear what this one says."""
        asker = Asker(sock)
        self._askers.append(asker)
        self._supervisor.watch(sock.fileno(), lambda: self._read(asker))

    def connected(self) -> list[int]:
        """The descriptors of those who have said nothing yet."""
        return [asker.socket.fileno() for asker in self._askers if not asker.said]

    def _read(self, asker: Asker) -> None:
        try:
            piece = asker.socket.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        asker.said += piece
        if piece and b"\n" not in asker.said and len(asker.said) < MOST_BYTES:
            return
        self._forget(asker)
        try:
            self._obey(parse_request(asker.said), asker)
        except ValueError as error:
            self._log.warning("request-refused", reason=str(error))
            asker.answer(failed=[str(error)])

    def _forget(self, asker: Asker) -> None:
        self._askers.remove(asker)
        self._supervisor.unwatch(asker.socket.fileno())


def parse_request(line: bytes) -> dict[str, Any]:
    """What is asked for.

    Raises: ValueError
    """
    try:
        request = json.loads(line)
    except RecursionError:
        raise ValueError("request is nested too deeply") from None
    if not isinstance(request, dict) or request.get("do") not in ("reload", "upgrade"):
        raise ValueError("request is not known")
    if request["do"] == "upgrade":
        for name in ("python", "root"):
            path = request.get(name)
            if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
                raise ValueError(f"upgrade needs {name}, an absolute path")
    return request
