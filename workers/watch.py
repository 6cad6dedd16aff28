"""Files that may be replaced while we run: told when they have changed, and have come to rest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mstore.base import clock

LOOK_S = 3.0
_Sight = list[tuple[int, int, int, int] | None]


class Watch:
    """Some files, looked at now and then; links are followed, so that one that is put elsewhere counts."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._taken = self._seen = self._look()
        self._looked_s = clock.steady()

    @property
    def is_changing(self) -> bool:
        """Whether the last look has found something new that may not have come to rest yet."""
        return self._seen != self._taken

    def has_changed(self) -> bool:
        """Whether they have changed since this last said so, and not between the last two looks.

        A certificate and its key are two files, which nobody can replace as one.
        """
        now = clock.steady()
        if not self._paths or now - self._looked_s < LOOK_S:
            return False
        self._looked_s = now
        before, self._seen = self._seen, self._look()
        if self._seen == self._taken or self._seen != before or None in self._seen:
            return False
        self._taken = self._seen
        return True

    def _look(self) -> _Sight:
        return [_look_at(path) for path in self._paths]


def _look_at(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
