"""The listening sockets that storemgr binds for its daemons, and keeps while those come and go."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from mstore.base.log import Log
from mstore.base.options import Settings
from workers.inherited import Inherited
from workers.listeners import open_tcp, open_unix
from workers.places import tcp_places, unix_places
from workers.privileges import Identity, acting_as


def open_sockets(
    settings: Settings, daemon: str, identity: Identity, inherited: Inherited
) -> list[socket.socket]:
    """Every socket of a daemon: those that were inherited, and new ones where there are none yet.

    Raises: Refused
    """
    places = tcp_places(settings, daemon)
    found = [sock for place in places for group in open_tcp(place, inherited) for sock in group]
    with acting_as(identity):
        found += [open_unix(place, inherited).socket for place in unix_places(settings, daemon)]
    return found


def reopen_sockets(
    settings: Settings, daemon: str, identity: Identity, had: list[socket.socket], log: Log
) -> list[socket.socket]:
    """The same as the configuration wants them now; those that it no longer wants are closed.

    Raises: Refused; ``had`` is then as it was.
    """
    # Not by socket.dup(): that would make them block, in the workers that have them open as well.
    inherited = Inherited(socket.socket(fileno=os.dup(sock.fileno())) for sock in had)
    try:
        return open_sockets(settings, daemon, identity, inherited)
    finally:
        inherited.close_rest(log)


def unix_paths(sockets: Iterable[socket.socket]) -> set[str]:
    """Where the Unix sockets among them are."""
    return {str(sock.getsockname()) for sock in sockets if sock.family == socket.AF_UNIX}


def remove_paths(paths: Iterable[str]) -> None:
    """Remove the names of Unix sockets that nobody answers on any more."""
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            pass  # Removed by somebody, or not ours to remove.
