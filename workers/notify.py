"""What a service manager is told: that we are up, reload or stop, how it goes, and that the loop still turns.

The protocol of sd_notify(3): datagrams of ``NAME=VALUE`` lines to the socket that ``NOTIFY_SOCKET`` names.
Where there is none, as when started by hand, nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from mstore.base import clock

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """The way to the service manager that started this process, if one did."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes its variables out of the environment: they are not for our children."""
        self.variables = {name: environment.pop(name) for name in VARIABLES if name in environment}
        """What was taken, for a program that this process becomes."""
        address, watchdog_us, watched = (self.variables.get(name, "") for name in VARIABLES)
        # A name that begins with @ is an abstract one; anything but a path beside that is not for us.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        if not address.startswith(("/", "@")):
            self._address = ""
        is_ours = watchdog_us.isdigit() and watched in ("", str(os.getpid()))
        self.every_s = int(watchdog_us) / 2e6 if is_ours else 0.0
        """How often the watchdog is to be fed; 0 where there is none."""
        self._due_s = 0.0

    def tell(self, *lines: str) -> None:
        """Send some lines; never waits, and a manager that does not listen is none."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # The watchdog, where there is one, takes care of a silence that lasts.

    def ready(self) -> None:
        """All is up, for the first time or after a reload."""
        self.tell("READY=1")

    def reloading(self) -> None:
        """A reload has begun; it ends with ready."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self.tell("STOPPING=1")

    def turn(self) -> None:
        """The loop has turned: feeds the watchdog, twice as often as it wants."""
        now = clock.steady()
        if self.every_s and now >= self._due_s:
            self._due_s = now + self.every_s
            self.tell("WATCHDOG=1")
