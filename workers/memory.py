"""How much memory this process has: asked of the kernel by a file that was opened before confinement."""

from __future__ import annotations

import os
from typing import NamedTuple

_FILE = "/proc/self/smaps_rollup"
_SIZE = 4096


class Use(NamedTuple):
    """Memory of a process."""

    pss_bytes: int
    """Its own, and its share of what it has in common with others."""
    rss_bytes: int


class Memory:
    """The way to ask; made in the process that it is of, which a fork is not."""

    def __init__(self) -> None:
        try:
            self._fd = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # A kernel without it, or no /proc: then nobody is told.

    def read(self) -> Use:
        """What it has now; takes some milliseconds. Zeros where it is unknown."""
        try:
            text = os.pread(self._fd, _SIZE, 0).decode("ascii", "replace")
        except OSError:
            return Use(0, 0)
        sizes = dict(line.split(":", 1) for line in text.splitlines() if line.endswith(" kB"))
        found = {name: int(size.split()[0]) << 10 for name, size in sizes.items()}
        return Use(found.get("Pss", 0), found.get("Rss", 0))
