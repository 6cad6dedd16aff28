"""storemgr under a service manager: what it tells, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import Instance
from tests.kit.notified import Notified


def test_storemgr_tells_its_service_manager(
    make_store: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    path = store.path / "notify"
    with Notified(path) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        store.start(wait=False)

        told = manager.until("READY=1")
        assert "WATCHDOG=1" in told
        assert [line for line in told if line.startswith("STATUS=")][-1].startswith("STATUS=4 services up ")
        assert store.is_ready(), "it says that it is ready before it is"
        manager.until("WATCHDOG=1")
        for daemon in ("authproxyd", "imapd") if os.geteuid() == 0 else ():  # Others may not read that.
            environment = Path(f"/proc/{store.daemon_pid(daemon)}/environ").read_bytes()
            assert b"NOTIFY_SOCKET" not in environment
        store.stop()
        manager.until("STOPPING=1")
