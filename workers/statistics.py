"""What a daemon appends to ``log/DAEMON.stats`` on SIGHUP: a readable block, summed over its workers."""

from __future__ import annotations

import os
from pathlib import Path

from mstore.base import clock
from workers.privileges import open_log


def format_block(daemon: str, pid: int, started: float, now: float, rows: list[tuple[str, object]]) -> str:
    """One block: a line that names daemon, time and age, then name and value by line, then a blank line."""
    head = f"{daemon} {clock.format_timestamp(now)} pid {pid} up {clock.format_age(now - started)}"
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join([head, *(f"  {name:<{width}}  {value}" for name, value in rows)]) + "\n\n"


def append_block(path: Path, block: str, owner: tuple[int, int] | None = None) -> None:
    """Append a block with one write; ``owner`` (user and group) is whose file it is to be, if not ours.

    Raises: OSError
    """
    fd = open_log(path)
    try:
        if owner is not None:
            os.fchown(fd, *owner)
        os.write(fd, block.encode())
    finally:
        os.close(fd)
