"""System calls that are counted, and that fail when a test says so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mstore.files import raw


class Faults(raw.System):
    """Counts the calls by name; ``fail`` makes the one of a name and number raise, or write only a part."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._fail: Callable[[str, int], int | None] = lambda name, number: None
        self.boot = super().boot_id()

    def fail(self, wanted: str, at: int = 0, code: int = errno.ENOSPC) -> None:
        """The call ``wanted`` fails from its ``at``-th time on."""
        start = self.calls.count(wanted)
        self._fail = lambda name, number: code if name == wanted and number >= start + at else None

    def heal(self) -> None:
        """All works again."""
        self._fail = lambda name, number: None

    def _note(self, name: str) -> None:
        code = self._fail(name, self.calls.count(name))
        self.calls.append(name)
        if code is not None:
            raise OSError(code, os.strerror(code))

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        try:
            self._note("pwrite")
        except OSError:
            super().pwrite(fd, memoryview(data).cast("B")[: len(data) // 2], offset)
            raise
        return super().pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[Any], offset: int) -> int:
        try:
            self._note("pwritev")
        except OSError:
            super().pwritev(fd, buffers[:1], offset)
            raise
        return super().pwritev(fd, buffers, offset)

    def copy_range(self, source: int, target: int, count: int, source_at: int, target_at: int) -> int:
        self._note("copy_range")
        return super().copy_range(source, target, count, source_at, target_at)

    def truncate(self, fd: int, size: int) -> None:
        self._note("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._note("sync")
        super().sync(fd)

    def sync_directory(self, path: Any) -> None:
        self._note("sync_directory")
        super().sync_directory(path)

    def rename(self, source: Any, target: Any) -> None:
        self._note("rename")
        super().rename(source, target)

    def open(self, path: Any, flags: int, mode: int) -> int:
        self._note("open")
        return super().open(path, flags, mode)

    def boot_id(self) -> bytes:
        return self.boot


@contextmanager
def faults() -> Iterator[Faults]:
    """Use failing system calls for the length of a ``with`` block."""
    system = Faults()
    before = raw.install(system)
    try:
        yield system
    finally:
        raw.install(before)
