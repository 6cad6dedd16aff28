"""The database files: their tables, making them, opening them, and telling which are missing.

SQLite in its rollback-journal mode: readers and writers of several processes, every commit synced. A reader
never waits inside SQLite, where it would stop all sessions of a worker, but through
``mstore.base.blocking``. What is asked at every login is kept by who asks it, for as long as the file stays
as it is (``has_changed``). The passwords are in a file of another kind: ``vault.py``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mstore.accounts.apppasswords import TABLES as APP_TABLES
from mstore.base import blocking
from mstore.base.errors import Corrupt, Exists, Unavailable

T = TypeVar("T")

READ_DEADLINE_S = 5.0
WRITE_DEADLINE_S = 15.0
RECENT_S = 0.010
"""Who works off one command after another looks at the file so often."""
SETTLED_NS = 1_000_000_000
"""A file changed less than this ago may change again within one tick of its clock, unseen by ``stat``."""


PERSIST, WAL = "PERSIST", "WAL"


@dataclass(frozen=True, slots=True)
class Schema:
    """One database file: its name, what marks it as ours, its tables, and its kind of journal.

    One whose name has a directory in it is closed to all but its owner, with that directory.
    """

    file_name: str
    application_id: int
    version: int
    tables: str
    journal: str
    """PERSIST: the journal stays after a commit, as a file of no meaning, so that workers that may use two
    files, and make none beside them, can write (``workers/confine.py``). WAL: a write-ahead log
    (``accounts/vault.py``)."""


ACCOUNTS = Schema(
    "accounts.db",
    0x4D534143,  # "MSAC"
    1,
    """
    CREATE TABLE account (
        id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, mailstore TEXT NOT NULL,
        enabled INTEGER NOT NULL DEFAULT 1, quota_bytes INTEGER, quota_messages INTEGER,
        created_s INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alias (
        key TEXT PRIMARY KEY, name TEXT NOT NULL,
        account_id TEXT NOT NULL REFERENCES account(id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX alias_account ON alias(account_id);
    CREATE TABLE grouping (id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL)
    STRICT, WITHOUT ROWID;
    CREATE TABLE member (
        group_id TEXT NOT NULL REFERENCES grouping(id) ON DELETE CASCADE,
        account_id TEXT NOT NULL REFERENCES account(id) ON DELETE CASCADE, PRIMARY KEY (group_id, account_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX member_account ON member(account_id);
    CREATE TABLE sharing (
        grantee TEXT NOT NULL, account_id TEXT NOT NULL REFERENCES account(id) ON DELETE CASCADE,
        PRIMARY KEY (grantee, account_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sharing_account ON sharing(account_id);
    """,
    journal=PERSIST,
)

PASSWORDS = Schema(
    "passwords/passwords.db",
    0x4D535057,  # "MSPW"
    2,
    """
    CREATE TABLE password (
        account_id TEXT PRIMARY KEY, verifier TEXT NOT NULL, setting TEXT NOT NULL, secret BLOB,
        changed_s INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX password_setting ON password(setting);
    CREATE TABLE scram (
        account_id TEXT NOT NULL REFERENCES password(account_id) ON DELETE CASCADE, hash TEXT NOT NULL,
        salt BLOB NOT NULL, iterations INTEGER NOT NULL, stored_key BLOB NOT NULL, server_key BLOB NOT NULL,
        PRIMARY KEY (account_id, hash)
    ) STRICT, WITHOUT ROWID;
    """
    + APP_TABLES
    + """
    CREATE TABLE site (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    journal=WAL,
)

SCHEMAS = (ACCOUNTS, PASSWORDS)


def missing_databases(db_dir: Path) -> list[Path]:
    """The database files that should be in the directory and are not; no daemon starts without them.

    Raises: Unavailable when this cannot be known.
    """
    missing = []
    for schema in SCHEMAS:
        path = db_dir / schema.file_name
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        except OSError as error:
            if path.parent != db_dir and os.path.isdir(path.parent):
                continue  # The directory is there and closed to us: what is in it others know.
            raise Unavailable(f"cannot look into {db_dir}: {error.strerror}") from None
    return missing


def create_database(db_dir: Path, schema: Schema, mode: int) -> Path:
    """Make one new, empty database file, in a directory of its own where it has one.

    Durable: the file and its name.
    Raises: Exists, Unavailable.
    """
    path = db_dir / schema.file_name
    made = path.with_name(path.name + ".new")
    try:
        if path.parent != db_dir:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            check_private(path.parent)
            sync_directory(db_dir)
        made.unlink(missing_ok=True)
        if path.exists():
            raise Exists(f"{path} is there already")
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode))
        os.chmod(made, mode)
        connection = sqlite3.connect(made, isolation_level=None)
        try:
            connection.executescript(
                f"PRAGMA synchronous=EXTRA; BEGIN; {schema.tables}"
                f"PRAGMA application_id={schema.application_id};"
                f"PRAGMA user_version={schema.version}; COMMIT;"
            )
            connection.execute(f"PRAGMA journal_mode={schema.journal}")
        finally:
            connection.close()
        os.link(made, path)
        made.unlink()
        sync_directory(path.parent)
    except FileExistsError:
        raise Exists(f"{path} is there already") from None
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"cannot make {path}: {error}") from None
    return path


def check_private(directory: Path) -> None:
    """Pass a directory in which nobody but this user can have put anything.

    Raises: Unavailable.
    """
    try:
        status = os.lstat(directory)
    except OSError as error:
        raise Unavailable(f"cannot look at {directory}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise Unavailable(f"{directory} is not a directory")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise Unavailable(f"{directory} must belong to user {os.geteuid()}, who opens it, with mode 0700")


def connect(path: Path, timeout_s: float = 0.0) -> sqlite3.Connection:
    """Open a database file that is there.

    Raises: Unavailable.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        raise Unavailable(f"{path} is missing") from None
    except OSError as error:
        raise Unavailable(f"cannot open {path}: {error.strerror}") from None
    uri = path.absolute().as_uri() + "?mode=rw"
    try:
        return sqlite3.connect(
            uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise Unavailable(f"cannot open {path}: {error}") from None


def check_schema(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Pass a database that is the one of ours that its name says.

    Raises: Corrupt.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != schema.application_id:
        raise Corrupt(f"{path} is not a database of M-Store")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != schema.version:
        raise Corrupt(f"{path} has format {version}; this version reads {schema.version}")
    if schema.journal != WAL:  # That one stays so by itself.
        connection.execute(f"PRAGMA journal_mode={schema.journal}")
    connection.execute("PRAGMA temp_store=MEMORY")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else is at the database at this moment."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def ask_patiently(path: Path, ask: Callable[[], T], deadline_s: float) -> T:
    """Ask again while somebody else is at the database, without stopping other sessions meanwhile.

    Raises: Unavailable, Corrupt.
    """
    waited_s = 0.0
    pause_s = 0.002
    while True:
        try:
            return ask()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or waited_s > deadline_s:
                raise Unavailable(f"cannot use {path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"{path}: {error}") from None
        blocking.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, 0.05)


class Database:
    """One database file, as one process uses it: a connection kept for reading, a short one for each change.

    The reading connection may be carried through a fork as long as only one side goes on to use it, so a
    process can open a file before it gives up the right to.
    """

    __slots__ = ("_name", "_reader", "_recent_until_s", "_settled", "_version", "path", "schema")

    def __init__(self, db_dir: Path, schema: Schema) -> None:
        self.path = db_dir / schema.file_name
        self.schema = schema
        self._name = os.fspath(self.path)
        self._reader: sqlite3.Connection | None = None
        self._version = -1
        self._settled: tuple[int, int, int] | None = None
        self._recent_until_s = 0.0

    def open(self) -> sqlite3.Connection:
        """The reading connection, opened and checked at first use.

        Raises: Unavailable when the file is missing or cannot be opened, Corrupt when it is not ours.
        """
        if self._reader is None:
            connection = connect(self.path)
            try:
                check_schema(connection, self.path, self.schema)
                connection.execute("PRAGMA query_only=1")
                connection.execute("PRAGMA cache_size=-512")
            except BaseException:
                connection.close()
                raise
            self._reader = connection
        return self._reader

    def keep_files(self) -> list[Path]:
        """The file and its journal, which is made when it is not there: all that is written in daily use."""
        journal = self.path.with_name(self.path.name + "-journal")
        if self.schema.journal == PERSIST:
            with contextlib.suppress(OSError):  # Who cannot make it finds out when writing.
                os.close(os.open(journal, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        return [self.path, journal]

    def close(self) -> None:
        """Close the reading connection; the next use opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._version = -1
        self._settled = None
        self._recent_until_s = 0.0

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query, waiting for a writer's commit without stopping other sessions.

        Raises: Unavailable, Corrupt.
        """
        return ask_patiently(self.path, lambda: query(self.open()), READ_DEADLINE_S)

    def is_recent(self) -> bool:
        """Whether ``has_changed`` was asked within the last ``RECENT_S`` and nothing changed here since."""
        return time.monotonic() < self._recent_until_s

    def has_changed(self) -> bool:
        """Whether anybody has changed the file since this was last asked; True the first time.

        Costs one ``stat`` where the file has been left alone for a while, otherwise a question to SQLite.
        While a commit is under way nothing has changed yet.
        Raises: Unavailable, Corrupt when the file cannot be opened.
        """
        self._recent_until_s = time.monotonic() + RECENT_S
        try:
            status = os.stat(self._name)
            seen = (status.st_ino, status.st_size, status.st_ctime_ns)
        except OSError:
            seen = None
        if seen is not None and seen == self._settled:
            return False
        self._settled = None
        connection = self._reader or self.read(lambda opened: opened)
        try:
            rows = connection.execute("PRAGMA data_version").fetchall()
        except sqlite3.Error:
            return False
        if seen is not None and time.time_ns() - seen[2] > SETTLED_NS:
            self._settled = seen
        before, self._version = self._version, rows[0][0]
        return before != self._version

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file.

        Raises: Unavailable, Corrupt when it cannot even be opened.
        """
        rows = self.read(lambda connection: connection.execute("PRAGMA integrity_check(20)").fetchall())
        return [text for (text,) in rows if text != "ok"]

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction, committed when the block ends and undone when it raises.

        Durable: the changes, on leaving.
        Raises: Unavailable, Corrupt.
        """
        connection = connect(self.path, WRITE_DEADLINE_S)
        try:
            check_schema(connection, self.path, self.schema)
            connection.execute("PRAGMA synchronous=EXTRA")
            connection.execute("PRAGMA foreign_keys=1")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise Unavailable(f"cannot change {self.path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"{self.path}: {error}") from None
        finally:
            connection.close()
            self._recent_until_s = 0.0


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable.

    Raises: OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
