"""The file that a daemon's standard error goes to: opened anew when it was renamed, in workers too.

A worker may open no log itself (``confine.py``); its daemon hands it the new descriptor on a channel of its
own. Standard error keeps its number, so whoever writes to it goes on as before.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable

from mstore.base.log import Log
from mstore.base.options import Settings
from workers.parent import Parent
from workers.privileges import open_log

_WORD = b"log"


def is_ours(settings: Settings, parent: Parent) -> bool:
    """Whether a daemon's standard error is a file below ``log``: storemgr has seen to it."""
    return settings.log_to != "stderr" and parent.liveness is not None


def reopen(settings: Settings, name: str, log: Log, channels: Iterable[socket.socket] = ()) -> None:
    """Go on in a new ``log/NAME.log`` if the old one was renamed, workers (by their channels) as well."""
    path = settings.log_path / f"{name}.log"
    try:
        fd = open_log(path)
    except OSError as error:
        log.error("log-not-reopened", path=path, error=error.strerror or error)
        return
    try:
        if os.geteuid() == 0:
            status = os.stat(settings.log_path)
            os.fchown(fd, status.st_uid, status.st_gid)
        before = os.fstat(2).st_mode
        if stat.S_ISREG(before):
            os.fchmod(fd, stat.S_IMODE(before))
        _take(fd)
        for channel in channels:
            try:
                socket.send_fds(channel, [_WORD], [fd])
            except OSError:
                pass  # A worker that has just died, or has not taken the last one yet.
    finally:
        os.close(fd)
    log.info("log-reopened", path=path)


def receive(channel: socket.socket) -> bool:
    """In a worker: take the descriptor that was handed over; False when there will be none any more."""
    try:
        word, fds, _, _ = socket.recv_fds(channel, len(_WORD), 1)
    except BlockingIOError:
        return True
    except OSError:
        return False
    for fd in fds:
        _take(fd)
        os.close(fd)
    return bool(word)


def _take(fd: int) -> None:
    for number in (1, 2):
        os.dup2(fd, number)
