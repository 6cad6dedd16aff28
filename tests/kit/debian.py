"""A Debian of its own for a test: a tree made by tests/make-debian, below a layer that is thrown away.

It has its own mounts, processes, host name, network (loopback alone) and devices, so that the usual ports are
free, what is logged is in its own log, and everything that was started ends with it. What runs in it runs as
its superuser; systemd runs only in one that is ``Booted``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.kit.instance import wait_for

TREE = Path(os.environ.get("MSTORE_DEBIAN", "/opt/debian12"))
HOST = "mail.example.org"
_MOUNT = """\
set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir={lower},upperdir={path}/upper,workdir={path}/work {path}/root
"""
_HOLD = """\
cd {path}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
chmod 1777 tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts
mkdir -m 1777 dev/shm
mount --rbind /dev/pts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${{name%:*}} dev/${{name#*:}}; done
ip link set lo up
hostname {host}
touch {path}/ready
exec chroot . /bin/sleep 3600
"""
_BOOT = """\
echo {host} >{path}/root/etc/hostname
exec systemd-nspawn --quiet --directory={path}/root --boot --hostname={host} --private-network \\
    --console=passive --register=no --keep-unit >{path}/console 2>&1
"""
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/wheels",
}


def why_not() -> str | None:
    """Why there can be no such Debian here; None when there can be."""
    if os.geteuid() != 0:
        return "mounts, and so needs the superuser"
    if not (TREE / "made").exists():
        return f"there is no Debian in {TREE}: run tests/make-debian, or set MSTORE_DEBIAN"
    probe = "mount --make-rprivate / && mount -t tmpfs none /mnt"
    done = subprocess.run(["unshare", "-mpinu", "--fork", "sh", "-c", probe], capture_output=True, text=True)
    return None if done.returncode == 0 else f"mounts are not permitted here: {done.stderr.strip()}"


def why_not_booted() -> str | None:
    """Why systemd cannot run in such a Debian here; None when it may be tried."""
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed"
    groups = Path("/sys/fs/cgroup")
    if not (groups / "systemd").is_dir() and not (groups / "cgroup.controllers").exists():
        return "there are no control groups here that systemd can use"
    return why_not()


class Debian:
    """One running tree; ``below`` are layers that others have left, the topmost first."""

    apart: ClassVar = ["-mpinu", "--fork", "--kill-child"]
    hold: ClassVar = _MOUNT + _HOLD

    def __init__(self, below: Sequence[Path] = ()) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="debian-", dir="/tmp"))
        self.path.chmod(0o755)
        for name in ("upper", "work", "root"):
            (self.path / name).mkdir()
        lower = ":".join(map(str, [*below, TREE]))
        text = self.hold.format(lower=lower, path=self.path, host=HOST)
        self._holder = subprocess.Popen(["unshare", *self.apart, "sh", "-c", text], stderr=subprocess.PIPE)
        self._inside = 0
        self.await_start()
        self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {HOST}\n")

    def await_start(self) -> None:
        """Return when commands can be run in it."""
        wait_for((self.path / "ready").exists, 120, lambda: "the Debian did not come up")
        self._inside = self._first_process()

    def _first_process(self) -> int:
        """The process whose end is everybody's in it; 0 when there is none yet."""
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        return int(children[-1]) if children else 0

    @property
    def layer(self) -> Path:
        """What was changed, for use below others when this is stopped."""
        return self.path / "upper"

    def run(self, command: str, text: str | bytes = "", check: bool = True, **more: str) -> str:
        """Run a shell command, and give what it wrote; ``more`` goes into its environment."""
        status, output = self.try_to(command, text, **more)
        assert not check or status == 0, f"{command}: status {status}\n{output}"
        return output

    def try_to(self, command: str, text: str | bytes = "", **more: str) -> tuple[int, str]:
        """The same, with the exit status."""
        done = subprocess.run(
            [
                "nsenter",
                "-t",
                str(self._inside),
                "-m",
                "-p",
                "-i",
                "-n",
                "-u",
                "-r",
                "-w",
                "/bin/sh",
                "-c",
                command,
            ],
            input=text.encode() if isinstance(text, str) else text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**_ENVIRONMENT, **more},
            timeout=900,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def wait(self, command: str, limit_s: int = 60) -> None:
        """Repeat a command until it succeeds."""
        self.run(f"for n in $(seq {limit_s * 5}); do {command} && exit 0; sleep 0.2; done; exit 1")

    def read(self, path: str) -> str:
        """A file's text."""
        return self.run(f"cat {path}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, with its directories."""
        self.run(f"mkdir -p {os.path.dirname(path)}; cat >{path}; chmod {mode:o} {path}", text)

    def put_checkout(self, source: Path, place: str) -> None:
        """A checkout of M-Store's, without what is made in it."""
        left_out = [
            f"--exclude={name}" for name in (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
        ]
        archive = subprocess.run(
            ["tar", "-C", str(source), *left_out, "-cf", "-", "."], check=True, capture_output=True
        ).stdout
        self.run(f"mkdir -p {place} && tar -C {place} --no-same-owner -xf -", archive)

    def stop(self) -> None:
        """End everything in it; its layer stays."""
        if self._holder.poll() is None:
            # The first process of its kind: all others end with it.
            os.kill(self._inside or self._holder.pid, signal.SIGKILL)
        self._holder.communicate(timeout=60)

    def remove(self) -> None:
        """End everything in it and remove it."""
        self.stop()
        shutil.rmtree(self.path)


class Booted(Debian):
    """One that systemd runs, as it would run a machine.

    Raises: NotBooted when systemd does not come up here.
    """

    apart: ClassVar = ["-m"]
    hold: ClassVar = _MOUNT + _BOOT

    def await_start(self) -> None:
        """Return when systemd has started everything."""
        try:
            wait_for(self._is_up, 120, lambda: "systemd did not come up")
        except AssertionError as error:
            self._inside = self._inside or self._first_process()
            console = (self.path / "console").read_text(errors="replace")
            self.remove()
            raise NotBooted(f"{error}: {console[-2000:]}") from None

    def _is_up(self) -> bool:
        if not self._inside:
            first = self._first_process()
            if not first or not _is_systemd_apart(first):
                return False
            self._inside = first
        return self.try_to("systemctl is-system-running")[1].strip() in ("running", "degraded")


def _is_systemd_apart(process: int) -> bool:
    """Whether it is systemd as the first process of its own, rather than one that makes its place."""
    proc = Path(f"/proc/{process}")
    try:
        numbers = re.search(r"^NSpid:(.*)", (proc / "status").read_text(), re.MULTILINE)
        return (
            numbers is not None
            and numbers[1].split()[1:] == ["1"]
            and (proc / "comm").read_text() == "systemd\n"
        )
    except FileNotFoundError:
        return False


class NotBooted(Exception):
    """What systemd said of it."""
