"""A running M-Store in a directory of its own, on free loopback ports; stopping it asserts that all is well.

As the superuser the daemons run as an unprivileged user; otherwise as whoever runs the tests. `stop` demands
a clean end within its limit, no process and no socket left, no traceback and no error in the logs, and a
clean `msadm check`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bench.ports import next_free
from mstore.accounts.accounts import Accounts
from mstore.accounts.login import LoginRules
from mstore.accounts.passwords import Passwords
from tests.kit.clients import Imap, Lmtp, Pop3, WrongAnswer

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "secret"
DAEMONS = ("authproxyd", "imapd", "pop3d", "lmtpd")
SERVICES = ("imapd", "pop3d", "lmtpd")
_INCOMPLETE = re.compile(r"m-store: storemgr \[\d+ of ")
_BAD = re.compile(r"Traceback \(most recent call last\)|\blevel=error\b")


class Instance:
    """One message store; make it with a list of users, `start` it, `stop` it."""

    def __init__(
        self, users: Sequence[str] = ("joe",), options: Sequence[str] = (), workers: int = 2
    ) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
        self.path.chmod(0o755)
        self.ms_path = self.path / "ms"
        self.mail_path = self.path / "mail"
        self.config = self.path / "ms.conf"
        self.log = self.path / "log"
        self.imap_address = ("127.0.0.1", free_port())
        self.pop3_address = ("127.0.0.1", free_port())
        self.lmtp_path = self.ms_path / "ipc" / "lmtpd"
        self.tolerated: list[str] = []
        """Patterns of error lines in the log that the test has provoked."""
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions = set[int]()
        self._write_config(options, workers)
        self.msadm("init")
        self.add_users(users)

    def __enter__(self) -> Instance:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._process is not None:
                self.stop()
            else:
                print(f"--- log of the instance ---\n{self.log_text()[-6000:]}")
        finally:
            self.destroy()

    def start(self, wait: bool = True) -> None:
        """Start storemgr with all daemons, and wait until every socket answers."""
        self._process = self.spawn("storemgr")
        if wait:
            self.wait_ready()

    def spawn(self, daemon: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one daemon in the foreground, in a session of its own, its output appended to the log."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"workers.{daemon}", "-f", str(self.config), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment(),
                cwd=self.path,
            )
        self._sessions.add(process.pid)
        return process

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Take a storemgr that was started otherwise, in a session of its own, as this instance's."""
        self._process = process
        self._sessions.add(process.pid)

    def wait_ready(self, limit_s: float = 150.0) -> None:
        """Wait until IMAP, POP3, LMTP and authentication answer, and under storemgr all their workers."""
        wait_for(
            lambda: self.is_ready() and not self._is_incomplete(),
            limit_s,
            lambda: f"not ready; the log says:\n{self.log_text()[-4000:]}",
        )

    def _is_incomplete(self) -> bool:
        """Whether storemgr waits for a daemon still: one worker may answer before another one is there."""
        return self._process is not None and _INCOMPLETE.match(title(self._process.pid)) is not None

    def is_ready(self) -> bool:
        """Whether every door answers."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(
                f"storemgr ended with {self._process.returncode}:\n{self.log_text()[-4000:]}"
            )
        try:
            Imap(self.imap_address).close()
            Pop3(self.pop3_address).close()
            Lmtp(self.lmtp_path).close()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.ms_path / "ipc" / "authproxyd"))
        except (OSError, WrongAnswer):  # One that is about to end says so, or just closes.
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def kill(self) -> None:
        """kill -9 of storemgr alone."""
        assert self._process is not None, "not running"
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop, and assert that the end is clean and the store sound."""
        assert self._process is not None, "not running"
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        assert status == 0, f"storemgr ended with {status}:\n{self.log_text()[-4000:]}"
        self.assert_gone()
        self.assert_log_clean()
        self.assert_sound()
        self._process = None

    def assert_gone(self) -> None:
        """No process of this instance lives, and no socket is left."""
        wait_for(lambda: not self.pids(), 30, lambda: f"processes left: {self.describe(self.pids())}")
        ipc = self.ms_path / "ipc"
        left = [path.name for path in ipc.iterdir()] if ipc.exists() else []
        assert not left, f"sockets left: {left}"
        for address in (self.imap_address, self.pop3_address):
            with socket.socket() as probe:
                assert probe.connect_ex(address) != 0, f"somebody still listens on {address}"

    def assert_log_clean(self) -> None:
        """No traceback and no error in any log, but those that the test has announced."""
        bad = [
            line
            for line in self.log_text().splitlines()
            if _BAD.search(line) and not any(re.search(pattern, line) for pattern in self.tolerated)
        ]
        assert not bad, "errors in the log:\n" + "\n".join(bad[:20]) + "\n---\n" + self.log_text()[-6000:]

    def assert_sound(self) -> None:
        """`msadm check` finds nothing."""
        done = self.msadm("check", check=False)
        assert done.returncode == 0, f"msadm check: {done.stdout}{done.stderr}"

    def destroy(self) -> None:
        """Kill what may be left, and remove the directory."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self._process is not None:
            self._process.wait(30)
        shutil.rmtree(self.path, ignore_errors=True)

    def pids(self) -> list[int]:
        """Every living process of this instance."""
        own = os.getpid()
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        return [pid for pid in pids if pid != own and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        """Whether a process was started for this instance: its session, its directory or its files tell."""
        process = Path(f"/proc/{pid}")
        try:
            state, _, _, session = (process / "stat").read_text().rsplit(")", 1)[1].split()[:4]
            if state == "Z":
                return False
            if int(session) in self._sessions:
                return True
            links = [process / "cwd", *(process / "fd").iterdir()]
            return any(os.readlink(link).startswith(str(self.path)) for link in links)
        except (OSError, ValueError):
            return False

    def environment(self) -> dict[str, str]:
        """The environment in which this source tree's programs run."""
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def daemon_pid(self, daemon: str) -> int:
        """The process id in a daemon's lock file; 0 while there is none."""
        lock = self.ms_path / "run" / f"{daemon}.lock"
        with suppress(FileNotFoundError):
            words = lock.read_text().split()
            return int(words[0]) if words else 0
        return 0

    def worker_pids(self, daemon: str) -> list[int]:
        """The workers of a daemon: its children."""
        return children(self.daemon_pid(daemon))

    def memory_bytes(self, pids: Sequence[int]) -> int:
        """Resident memory of some processes."""
        return sum(held_bytes(pid, "Rss") for pid in pids)

    def private_bytes(self, pids: Sequence[int]) -> int:
        """Memory of some processes that is no file's: what they really hold."""
        return sum(held_bytes(pid, "Anonymous") for pid in pids)

    def sockets(self, pid: int) -> list[str]:
        """The sockets that a process has open."""
        return [link for link in self.descriptors(pid).values() if link.startswith("socket:")]

    def descriptors(self, pid: int) -> dict[int, str]:
        """What the descriptors of a process lead to."""
        links = {}
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # It has been closed since.
                links[int(link.name)] = os.readlink(link)
        return links

    def describe(self, pids: Sequence[int]) -> str:
        """Process ids with their titles."""
        return ", ".join(f"{pid} ({title(pid)})" for pid in pids)

    def log_text(self) -> str:
        """Everything that was logged: standard error, then each daemon's log."""
        logs = [self.log, *sorted((self.ms_path / "log").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')}" for log in logs if log.exists())

    def msadm(self, *arguments: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the administrator's command."""
        return self._command("mstore.cli.msadm", arguments, text, check)

    def rc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the boot script's program."""
        return self._command("mstore.cli.rc", arguments, "", check)

    def add_users(self, names: Sequence[str]) -> None:
        """Add accounts that all have the same password, with all its keys; only the first costs a hash."""
        if not names:
            return
        self.msadm("user", "add", names[0], "--password-stdin", text=f"{PASSWORD}\n")
        db = self.ms_path / "db"
        accounts, passwords = Accounts(db, LoginRules.of(None, True)), Passwords(db)
        model = accounts.find(names[0])
        assert model is not None, "msadm user add added nobody"
        keys = passwords.keys(model.id)
        assert keys is not None
        for name in names[1:]:
            passwords.set_keys(accounts.add(name, model.mailstore).id, keys)
        accounts.close()
        passwords.close()

    def imap(self, user: str | None = None) -> Imap:
        """A connection to imapd, logged in when a user is given."""
        return Imap(self.imap_address, user, PASSWORD)

    def pop3(self, user: str | None = None) -> Pop3:
        """A connection to pop3d, logged in when a user is given."""
        client = Pop3(self.pop3_address, 30)
        if user is not None:
            client.command(b"USER " + user.encode())
            client.command(b"PASS " + PASSWORD.encode())
        return client

    def lmtp(self) -> Lmtp:
        """A connection to lmtpd after LHLO."""
        return Lmtp(self.lmtp_path, 30)

    def deliver(self, user: str, message: bytes) -> None:
        """Deliver one message; returns when it is acknowledged."""
        client = self.lmtp()
        client.deliver([user], message)
        client.quit()

    def _command(
        self, module: str, arguments: Sequence[str], text: str, check: bool
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", module, "-f", str(self.config), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=240,
            env=self.environment(),
            cwd=self.path,
        )
        assert not check or done.returncode == 0, f"{module} {arguments}: {done.stdout}{done.stderr}"
        return done

    def _write_config(self, options: Sequence[str], workers: int) -> None:
        self.mail_path.mkdir()
        lines = [
            f"ms-path {self.ms_path}",
            f"mailstore main {self.mail_path}",
            f"imapd-listen 127.0.0.1:{self.imap_address[1]}",
            "default-mailboxes off",
            f"pop3d-listen 127.0.0.1:{self.pop3_address[1]}",
            *(f"{service}-workers {workers}" for service in SERVICES),
            "single-domain yes",
            "scram-iterations 4096",
            "server-name mail.test.example",
            *options,
        ]
        if os.geteuid() == 0:
            user = runtime_user()
            lines.append(f"runtime-user {user.pw_name}")
            os.chown(self.mail_path, user.pw_uid, user.pw_gid)
        self.config.write_text("\n".join(lines) + "\n")


def runtime_user() -> pwd.struct_passwd:
    """Who the daemons become when the superuser starts them."""
    return pwd.getpwnam("mail" if _exists("mail") else "nobody")


def children(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry))
    return sorted(found)


def held_bytes(pid: int, kind: str) -> int:
    """Memory of a process, "Rss" or "Anonymous", counted just now; whoever may not have it counted gets what
    the kernel knows without, which may be some megabytes off."""
    process = Path(f"/proc/{pid}")
    try:
        text = (process / "smaps_rollup").read_text()
    except PermissionError:
        resident, shared = map(int, (process / "statm").read_text().split()[1:3])
        return (resident if kind == "Rss" else resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return int(text.split(f"\n{kind}:")[1].split()[0]) * 1024


def title(pid: int) -> str:
    """What `ps` shows for a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


def free_port() -> int:
    """A port nobody listens on; none is given twice, nor to a process that runs tests beside this one."""
    return next_free(_PORTS)


def _ports() -> Iterator[int]:
    """Ports below those that the system gives to clients, of which each process has its own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    own = range(15_000 + number, min(clients, 32_000) if clients > 20_000 else 32_000, count)
    start = os.getpid() * 7 % len(own)
    yield from (*own[start:], *own[:start])


_PORTS = _ports()


def wait_for(condition: Callable[[], bool], limit_s: float, otherwise: Callable[[], str]) -> float:
    """Poll until true; gives how long it took; fails after the limit."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, otherwise()
        time.sleep(0.02)
    return time.monotonic() - began


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
