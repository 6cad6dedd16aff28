"""What a daemon that leaves after an upgrade has of connections still, told to the one that took its place.

It writes its counts (``crowd.py``) to ``run/DAEMON.leaving.PID`` about once a second, as long as it runs, and
holds a lock on that file. Its successors add them to their own, so that no limit is had twice. A file that
nobody holds is of a process that was killed, and is removed.
"""

from __future__ import annotations

import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

from mstore.base.errors import Busy
from mstore.files.lockfile import TOLD_AT, LockFile, holder
from workers.crowd import Crowd

_SETTLED_NS = 1_000_000_000
_NUMBER_BYTES = 4
"""Told are a length and a checksum of so many bytes each, then what ``Crowd.dump`` gives."""


def path_of(run_path: Path, daemon: str, pid: int) -> Path:
    """The file of a daemon that leaves."""
    return run_path / f"{daemon}.leaving.{pid}"


class Told:
    """The file of this daemon, from when it leaves until it ends."""

    def __init__(self, path: Path, crowd: Crowd) -> None:
        self._path = path
        self._crowd = crowd
        self._lock: LockFile | None = None
        self._said = b""
        self.tell()

    def tell(self) -> None:
        """Write the counts as they are now, if that can be done; who reads the half of it notices."""
        with suppress(OSError, Busy):
            if self._lock is not None and not os.fstat(self._lock.fileno()).st_nlink:
                # Somebody who looked just before we had the lock took it for a dead one's.
                self._lock.release()
                self._lock, self._said = None, b""
            if self._lock is None:
                self._lock = LockFile.take(self._path)
            data = self._crowd.dump()
            if data != self._said:
                head = len(data).to_bytes(_NUMBER_BYTES, "little")
                head += zlib.crc32(data).to_bytes(_NUMBER_BYTES, "little")
                self._lock.tell(head + data)
                self._said = data

    def close(self) -> None:
        """There is nothing left."""
        if self._lock is not None:
            with suppress(OSError):
                self._path.unlink()
            self._lock.release()
            self._lock = None


class Elders:
    """Those that leave and are not us, as a daemon in charge looks at them."""

    def __init__(self, run_path: Path, daemon: str, crowd: Crowd) -> None:
        self._run_path = run_path
        self._pattern = f"{daemon}.leaving.*"
        self._crowd = crowd
        self._found: dict[Path, bytes] = {}
        self._looked_at = 0
        """When the directory was last changed, nanoseconds since 1970, if nobody was found there then."""

    def __bool__(self) -> bool:
        """Whether there are any, as far as is known."""
        return bool(self._found)

    def look(self) -> None:
        """Count with ours what they have now; what cannot be read is as it was when it could."""
        changed = self._changed()
        if changed == self._looked_at:
            return
        found: dict[Path, bytes] = {}
        for path in self._run_path.glob(self._pattern):
            with suppress(OSError):
                if holder(path) is None:
                    path.unlink()
                    continue
                data = _read(path)
                found[path] = self._found.get(path, b"") if data is None else data
        if found != self._found:
            self._found = found
            self._crowd.add_elders(found.values())
        # What comes in the same tick of the system's clock leaves the time of the directory as it is.
        is_settled = time.time_ns() - changed > _SETTLED_NS
        self._looked_at = changed if is_settled and not found else 0

    def _changed(self) -> int:
        """When a name has come or gone last; -1 where that cannot be told."""
        try:
            return self._run_path.stat().st_mtime_ns
        except OSError:
            return -1


def _read(path: Path) -> bytes | None:
    """What is told there; None when it is just being written.

    Raises: OSError
    """
    raw = path.read_bytes()[TOLD_AT:]
    size = int.from_bytes(raw[:_NUMBER_BYTES], "little")
    data = raw[2 * _NUMBER_BYTES :][:size]
    checksum = int.from_bytes(raw[_NUMBER_BYTES : 2 * _NUMBER_BYTES], "little")
    return data if len(data) == size and zlib.crc32(data) == checksum else None
