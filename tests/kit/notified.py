"""What storemgr tells its service manager."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from tests.kit.instance import wait_for


class Notified:
    """A service manager's socket, read as it fills: it holds few, and storemgr waits for nobody."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._path = path
        self._told: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def __enter__(self) -> Notified:
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(self._path))
        self._thread.join(30)
        self._socket.close()

    def _read(self) -> None:
        while data := self._socket.recv(1000):
            self._told += data.decode().split("\n")

    def until(self, start: str) -> list[str]:
        """The lines since the last such call up to the first that begins so; it must come within a minute."""
        wait_for(
            lambda: any(line.startswith(start) for line in self._told),
            60,
            lambda: f"no {start} in {self._told}",
        )
        number = next(number for number, line in enumerate(self._told) if line.startswith(start))
        told, self._told[: number + 1] = self._told[: number + 1], []
        return told
