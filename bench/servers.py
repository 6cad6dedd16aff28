"""A server under measurement: started in its own directory, metered, stopped; its mail kept and put back."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from bench import meter
from bench.clients import Imap, Lmtp, Pop3, WrongAnswer
from bench.ports import next_free

PASSWORD = "secret"


class Failed(Exception):
    """A server did not start, or did not stop."""


class Server(ABC):
    """One server of the comparison; `start` returns when it answers on every door."""

    name = ""
    title = ""

    def __init__(self, path: Path, users: list[str]) -> None:
        self.path, self.users = path, users
        self.imap_address = ("127.0.0.1", free_port())
        self.pop3_address = ("127.0.0.1", free_port())
        self.lmtp_path = path / "lmtp"
        self.group: meter.Group | None = None
        self.filled: set[str] = set()
        """Users whose mailboxes several lines share, and which are there."""
        self.settling_s = 0.25
        """A server has nothing left to do when it has spent next to nothing for so long."""
        self.rest_share = 0.0
        """CPU time that the server spends by being there, of each second."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def crowd(self) -> list[str]:
        """The users that share the work; the others have a mailbox for one purpose."""
        return [user for user in self.users if user.startswith("u")]

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration and make the users; once."""

    @abstractmethod
    def command(self) -> list[str]:
        """The server in the foreground."""

    @abstractmethod
    def mail_path(self) -> Path:
        """The directory that holds all mail."""

    @abstractmethod
    def user_path(self, user: str) -> Path:
        """The directory that holds all mail of a user who has some."""

    @abstractmethod
    def version(self) -> str:
        """Name and version."""

    def start(self) -> None:
        """Start, and wait until IMAP, POP3 and LMTP answer."""
        self.group = group = meter.make_group(f"m-store-bench-{os.getpid()}-{self.name}")
        with open(self.path / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=group.enter,
                start_new_session=True,
                env=self.environment(),
                cwd=self.cwd(),
            )
        group.started(self._process.pid)
        wait_for(self._answers, 30, f"{self.name} does not answer; see {self.path}")

    def environment(self) -> dict[str, str]:
        return {**os.environ, "TZ": "UTC"}

    def cwd(self) -> Path:
        return self.path

    def stop(self) -> None:
        """Stop, and wait until no process is left."""
        if self._process is None or self.group is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        group, first = self.group, self._process.pid
        wait_for(
            lambda: not [pid for pid in group.pids() if pid != first],
            30,
            f"{self.name} left processes behind",
        )
        group.remove()
        self._process = self.group = None

    def restart(self) -> None:
        """Stop and start: no process is left over from other work."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        return self._process is not None

    def cpu_s(self) -> float:
        assert self.group is not None
        return self.group.cpu_s()

    def memory(self) -> meter.Memory:
        assert self.group is not None
        return meter.memory(self.group.pids())

    def settle(self) -> None:
        """Wait until the server has nothing left to do."""
        last = self.cpu_s()
        for _ in range(60):
            time.sleep(self.settling_s)
            now = self.cpu_s()
            if now - last < 0.004:
                return
            last = now

    def measure_rest(self, for_s: float) -> float:
        """Find out what the server spends when nobody asks for anything: CPU time of each second."""
        self.settle()
        cpu, began = self.cpu_s(), time.perf_counter()
        time.sleep(for_s)
        self.rest_share = (self.cpu_s() - cpu) / (time.perf_counter() - began)
        return self.rest_share

    def imap(self, user: str | None = None) -> Imap:
        client = Imap(self.imap_address)
        if user:
            client.login(user, PASSWORD)
        return client

    def pop3(self) -> Pop3:
        return Pop3(self.pop3_address)

    def lmtp(self) -> Lmtp:
        return Lmtp(self.lmtp_path)

    def save_mail(self, user: str) -> None:
        """Put a copy of a user's mail aside; the server must be stopped."""
        copy_tree(self.user_path(user), self._saved(user))

    def restore_mail(self, user: str) -> None:
        """Put a user's mail back as it was; the server must be stopped."""
        path = self.user_path(user)
        shutil.rmtree(path)
        copy_tree(self._saved(user), path)

    def _saved(self, user: str) -> Path:
        return self.path / f"saved-{user}"

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            tail = (self.path / "output").read_text(errors="replace")[-2000:]
            raise Failed(f"{self.name} ended with status {self._process.returncode}:\n{tail}")
        try:
            Imap(self.imap_address, 5).close()
            Pop3(self.pop3_address, 5).close()
            Lmtp(self.lmtp_path, 5).close()
        except (OSError, WrongAnswer):  # One that is about to end says so, or just closes.
            return False
        return True


def copy_tree(source: Path, target: Path) -> None:
    """Copy with owners, times and hard links; shared blocks where the file system can."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{source}/.", str(_made(target))], check=True)
    shutil.copystat(source, target)
    if os.geteuid() == 0:
        shutil.chown(target, source.stat().st_uid, source.stat().st_gid)


def mail_user() -> pwd.struct_passwd:
    """Who owns the mail: an unprivileged system user for root, else whoever runs this."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in ("mail", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failed("there is no user mail nor nobody to own the mail")


def free_port() -> int:
    """A port nobody listens on, below those that the system gives to clients; none is given twice."""
    return next_free(_PORTS)


_PORTS = iter(random.sample(range(10_000, 15_000), 5_000))


def wait_for(condition: Callable[[], bool], limit_s: float, otherwise: str) -> None:
    """Poll until true; Failed after the limit."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise Failed(otherwise)
        time.sleep(0.05)


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
