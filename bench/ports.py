"""Ports to listen on."""

from __future__ import annotations

import socket
from collections.abc import Iterator


def next_free(ports: Iterator[int]) -> int:
    """The first of these ports at which nobody listens; those before it, and it, are taken out."""
    for port in ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is left")
