"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import socket
import struct
from typing import Any


def peer_uid(sock: Any) -> int:
    """The user of the process that has connected, or that listens where we have connected."""
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])
