"""A database file that a process goes on reading and writing after it has given up the right to open it.

SQLite with a write-ahead log (WAL): both connections are opened while that is allowed and kept, and with
them the descriptors of the file, of its log and of the index of the log. From then on nothing is opened,
made or removed by name, so the directory can be closed to the user that the process becomes.

Every change is copied from the log into the file as soon as it is committed: the log is short, and the file
by itself is nearly always complete. Who is killed leaves log and index behind, and the next one who opens
the file goes on from them. The index is shared memory, so the file must not lie on a network file system.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mstore.accounts.database import (
    READ_DEADLINE_S,
    WRITE_DEADLINE_S,
    Schema,
    ask_patiently,
    check_private,
    check_schema,
    connect,
    sync_directory,
)
from mstore.base import blocking
from mstore.base.errors import Corrupt, Unavailable

T = TypeVar("T")


class _Occupied(sqlite3.OperationalError):
    """Another session of this process is writing."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY


class Vault:
    """One such file, as one process uses it. It cannot be carried through a fork."""

    __slots__ = ("_is_writing", "_reader", "_version", "_writer", "path", "schema")

    def __init__(self, db_dir: Path, schema: Schema) -> None:
        self.path = db_dir / schema.file_name
        self.schema = schema
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._is_writing = False
        self._version = -1

    def open(self) -> None:
        """Open the file for all that is to come; does nothing when it is open.

        Raises: Unavailable when it is missing, closed to us, or open to others; Corrupt when it is not ours.
        """
        if self._writer is None:
            if not os.path.lexists(self.path.parent):
                raise Unavailable(f"{self.path} is missing")
            check_private(self.path.parent)
            self._reader, self._writer = ask_patiently(self.path, self._open_both, READ_DEADLINE_S)
            try:
                sync_directory(self.path.parent)  # the names of log and index
            except OSError as error:
                raise Unavailable(f"cannot sync {self.path.parent}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file; the next use opens it again, where that is allowed."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        self._version = -1

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query; who writes meanwhile is not waited for.

        Raises: Unavailable, Corrupt.
        """
        reader = self._reading()
        return ask_patiently(self.path, lambda: query(reader), READ_DEADLINE_S)

    def has_changed(self) -> bool:
        """Whether anybody has changed the file since this was last asked; True the first time.

        The log is in memory that all processes share, so this costs a few locks and reads nothing.
        Raises: Unavailable, Corrupt.
        """
        ((version,),) = self.read(lambda c: c.execute("PRAGMA data_version").fetchall())
        before, self._version = self._version, version
        return before != self._version

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change in a transaction, undone when ``change`` raises; sessions do so one after another.

        ``change`` may run in another thread, so it only speaks to the database.
        Durable: the change.
        Raises: Unavailable, Corrupt, and what ``change`` raises.
        """
        self.open()
        return ask_patiently(self.path, lambda: self._write_alone(change), WRITE_DEADLINE_S)

    def _reading(self) -> sqlite3.Connection:
        self.open()
        if self._reader is None:
            raise Unavailable(f"{self.path} is closed")
        return self._reader

    def _open_both(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        opened: list[sqlite3.Connection] = []
        try:
            for _ in range(2):
                connection = connect(self.path)
                opened.append(connection)
                check_schema(connection, self.path, self.schema)
                self._prepare(connection)
            opened[0].execute("PRAGMA query_only=1")
            return opened[0], opened[1]
        except BaseException:
            for connection in opened:
                connection.close()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for setting in ("synchronous=FULL", "foreign_keys=1", "secure_delete=1", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("PRAGMA cache_size=-512")
        # By name, not by a later accident: from now on log and index are open.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        if mode != "wal":
            raise Corrupt(f"{self.path} has no write-ahead log (journal mode {mode})")

    def _write_alone(self, change: Callable[[sqlite3.Connection], T]) -> T:
        if self._writer is None:
            raise Unavailable(f"{self.path} is closed")
        if self._is_writing:
            raise _Occupied("another session is writing")
        self._is_writing = True
        try:
            result: T = blocking.call(_transact, self._writer, change)
            return result
        finally:
            self._is_writing = False


def _transact(connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = change(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError:
        pass  # What is committed is in the log; the next change takes it along.
    return result
