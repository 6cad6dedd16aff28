"""The command lines that were given at msadm's prompt, kept in a file that nobody else reads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MOST = 1000
"""So many lines are kept when the file is next opened."""


def place() -> Path:
    """Where the file is: ``m-store/msadm-history`` in the user's directory of state (XDG Base Directory)."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")
    return Path(base) / "m-store" / "msadm-history"


class History:
    """The lines of one file. Where it cannot be read or written, there is no history, and that is all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        try:
            self._open()
        except OSError:
            self.is_kept = False
        else:
            self.is_kept = True

    def _open(self) -> None:
        if not self.path.is_absolute():
            raise OSError("this user has no home")
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "r+", encoding="utf-8", errors="replace") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise OSError(f"{self.path} is not ours")  # As with sudo, which leaves HOME as it was.
            os.fchmod(fd, 0o600)
            lines = file.read().splitlines()
            self.lines = lines[-MOST:]
            if len(lines) > 2 * MOST:
                file.seek(0)
                file.truncate()
                file.writelines(f"{line}\n" for line in self.lines)

    def add(self, line: str) -> None:
        """Keep a line, unless it is the last one again."""
        if self.lines[-1:] == [line]:
            return
        self.lines.append(line)
        if self.is_kept:
            try:
                fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
                with open(fd, "w", encoding="utf-8", errors="replace") as file:
                    file.write(f"{line}\n")
            except OSError:
                self.is_kept = False
