"""storemgr under a service manager: what it tells, and when."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import Instance


def test_storemgr_tells_its_service_manager(
    make_store: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    path = store.path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        store.start(wait=False)

        def until(word: str) -> list[str]:
            told: list[str] = []
            while not any(line.startswith(word) for line in told):
                told += sock.recv(1000).decode().split("\n")
            return told

        told = until("READY=1")
        assert "WATCHDOG=1" in told
        assert store.is_ready(), "it says that it is ready before it is"
        until("STATUS=4 services up ")
        until("WATCHDOG=1")
        for daemon in ("authproxyd", "imapd"):
            environment = Path(f"/proc/{store.daemon_pid(daemon)}/environ").read_bytes()
            assert b"NOTIFY_SOCKET" not in environment
        store.stop()
        until("STOPPING=1")
