"""The service manager is told by datagrams, as sd_notify(3) has them."""

import os
import socket
from pathlib import Path

import pytest

from mstore.base import clock
from workers.notify import ServiceManager


def listen(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.setblocking(False)
    return sock


def received(sock: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(sock.recv(1000).decode())
        except BlockingIOError:
            return found


def test_states_are_told_and_the_variables_are_not_passed_on(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "PATH": "/bin"}
    with listen(f"{tmp_path}/notify") as sock:
        manager = ServiceManager(environment)
        manager.ready()
        manager.reloading()
        manager.stopping()
        manager.turn()
        ready, reloading, stopping = received(sock)
    assert (ready, stopping) == ("READY=1", "STOPPING=1")
    first, second = reloading.split("\n")
    assert first == "RELOADING=1" and second.removeprefix("MONOTONIC_USEC=").isdigit()
    assert environment == {"PATH": "/bin"}


def test_an_abstract_address() -> None:
    name = f"m-store-test-{os.getpid()}"
    with listen(f"\0{name}") as sock:
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert received(sock) == ["READY=1"]


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1", "/nowhere/at/all"])
def test_without_a_listener_nothing_happens(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"})
    manager.ready()
    manager.turn()


def test_the_watchdog_is_fed_at_half_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, own = 100.0, f"{os.getpid()}"
    monkeypatch.setattr(clock, "steady", lambda: now)
    with listen(f"{tmp_path}/notify") as sock:
        manager = ServiceManager(
            {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": own}
        )
        times = []
        for second in range(12):
            now = 100.0 + second
            manager.turn()
            times += [second] * len(received(sock))
    assert times == [0, 5, 10]


def test_a_watchdog_for_another_process_is_not_fed(tmp_path: Path) -> None:
    with listen(f"{tmp_path}/notify") as sock:
        ServiceManager(
            {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}
        ).turn()
        assert received(sock) == []
