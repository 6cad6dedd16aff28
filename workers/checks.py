"""What a daemon makes sure of before it runs: its lock file, the databases, the mailstores."""

from __future__ import annotations

import os
from pathlib import Path

from mstore.accounts.database import ACCOUNTS, Database, missing_databases
from mstore.base.errors import Busy, Corrupt, Unavailable
from mstore.base.options import Settings
from mstore.files.lockfile import LockFile
from workers.parent import Refused
from workers.privileges import name_user


def take_lock(settings: Settings, name: str) -> LockFile:
    """Take the daemon's lock file.

    Raises: Refused when it runs already.
    """
    path: Path = settings.lock_path(name)
    try:
        return LockFile.take(path)
    except Busy as error:
        raise Refused(str(error)) from None
    except PermissionError as error:
        raise Refused(f"{path}: {error.strerror} ({describe_denial(path)})") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def describe_denial(path: Path) -> str:
    """What keeps this process from writing a file."""
    user = name_user(os.geteuid())
    for directory in reversed(path.parents):
        if not os.access(directory, os.X_OK):
            return f"{directory} is closed to user {user}"
    found = path if path.exists() else path.parent
    return f"{found} belongs to user {name_user(found.stat().st_uid)}, this is run by {user}"


def check_databases(settings: Settings) -> None:
    """Pass when no database file is missing.

    Raises: Refused
    """
    try:
        missing = missing_databases(settings.db_path)
    except Unavailable as error:
        raise Refused(str(error)) from None
    refuse_missing(missing)


def check_accounts(settings: Settings) -> None:
    """Pass when the accounts can be read and written as the user that this process has become.

    Raises: Refused
    """
    database = Database(settings.db_path, ACCOUNTS)
    if not os.access(database.path, os.R_OK | os.W_OK):
        raise Refused(f"{database.path}: Permission denied ({describe_denial(database.path)})")
    try:
        database.read(lambda connection: None)
    except (Unavailable, Corrupt) as error:
        raise Refused(f"{error}; restore all database files from a backup") from None
    finally:
        database.close()


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
