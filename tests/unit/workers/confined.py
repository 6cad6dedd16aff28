"""A worker that tries what it is told to, and says how that ended: ``ok`` or the name of an error."""

from __future__ import annotations

import ctypes
import errno
import importlib
import mmap
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mstore.accounts import Accounts, LoginRules
from mstore.accounts.database import ACCOUNTS, Database
from mstore.files import raw
from tests.unit.workers.echo import EchoSession, make_service, sockets
from workers import daemon, kernel
from workers.worker import Kind

PTRACE_ATTACH = 16


def attempt(function: Callable[..., object], *arguments: object) -> str:
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def read_passwords(db: str) -> None:
    import sqlite3

    path = Path(db, "passwords", "passwords.db")
    sqlite3.connect(path.as_uri(), uri=True).execute("SELECT count(*) FROM verifier").fetchall()


def trace(pid: str) -> None:
    if sys.maxsize > 2**32 and kernel.machine() == "x86_64":
        kernel.call(101, PTRACE_ATTACH, int(pid), None, None)
    else:
        kernel.call(117, PTRACE_ATTACH, int(pid), None, None)


def copy_memory(pid: str) -> None:
    local = ctypes.create_string_buffer(8)

    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    ours, theirs = Piece(ctypes.addressof(local), 8), Piece(0x400000, 8)
    number = 310 if kernel.machine() == "x86_64" else 270
    kernel.call(
        number, int(pid), ctypes.byref(ours), ctypes.c_ulong(1), ctypes.byref(theirs), ctypes.c_ulong(1),
        ctypes.c_ulong(0),
    )  # fmt: skip


def fork() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def execute(path: str) -> None:
    os.execv(path, [path])


def connect_again(sock: socket.socket, port: str) -> None:
    """Make an accepted connection one to somewhere else, which takes no new socket."""
    number = os.dup(sock.fileno())
    with socket.socket(fileno=number) as twin:
        library = ctypes.CDLL(None, use_errno=True)
        nowhere = ctypes.create_string_buffer(16)  # AF_UNSPEC: no longer connected.
        if library.connect(twin.fileno(), nowhere, 16) < 0:
            raise OSError(ctypes.get_errno(), "connect")
        twin.connect(("127.0.0.1", int(port)))


def connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def bind_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


def change_accounts(db: str) -> None:
    database = Database(Path(db), ACCOUNTS)
    with database.write() as connection:
        connection.execute("INSERT INTO grouping VALUES (hex(randomblob(8)), hex(randomblob(8)), 'x')")
    Accounts(Path(db), LoginRules.of(None, True)).list()


def keep_mail(path: str) -> None:
    """What a store does with files, in short."""
    top = Path(path) / f"try{os.getpid()}"
    for name in ("a", "b"):
        (top / name).mkdir(parents=True)
    (top / "a" / "file").write_bytes(b"x" * 100)
    os.rename(top / "a" / "file", top / "b" / "file")
    os.link(top / "b" / "file", top / "a" / "second")
    with open(top / "b" / "file", "r+b") as file:
        file.truncate(10)
        mmap.mmap(file.fileno(), 0).close()
    for name in ("a/second", "b/file"):
        (top / name).unlink()
    for name in ("a", "b", "."):
        os.rmdir(os.path.normpath(top / name))
    fd = os.open(path, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.close(fd)


def be_late() -> None:
    """What Python and its libraries come to only later."""
    # Where Python belongs to the superuser alone, that is so without confinement too.
    if os.access(os.__file__, os.R_OK):
        importlib.import_module("wave")
    time.localtime()
    if os.path.exists("/usr/share/zoneinfo/UTC"):
        read("/usr/share/zoneinfo/UTC")
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert any(raw.boot_id()), "no boot id"


TRIES: dict[str, Callable[..., object]] = {
    "read": read, "write": write, "list": os.listdir, "passwords": read_passwords, "ptrace": trace,
    "memory": copy_memory, "fork": fork, "exec": execute, "socket": lambda: socket.socket().close(),
    "connect-unix": connect_unix, "bind-unix": bind_unix, "signal": lambda pid: os.kill(int(pid), 0),
    "accounts": change_accounts, "mail": keep_mail, "late": be_late,
    "symlink": lambda path: os.symlink("/etc", path),
    "mkdir": os.mkdir, "chmod": lambda path: os.chmod(path, 0o666),
    "chown": lambda path: os.chown(path, -1, os.getgid()),
}  # fmt: skip


class Confined(EchoSession):
    """Lines are: what to try, and with what."""

    def obey(self, word: bytes) -> bool:
        name, *arguments = word.decode().split()
        if name == "reconnect":
            done = attempt(connect_again, self.stream._socket, *arguments)
        elif name in TRIES:
            done = attempt(TRIES[name], *arguments)
        else:
            return super().obey(word)
        self.stream.write(f"{done}\n".encode())
        return True


KIND = Kind("imapd", "Try.", Confined, make_service, unix_sockets=sockets)

if __name__ == "__main__":
    sys.exit(daemon.main(KIND))
