"""What a daemon makes sure of before it runs: its lock file, the databases, the mailstores."""

from __future__ import annotations

import os
from pathlib import Path

from mstore.base.errors import Busy
from mstore.base.options import Settings
from mstore.files.lockfile import LockFile
from workers.parent import Refused


def take_lock(settings: Settings, name: str) -> LockFile:
    """Take the daemon's lock file.

    Raises: Refused when it runs already.
    """
    path: Path = settings.lock_path(name)
    try:
        return LockFile.take(path)
    except Busy as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def check_mailstores(settings: Settings) -> None:
    """Pass when mail can be stored.

    Raises: Refused
    """
    for name, path in settings.mailstores.items():
        if not path.is_dir():
            raise Refused(f"mailstore {name}: there is no directory {path} (msadm init makes it)")
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise Refused(f"mailstore {name}: {path} is not ours to write")


def refuse_missing(paths: list[Path]) -> None:
    """Pass when no database file is missing.

    Raises: Refused, naming every file
    """
    if paths:
        names = "\n".join(f"{path} is missing" for path in paths)
        advice = "restore all database files from a backup, or run msadm init on a new system"
        raise Refused(f"{names}\n{advice}")
